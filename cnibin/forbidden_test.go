// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/cnibin/fake"
)

// TestAddWaitsForTheAuthorizer: an apiserver that has just started forbids everything until it has read the roles.
func TestAddWaitsForTheAuthorizer(t *testing.T) {
	const nearly, rest = 9 * time.Second, 2 * time.Second
	cases := map[string]struct {
		arrange   func(w *world, forbid func(after time.Duration) fake.Fault)
		wantCode  uint
		wantTexts []string
	}{
		"with its POST": {
			arrange: func(w *world, forbid func(time.Duration) fake.Fault) {
				w.Fail("create", forbid(0), forbid(nearly))
			},
		},
		"with its watch": {
			arrange: func(w *world, forbid func(time.Duration) fake.Fault) {
				w.Fail("watch", forbid(0))
				w.Fail("get", forbid(nearly))
			},
		},
		"with the GET of what has the name": {
			arrange: func(w *world, forbid func(time.Duration) fake.Fault) {
				w.store(w.own())
				w.Fail("get", forbid(0), forbid(nearly))
			},
		},
		"again when it starts once more": {
			arrange: func(w *world, forbid func(time.Duration) fake.Fault) {
				w.Fail("create", forbid(0), forbid(nearly), fake.Drop(), forbid(rest), forbid(nearly))
			},
		},
		"but not without end": {
			arrange: func(w *world, forbid func(time.Duration) fake.Fault) {
				w.Fail("create", forbid(0), forbid(nearly), forbid(rest))
			},
			wantCode:  111,
			wantTexts: []string{"403", "no such role"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tc.arrange(w, w.forbidder())
			w.serve()
			w.poke()
			wantError(t, w.run(w.plugin.add), tc.wantCode, tc.wantTexts...)
		})
	}
}

// forbidder stops the plugin's clock. What it returns makes a 403 before which so much time goes by.
func (w *world) forbidder() func(after time.Duration) fake.Fault {
	var passed atomic.Int64
	w.plugin.now = func() time.Time { return time.Unix(0, passed.Load()) }
	refuse := fake.Refuse(http.StatusForbidden, metav1.StatusReasonForbidden, "no such role")
	return func(after time.Duration) fake.Fault {
		return func(rw http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter)) {
			passed.Add(int64(after))
			refuse(rw, r, serve)
		}
	}
}
