// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package fake

import (
	"context"
	"slices"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

// fault makes one call of a method fail.
type fault struct {
	method string
	call   int
	err    error
}

// Fail makes the nth call of a method from now on fail (1 is the next), before it does anything.
func (d *Datapath) Fail(method string, nth int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, &fault{method: method, call: d.count[method] + nth, err: err})
}

// begin records a call, and fails it if it shall.
func (d *Datapath) begin(ctx context.Context, method string) error {
	d.calls = append(d.calls, method)
	d.count[method]++
	for _, f := range d.faults {
		if f.method == method && f.call == d.count[method] {
			return f.err
		}
	}
	return ctx.Err()
}

// Calls lists the methods called so far, in order.
func (d *Datapath) Calls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

// AddSandbox makes a path name a network namespace.
func (d *Datapath) AddSandbox(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sandboxes[path] = true
}

// CloseSandbox removes a network namespace, and as the kernel would, the devices in it. Map entries stay.
func (d *Datapath) CloseSandbox(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sandboxes[path] = false
	for name, side := range d.devices {
		if side.netns == path {
			delete(d.devices, name)
		}
	}
}

// Node is what EnsureNode was last given; nil before.
func (d *Datapath) Node() *datapath.Node {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node
}

// Up reports whether a device is there and up.
func (d *Datapath) Up(hostIfName string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.devices[hostIfName].up
}

// Identities lists the identities that are known, in order.
func (d *Datapath) Identities() []datapath.Identity {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []datapath.Identity
	for id := range d.identities {
		all = append(all, id)
	}
	slices.Sort(all)
	return all
}

// SetCounts is what Counts shall return.
func (d *Datapath) SetCounts(counts []datapath.Count) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts = slices.Clone(counts)
}

// SetForeignServices is who shall translate Services on this node; empty for nobody.
func (d *Datapath) SetForeignServices(who string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.foreign = who
}

// SetPlain is what shall keep the card from forwarding by XDP; empty for nothing.
func (d *Datapath) SetPlain(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.plain = reason
}

// Change tells the watchers that the node's devices changed.
func (d *Datapath) Change() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, watcher := range d.watchers {
		select {
		case watcher <- struct{}{}:
		default:
		}
	}
}
