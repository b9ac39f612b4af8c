// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package informer makes informers that see an API server again soon after it is back. Those of client-go double their
// pauses while nobody answers, up to a minute, and for so long no pod of the node would start. The entry point is New, a
// cache's NewInformer.
package informer

import (
	"context"
	"errors"
	"net"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// pause is the least time between two tries, and half of the most. An API server that comes back to 5,000 nodes has their
// watches within ten seconds, which its own priorities and fairness put in order.
const pause = 5 * time.Second

// New makes an informer of what lw lists and watches.
func New(lw cache.ListerWatcher, example runtime.Object, resync time.Duration, indexers cache.Indexers) cache.SharedIndexInformer {
	return cache.NewSharedIndexInformer(&patient{next: cache.ToListerWatcherWithContext(lw), clock: clock.RealClock{}}, example, resync, indexers)
}

// patient asks again itself while nobody answers. Every answer is the reflector's to judge, an overloaded API server's too.
type patient struct {
	next  cache.ListerWatcherWithContext
	clock clock.Clock
}

var _ cache.ListerWatcherWithContext = &patient{}

// List is ListWithContext for who has none.
func (p *patient) List(o metav1.ListOptions) (runtime.Object, error) {
	return p.ListWithContext(context.Background(), o)
}

// Watch is WatchWithContext for who has none.
func (p *patient) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return p.WatchWithContext(context.Background(), o)
}

// ListWithContext lists once the API server can be reached.
func (p *patient) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	return untilAnswered(ctx, p.clock, func() (runtime.Object, error) { return p.next.ListWithContext(ctx, o) })
}

// WatchWithContext watches once the API server can be reached.
func (p *patient) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	return untilAnswered(ctx, p.clock, func() (watch.Interface, error) { return p.next.WatchWithContext(ctx, o) })
}

// untilAnswered asks until somebody answers or ctx ends.
func untilAnswered[T any](ctx context.Context, c clock.Clock, ask func() (T, error)) (T, error) {
	for first := true; ; first = false {
		got, err := ask()
		if !unreachable(err) {
			return got, err
		}
		if first {
			log.FromContext(ctx).Info("Waiting for the API server", "reason", err.Error())
		}
		select {
		case <-ctx.Done():
			return got, err
		case <-c.After(wait.Jitter(pause, 1)):
		}
	}
}

// unreachable tells whether no connection came about.
func unreachable(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}
