// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// sandbox checks that the network namespace is there.
func (r *Reconciler) sandbox(_ context.Context, a *attachment) (wait, error) {
	a.ep.Netns = netnsPath(r.NetnsDir, a.cep)
	if r.netnsGone(a) {
		return wait{}, terminal{v1alpha1.ReasonSandboxGone, fmt.Sprintf("The network namespace %s is gone", a.cep.Spec.Netns)}
	}
	return wait{}, nil
}

// earlier waits until the device of an earlier attachment of the same sandbox is gone: it has the same name.
func (r *Reconciler) earlier(_ context.Context, a *attachment) (wait, error) {
	if r.trash.has(a.hostIfName) {
		return wait{v1alpha1.ReasonWaitingForDatapath, fmt.Sprintf("An earlier device %s is still being removed", a.hostIfName)}, nil
	}
	return wait{}, nil
}

func (r *Reconciler) netnsGone(a *attachment) bool {
	_, err := os.Stat(netnsPath(r.NetnsDir, a.cep))
	return errors.Is(err, fs.ErrNotExist)
}

// sandboxExists tells whether the network namespace is there and, once the endpoint has a device, that too.
func (r *Reconciler) sandboxExists(ctx context.Context, a *attachment) (bool, error) {
	if r.netnsGone(a) {
		return false, nil
	}
	if a.status.Interface == nil {
		return true, nil
	}
	observed, err := r.Datapath.Endpoints(ctx)
	if err != nil {
		return false, fmt.Errorf("list what the kernel has: %w", err)
	}
	return slices.ContainsFunc(observed, func(o dp.Observed) bool { return o.HostIfName == a.ep.HostIfName }), nil
}
