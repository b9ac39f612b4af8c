// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package kernel

import (
	"context"
	"fmt"
	"sync"
)

// maxTurns is how many endpoints are worked on at once. The kernel has one lock for all devices: fifty who wait for it at
// once were seen to take twice as long as four.
const maxTurns = 4

// turns say who may work on devices. Who works on an endpoint comes first; what takes the kernel long, its lock of all
// devices held, begins when nobody does, so that an endpoint waits for one such deed at most.
type turns struct {
	mu      sync.Mutex
	wanted  int           // endpoints that are worked on or wait for it
	working int           // those that are worked on
	long    bool          // something is done that takes long
	changed chan struct{} // closed when any of these changes
}

func newTurns() *turns { return &turns{changed: make(chan struct{})} }

// take waits for a turn with an endpoint.
func (t *turns) take(ctx context.Context) error {
	t.change(func() { t.wanted++ })
	err := t.await(ctx, func() bool {
		free := !t.long && t.working < maxTurns
		if free {
			t.working++
		}
		return free
	})
	if err != nil {
		t.change(func() { t.wanted-- })
		return fmt.Errorf("wait for other endpoints: %w", err)
	}
	return nil
}

func (t *turns) end() {
	t.change(func() {
		t.working--
		t.wanted--
	})
}

// takeLong waits until nobody works on an endpoint, or wants to.
func (t *turns) takeLong(ctx context.Context) error {
	err := t.await(ctx, func() bool {
		free := !t.long && t.wanted == 0
		t.long = t.long || free
		return free
	})
	if err != nil {
		return fmt.Errorf("wait for endpoints: %w", err)
	}
	return nil
}

func (t *turns) endLong() { t.change(func() { t.long = false }) }

// change has those who wait look again.
func (t *turns) change(do func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	do()
	close(t.changed)
	t.changed = make(chan struct{})
}

// await asks until the answer is yes.
func (t *turns) await(ctx context.Context, taken func() bool) error {
	for {
		t.mu.Lock()
		done, changed := taken(), t.changed
		t.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
