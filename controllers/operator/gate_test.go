// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package operator

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/schema"
)

// crds is what the API server says of every CRD: its labels, or an error.
type crds struct {
	label map[string]string
	err   error
}

// server answers with what it holds.
type server struct {
	client.Reader
	atomic.Pointer[crds]
}

func (s *server) Get(_ context.Context, _ client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	now := s.Load()
	obj.(*metav1.PartialObjectMetadata).Labels = now.label
	return now.err
}

func TestGate(t *testing.T) {
	ours := map[string]string{v1alpha1.SchemaLabel: "99"}
	tests := map[string]struct {
		before, after crds          // The CRDs in the first minute and from then on.
		elected       time.Duration // When it begins to lead; -1 is never.
		wantReady     bool
		wantOpened    int
		wantEnd       error
	}{
		"well":                               {before: crds{label: ours}, after: crds{label: ours}, wantReady: true, wantOpened: 1},
		"foreign":                            {},
		"foreign at first":                   {after: crds{label: ours}, wantReady: true, wantOpened: 1},
		"well, then foreign":                 {before: crds{label: ours}, wantReady: true, wantOpened: 1, wantEnd: schema.ErrUnfit},
		"well, then nobody answers":          {before: crds{label: ours}, after: crds{err: errors.New("down")}, wantReady: true, wantOpened: 1},
		"well, and another leads":            {before: crds{label: ours}, after: crds{label: ours}, elected: -1, wantReady: true},
		"well, and leads later":              {before: crds{label: ours}, after: crds{label: ours}, elected: time.Minute, wantReady: true, wantOpened: 1},
		"foreign when it leads":              {before: crds{label: ours}, elected: time.Minute},
		"another leads, then foreign":        {before: crds{label: ours}, elected: -1},
		"nobody answers at first, then well": {before: crds{err: errors.New("down")}, after: crds{label: ours}, wantReady: true, wantOpened: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				live, elected, opened := &server{}, make(chan struct{}), 0
				live.Store(&tt.before)
				if tt.elected >= 0 {
					time.AfterFunc(tt.elected, func() { close(elected) })
				}
				g := &gate{live: live, elected: elected, open: func(context.Context) error { opened++; return nil }}
				g.shut.Store(new(errors.New("not checked")))
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- g.Start(ctx) }()
				time.Sleep(30 * time.Second)
				synctest.Wait()
				live.Store(&tt.after)
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				cancel()
				if err := <-ended; !errors.Is(err, tt.wantEnd) {
					t.Errorf("ended with %v, want %v", err, tt.wantEnd)
				}
				if ready := g.ready(nil) == nil; ready != tt.wantReady || opened != tt.wantOpened {
					t.Errorf("ready %v, opened %d times; want %v, %d", ready, opened, tt.wantReady, tt.wantOpened)
				}
			})
		})
	}
}
