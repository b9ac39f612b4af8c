// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/agent/internal/translate"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	"github.com/ciliate-io/ciliate/internal/service"
	services "github.com/ciliate-io/ciliate/internal/service/translate"
)

// node is this node as Services see it. One that the operator has not described yet has no addresses for node ports.
func (r *Reconciler) node(ctx context.Context) (services.Node, error) {
	node := &v1alpha1.CiliumNode{}
	if err := r.Client.Get(ctx, types.NamespacedName{Name: r.NodeName}, node); client.IgnoreNotFound(err) != nil {
		return services.Node{}, err
	}
	return services.Node{Name: r.NodeName, Zone: node.Spec.Zone, Addrs: translate.Peer(node).Addrs}, nil
}

// setsOf are the sets of one owner, none if it is gone.
func (r *Reconciler) setsOf(ctx context.Context, o owner) ([]service.Set, error) {
	node, err := r.node(ctx)
	if err != nil {
		return nil, err
	}
	if o.pod {
		pod := &corev1.Pod{}
		if err := r.Client.Get(ctx, o.NamespacedName, pod); err != nil {
			return nil, client.IgnoreNotFound(err)
		}
		return node.PodSets(pod), nil
	}
	svc := &corev1.Service{}
	if err := r.Client.Get(ctx, o.NamespacedName, svc); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	slices := &discoveryv1.EndpointSliceList{}
	if err := r.Client.List(ctx, slices, client.MatchingFields{index.EndpointSliceService: o.String()}); err != nil {
		return nil, err
	}
	return node.Sets(svc, slices.Items), nil
}

// readAll are the sets of all Services and of this node's pods, by owner.
func (r *Reconciler) readAll(ctx context.Context) (map[string][]service.Set, error) {
	node, err := r.node(ctx)
	if err != nil {
		return nil, err
	}
	list, slices := &corev1.ServiceList{}, &discoveryv1.EndpointSliceList{}
	if err := r.Client.List(ctx, list); err != nil {
		return nil, err
	}
	if err := r.Client.List(ctx, slices); err != nil {
		return nil, err
	}
	published := map[string][]discoveryv1.EndpointSlice{}
	for _, slice := range slices.Items {
		for _, service := range index.EndpointSliceServiceOf(&slice) {
			published[service] = append(published[service], slice)
		}
	}
	out := make(map[string][]service.Set, len(list.Items))
	for i := range list.Items {
		name := owner{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])}.String()
		out[name] = node.Sets(&list.Items[i], published[name])
	}
	return out, r.readPods(ctx, node, out)
}

func (r *Reconciler) readPods(ctx context.Context, node services.Node, out map[string][]service.Set) error {
	pods := &corev1.PodList{}
	if err := r.Client.List(ctx, pods); err != nil {
		return err
	}
	for i := range pods.Items {
		if sets := node.PodSets(&pods.Items[i]); len(sets) > 0 {
			out[owner{pod: true, NamespacedName: client.ObjectKeyFromObject(&pods.Items[i])}.String()] = sets
		}
	}
	return nil
}
