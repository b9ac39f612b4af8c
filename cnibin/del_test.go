// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/cnibin/fake"
)

func TestDelSucceedsAndLeavesATombstone(t *testing.T) {
	cases := map[string]struct {
		arrange     func(w *world)
		wantDeletes int
		wantGone    bool // the object, or at least marked as deleted
	}{
		"of the object of its own": {
			arrange:     func(*world) {},
			wantDeletes: 1, wantGone: true,
		},
		"when its own object is already being deleted": {
			arrange:  func(w *world) { w.Delete("default", "web") },
			wantGone: true,
		},
		"when the object is gone already": {
			arrange:  func(w *world) { w.Delete("default", "web"); w.Release("default", "web") },
			wantGone: true,
		},
		"when another container has the name now": {
			arrange: func(w *world) { w.args.ContainerID = "01d" },
		},
		"when the object is of another interface": {
			arrange: func(w *world) { w.args.IfName = "net1" },
		},
		"when the object goes between GET and DELETE": {
			arrange: func(w *world) {
				w.Fail("delete", followedBy(vanish(w), func() {}))
			},
			wantDeletes: 1, wantGone: true,
		},
		"when another sandbox takes the name between GET and DELETE": {
			arrange: func(w *world) {
				w.Fail("delete", followedBy(vanish(w), func() { w.Create(w.older(func(*v1alpha1.CiliumEndpoint) {})) }))
			},
			wantDeletes: 1,
		},
		"without CNI_NETNS": {
			arrange:     func(w *world) { w.args.Netns = "" },
			wantDeletes: 1, wantGone: true,
		},
		"without CNI_ARGS":          {arrange: func(w *world) { w.args.Args = "" }},
		"with malformed CNI_ARGS":   {arrange: func(w *world) { w.args.Args = "K8S_POD_NAME" }},
		"without the pod's UID":     {arrange: func(w *world) { w.args.Args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web" }},
		"without nodeName":          {arrange: func(w *world) { delete(w.conf, "nodeName") }, wantDeletes: 1, wantGone: true},
		"without kubeconfig":        {arrange: func(w *world) { delete(w.conf, "kubeconfig") }},
		"with a missing kubeconfig": {arrange: func(w *world) { w.conf["kubeconfig"] = "/nowhere/cni.kubeconfig" }},
		"with an empty kubeconfig":  {arrange: func(w *world) { w.writeFile("cni.kubeconfig", nil) }},
		"with an apiserver away":    {arrange: func(w *world) { w.Stop() }},
		"with an apiserver that never answers the GET": {
			arrange: func(w *world) { w.Fail("get", fake.Hang()) },
		},
		"with an apiserver that never answers the DELETE": {
			arrange:     func(w *world) { w.Fail("delete", fake.Hang()) },
			wantDeletes: 1,
		},
		"with a GET that is cut": {arrange: func(w *world) { w.Fail("get", fake.Drop()) }},
		"with a DELETE whose answer is lost": {
			arrange:     func(w *world) { w.Fail("delete", fake.Lose()) },
			wantDeletes: 1, wantGone: true,
		},
		"with a token that is refused": {arrange: func(w *world) { w.Rotate("token-2") }},
		"with a DELETE that is forbidden": {
			arrange:     refuseDelete(http.StatusForbidden, metav1.StatusReasonForbidden),
			wantDeletes: 1,
		},
		"with an apiserver that is overloaded": {
			arrange:     refuseDelete(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests),
			wantDeletes: 1,
		},
		"with an apiserver without etcd": {
			arrange:     refuseDelete(http.StatusInternalServerError, metav1.StatusReasonInternalError),
			wantDeletes: 1,
		},
		"with a proxy instead of an apiserver": {
			arrange: func(w *world) { w.Fail("get", fake.Garbage(http.StatusServiceUnavailable)) },
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.store(w.own())
			w.plugin.timing.request = time.Minute // DEL has a limit of its own
			tc.arrange(w)
			began := time.Now()
			wantError(t, w.run(w.plugin.del), 0)
			wantEqual(t, true, time.Since(began) < time.Second)
			wantEqual(t, []string{w.args.ContainerID + "-" + w.args.IfName}, w.tombstones())
			wantEqual(t, tc.wantDeletes, w.count("delete"))
			got, found := w.Get("default", "web")
			wantEqual(t, tc.wantGone, !found || got.DeletionTimestamp != nil)
			wantEqual(t, "", w.stdout.String())
		})
	}
}

func refuseDelete(code int, reason metav1.StatusReason) func(*world) {
	return func(w *world) { w.Fail("delete", fake.Refuse(code, reason, "no")) }
}

func TestDelSaysInTheTombstoneWhoseItIs(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)
	w.plugin.now = func() time.Time { return now }
	wantError(t, w.run(w.plugin.del), 0)
	data, err := os.ReadFile(filepath.Join(w.runDir, "deletes", "c0ffee-eth0"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, map[string]any{
		"containerID": "c0ffee", "ifName": "eth0", "namespace": "default", "name": "web", "podUID": "pod-1",
		"netns": thisNetns, "writtenAt": "2026-11-22T16:00:00Z",
	}, got)
}

func TestDelWritesTheTombstoneBeforeItAsksTheAPI(t *testing.T) {
	w := newWorld(t)
	stored := w.store(w.own())
	var early atomic.Bool
	w.OnRequest(func(string) { early.Store(early.Load() || !fake.Buried(w.runDir, stored)) })
	wantError(t, w.run(w.plugin.del), 0)
	wantEqual(t, false, early.Load())
}

func TestDelTwiceLeavesOneTombstone(t *testing.T) {
	w := newWorld(t)
	wantError(t, w.run(w.plugin.del), 0)
	wantError(t, w.run(w.plugin.del), 0)
	wantEqual(t, []string{"c0ffee-eth0"}, w.tombstones())
}

func TestDelDoesNotWaitForTheFinalizer(t *testing.T) {
	w := newWorld(t)
	w.store(w.own())
	wantError(t, w.run(w.plugin.del), 0)
	wantEqual(t, []string{"get", "delete"}, w.Requests())
	got, found := w.Get("default", "web")
	wantEqual(t, true, found && got.DeletionTimestamp != nil)
}

func TestDelWithoutARoomForTombstones(t *testing.T) {
	cases := map[string]struct {
		arrange  func(w *world)
		wantCode uint
	}{
		"succeeds when the apiserver was told": {arrange: func(*world) {}},
		"fails when nobody could be told":      {arrange: func(w *world) { w.Stop() }, wantCode: 5},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.writeFile("deletes", nil) // a file where the folder should be
			tc.arrange(w)
			wantError(t, w.run(w.plugin.del), tc.wantCode)
		})
	}
}

func TestDelNeedsAtLeastRunDir(t *testing.T) {
	w := newWorld(t)
	delete(w.conf, "runDir")
	wantError(t, w.run(w.plugin.del), 7, "runDir")
}
