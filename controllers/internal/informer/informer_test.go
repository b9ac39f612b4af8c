// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package informer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clocktesting "k8s.io/utils/clock/testing"
)

var (
	errRefused = &url.Error{Op: "Get", URL: "https://api", Err: &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}}
	errReset   = &url.Error{Op: "Get", URL: "https://api", Err: &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}}
)

// server answers with these errors, and then with success.
type server struct {
	errors []error
	asked  int
}

func (s *server) answer() error {
	s.asked++
	if s.asked > len(s.errors) {
		return nil
	}
	return s.errors[s.asked-1]
}

func (s *server) ListWithContext(context.Context, metav1.ListOptions) (runtime.Object, error) {
	return &corev1.PodList{}, s.answer()
}

func (s *server) WatchWithContext(context.Context, metav1.ListOptions) (watch.Interface, error) {
	return watch.NewEmptyWatch(), s.answer()
}

func TestPatient(t *testing.T) {
	errBusy := errors.New("the server has received too many requests")
	tests := map[string]struct {
		server    server
		want      error
		wantAsked int
	}{
		"an answer":                    {wantAsked: 1},
		"an answer when it is back":    {server: server{errors: []error{errRefused, errRefused, errRefused}}, wantAsked: 4},
		"a refusal is an answer":       {server: server{errors: []error{errBusy}}, want: errBusy, wantAsked: 1},
		"a refusal when it is back":    {server: server{errors: []error{errRefused, errBusy}}, want: errBusy, wantAsked: 2},
		"a connection that breaks off": {server: server{errors: []error{errReset}}, want: errReset, wantAsked: 1},
		"an answer behind more words":  {server: server{errors: []error{fmt.Errorf("get: %w", errRefused)}}, wantAsked: 2},
	}
	asks := map[string]func(context.Context, *patient) error{
		"list": func(ctx context.Context, p *patient) error {
			_, err := p.ListWithContext(ctx, metav1.ListOptions{})
			return err
		},
		"watch": func(ctx context.Context, p *patient) error {
			_, err := p.WatchWithContext(ctx, metav1.ListOptions{})
			return err
		},
	}
	for name, tt := range tests {
		for verb, ask := range asks {
			t.Run(name+", "+verb, func(t *testing.T) {
				s := tt.server
				clock := clocktesting.NewFakeClock(time.Unix(0, 0))
				done := make(chan error, 1)
				go func() { done <- ask(t.Context(), &patient{next: &s, clock: clock}) }()
				got := passTime(t, clock, done)
				if !errors.Is(got, tt.want) {
					t.Errorf("error = %v, want %v", got, tt.want)
				}
				if diff := cmp.Diff(tt.wantAsked, s.asked); diff != "" {
					t.Errorf("times asked (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestPatientEndsWithItsContext(t *testing.T) {
	s := server{errors: []error{errRefused, errRefused}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := (&patient{next: &s, clock: clocktesting.NewFakeClock(time.Unix(0, 0))}).ListWithContext(ctx, metav1.ListOptions{})
	if !errors.Is(err, errRefused) || s.asked != 1 {
		t.Errorf("asked %d times, %v; want once, and the refusal", s.asked, err)
	}
}

// passTime steps the clock by the longest pause whenever somebody waits, until the deed is done.
func passTime(t *testing.T, clock *clocktesting.FakeClock, done <-chan error) error {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			if clock.HasWaiters() {
				clock.Step(2 * pause)
			}
		}
	}
}
