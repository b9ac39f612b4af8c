// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
)

// trash deletes host-side devices in the background: the kernel takes 18–40 ms for each, and nobody needs to wait.
type trash struct {
	delete func(ctx context.Context, hostIfName string) error
	queue  chan rubbish
}

type rubbish struct {
	hostIfName string
	gone       func()
}

func newTrash(del func(context.Context, string) error) *trash {
	return &trash{delete: del, queue: make(chan rubbish, 4096)}
}

// put deletes the device some time soon and then calls gone.
func (t *trash) put(hostIfName string, gone func()) {
	t.queue <- rubbish{hostIfName, gone}
}

// Start deletes until ctx ends. What is left then is found by Restore when the agent starts again.
func (t *trash) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-t.queue:
			if err := t.delete(ctx, r.hostIfName); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "Deleting a device, will try again", "interface", r.hostIfName)
				time.AfterFunc(time.Second, func() { t.put(r.hostIfName, r.gone) })
				continue
			}
			r.gone()
		}
	}
}
