// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/agent/internal/translate"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// notYet says why the node cannot be programmed yet, or not with this configuration. A watch ends it.
type notYet struct {
	reason, message string
}

func (n notYet) Error() string { return n.message }

// passing is err unless it is a notYet, which needs no retry.
func passing(err error) error {
	if _, ok := errors.AsType[notYet](err); ok {
		return nil
	}
	return err
}

// program makes the kernel know this node and its peers.
func (r *Reconciler) program(ctx context.Context, node *v1alpha1.CiliumNode, status *v1alpha1.CiliumNodeStatus) error {
	desired, err := r.desired(ctx, node)
	if err != nil {
		return err
	}
	if err := r.refuseForeignServices(); err != nil {
		return err
	}
	state, err := r.Datapath.EnsureNode(ctx, desired)
	if err != nil {
		return fmt.Errorf("program the node: %w", err)
	}
	r.Addresses.SetPools(desired.PodCIDRs, slices.Concat(desired.Routers, desired.Addrs))
	usage, err := r.Datapath.MapUsage()
	if err != nil {
		return fmt.Errorf("read the fill of the maps: %w", err)
	}
	status.Datapath = &v1alpha1.NodeDatapath{
		RoutingMode: r.Config.Spec.RoutingMode, MTUBytes: int32(state.MTU), Devices: state.Devices,
		AcceleratedDevices: state.Accelerated, Peers: int32(len(desired.Peers)), Maps: mapUsage(usage),
	}
	r.plain = state.Plain
	select {
	case <-r.Programmed():
	default:
		ctrl.LoggerFrom(ctx).Info("Programmed the node", "podCIDRs", desired.PodCIDRs, "mtuBytes", state.MTU, "peers", len(desired.Peers))
	}
	r.setProgrammed(desired.Routers)
	return nil
}

func (r *Reconciler) desired(ctx context.Context, node *v1alpha1.CiliumNode) (dp.Node, error) {
	own := translate.Peer(node)
	if len(own.Addrs) == 0 {
		return dp.Node{}, notYet{v1alpha1.ReasonWaitingForNode, "The operator has given the node no address yet: see Node.status.addresses"}
	}
	if len(own.PodCIDRs) == 0 {
		return dp.Node{}, notYet{v1alpha1.ReasonWaitingForNode, "The operator has given the node no pod CIDR yet: see condition PoolAssigned"}
	}
	nodes := &v1alpha1.CiliumNodeList{}
	if err := r.Client.List(ctx, nodes); err != nil {
		return dp.Node{}, err
	}
	desired := dp.Node{
		Addrs: own.Addrs, PodCIDRs: own.PodCIDRs, Routers: own.Routers, Masquerade: r.masquerades(),
		Accelerate: r.accelerates() != v1alpha1.AccelerationDisabled,
	}
	for i := range nodes.Items {
		peer := translate.Peer(&nodes.Items[i])
		if peer.Name != r.NodeName && len(peer.Addrs) > 0 {
			desired.Peers = append(desired.Peers, peer)
		}
	}
	slices.SortFunc(desired.Peers, func(a, b dp.Peer) int { return strings.Compare(a.Name, b.Name) })
	return desired, nil
}

// refuseForeignServices keeps the agent from handing packets past netfilter while kube-proxy's rules are there: replies
// would not be translated back.
func (r *Reconciler) refuseForeignServices() error {
	if r.Config.Spec.HostForwarding == v1alpha1.ForwardingStack {
		return nil
	}
	foreign, where, err := r.Datapath.ForeignServices()
	if err != nil {
		return fmt.Errorf("look for kube-proxy's rules: %w", err)
	}
	if foreign {
		return notYet{v1alpha1.ReasonForeignServices, fmt.Sprintf("kube-proxy's rules are on the node (%s): remove kube-proxy and its rules, "+
			"or set hostForwarding: stack in CiliumConfig default", where)}
	}
	return nil
}

func mapUsage(usage []dp.MapUsage) []v1alpha1.MapUsage {
	out := make([]v1alpha1.MapUsage, len(usage))
	for i, u := range usage {
		out[i] = v1alpha1.MapUsage{Name: u.Name, Entries: int64(u.Entries), MaxEntries: int64(u.MaxEntries)}
	}
	return out
}
