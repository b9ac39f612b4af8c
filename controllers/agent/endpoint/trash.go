// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// trashAgain is how often the devices are tried again that could not be deleted.
const trashAgain = time.Second

// trash deletes host-side devices in the background: the kernel takes 18–40 ms for each, and nobody needs to wait.
type trash struct {
	delete func(ctx context.Context, hostIfName string) error
	gone   func(context.Context, rubbish)
	clock  clock.WithTicker
	more   chan struct{}

	mu    sync.Mutex
	queue []rubbish
	// names counts what is not deleted yet.
	names map[string]int
}

// rubbish is the device of an endpoint that is no more.
type rubbish struct {
	hostIfName string
	owner      string
	name       types.NamespacedName
}

func newTrash(del func(context.Context, string) error, gone func(context.Context, rubbish), c clock.WithTicker) *trash {
	return &trash{delete: del, gone: gone, clock: c, more: make(chan struct{}, 1), names: map[string]int{}}
}

// put deletes the device some time soon and then calls gone.
func (t *trash) put(r rubbish) {
	t.mu.Lock()
	t.queue = append(t.queue, r)
	t.names[r.hostIfName]++
	t.mu.Unlock()
	select {
	case t.more <- struct{}{}:
	default:
	}
}

// has tells whether a device of that name is still to be deleted.
func (t *trash) has(hostIfName string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.names[hostIfName] > 0
}

func (t *trash) take() []rubbish {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.queue
	t.queue = nil
	return all
}

func (t *trash) done(hostIfName string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.names[hostIfName]--; t.names[hostIfName] == 0 {
		delete(t.names, hostIfName)
	}
}

// Start deletes until ctx ends. What is left then is found by Restore when the agent starts again.
func (t *trash) Start(ctx context.Context) error {
	again := t.clock.NewTicker(trashAgain)
	defer again.Stop()
	var failed []rubbish
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.more:
			failed = append(failed, t.empty(ctx, t.take())...)
		case <-again.C():
			failed = t.empty(ctx, failed)
		}
	}
}

// empty deletes all and returns what it could not.
func (t *trash) empty(ctx context.Context, all []rubbish) []rubbish {
	var failed []rubbish
	for _, r := range all {
		err := t.delete(ctx, r.hostIfName)
		if err != nil && !errors.Is(err, dp.ErrForeignDevice) {
			if ctx.Err() == nil {
				ctrl.LoggerFrom(ctx).Error(err, "Deleting a device, will try again", "interface", r.hostIfName)
			}
			failed = append(failed, r)
			continue
		}
		t.done(r.hostIfName) // a device of that name that is not ours is none of an endpoint
		t.gone(ctx, r)
	}
	return failed
}
