// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"errors"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// iface makes the pair of devices, the host side still down.
func (r *Reconciler) iface(ctx context.Context, a *attachment) (wait, error) {
	ifc, err := r.Datapath.EnsureInterface(ctx, a.ep)
	switch {
	case errors.Is(err, dp.ErrSandboxGone):
		return wait{}, terminal{v1alpha1.ReasonSandboxGone, fmt.Sprintf("The network namespace %s is gone", a.cep.Spec.Netns)}
	case errors.Is(err, dp.ErrInvalidNetns):
		return wait{}, terminal{v1alpha1.ReasonInvalidNetns, err.Error()}
	case err != nil:
		a.set(v1alpha1.ConditionDatapathProgrammed, false, v1alpha1.ReasonDatapathError, err.Error())
		return wait{}, err
	}
	a.ifc = ifc
	a.status.Interface = &v1alpha1.EndpointInterface{
		HostName: a.ep.HostIfName, HostIndex: int32(ifc.HostIndex), MAC: ifc.MAC.String(), HostMAC: ifc.HostMAC.String(),
		MTUBytes: int32(ifc.MTU),
	}
	return wait{}, nil
}

// program fills the maps, attaches the programs and takes the host side up.
func (r *Reconciler) program(ctx context.Context, a *attachment) (wait, error) {
	if err := r.Datapath.EnsureEndpoint(ctx, a.ep, a.ifc); err != nil {
		a.set(v1alpha1.ConditionDatapathProgrammed, false, v1alpha1.ReasonDatapathError, err.Error())
		return wait{}, err
	}
	a.status.EndpointID = int32(a.ep.ID)
	a.set(v1alpha1.ConditionDatapathProgrammed, true, v1alpha1.ReasonProgrammed,
		fmt.Sprintf("Device %s is up with its programs", a.ep.HostIfName))
	if !a.served.Swap(true) {
		ctrl.LoggerFrom(ctx).Info("Attached endpoint", "pod", a.cep.Namespace+"/"+a.cep.Name,
			"containerID", a.cep.Spec.ContainerID, "addresses", joinAddrs(a.ep.Addrs), "endpointID", a.ep.ID,
			"identity", a.ep.Identity, "interface", a.ep.HostIfName)
	}
	return wait{}, nil
}
