// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ciliate-io/ciliate/internal/datapath/sockets"
	"github.com/ciliate-io/ciliate/internal/service"
)

// Services is what the maps of Services hold.
func (d *Datapath) Services() (service.State, error) { return d.maps.Services() }

// WriteServices changes the maps of Services.
func (d *Datapath) WriteServices(diff service.Diff) error { return d.maps.WriteServices(diff) }

// ServiceCapacity is how much the maps of Services can hold.
func (d *Datapath) ServiceCapacity() service.Capacity { return d.maps.ServiceCapacity() }

// AttachSockets makes the sockets of the node and of its pods follow the maps of Services. They should be complete by
// then. Without a control group it does nothing.
func (d *Datapath) AttachSockets() error {
	if d.cgroup == "" {
		return nil
	}
	return d.objects.AttachSockets(d.cgroup)
}

// DestroySockets ends the connected UDP sockets that Services led to these backends, on the node and in its pods: their
// owners get an error and can ask again, where they would else wait for answers that nobody gives. Conversations by
// packets are led elsewhere. Nothing is asked of the kernel for other protocols: TCP notices by itself.
func (d *Datapath) DestroySockets(ctx context.Context, gone []service.Backend) error {
	targets := sockets.Targets(gone)
	if len(targets) == 0 {
		return nil
	}
	const own = "" // the network namespace of the node
	errs := []error{d.maps.ForgetBackends(gone)}
	for _, netns := range append(d.sandboxes(), own) {
		err := errors.Join(ctx.Err(), sockets.Destroy(netns, targets, d.maps.CameByService))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("end sockets in network namespace %q: %w", netns, err))
		}
	}
	return errors.Join(errs...)
}

// sandboxes are the network namespaces of the endpoints.
func (d *Datapath) sandboxes() []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var paths []string
	for _, f := range d.endpoints {
		paths = append(paths, f.endpoint.Netns)
	}
	return paths
}
