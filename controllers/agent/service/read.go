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

// node is this node as Services see it, with what is so for all of them. One that the operator has not described yet has no
// addresses for node ports.
func (r *Reconciler) node(ctx context.Context) (services.Node, error) {
	node := &v1alpha1.CiliumNode{}
	if err := r.Client.Get(ctx, types.NamespacedName{Name: r.NodeName}, node); client.IgnoreNotFound(err) != nil {
		return services.Node{}, err
	}
	cluster := &v1alpha1.CiliumConfig{}
	if err := r.Client.Get(ctx, types.NamespacedName{Name: v1alpha1.ConfigName}, cluster); client.IgnoreNotFound(err) != nil {
		return services.Node{}, err
	}
	return services.Node{
		Name: r.NodeName, Zone: node.Spec.Zone, Addrs: translate.Peer(node).Addrs,
		Maglev: cluster.Spec.LoadBalancer.Algorithm == v1alpha1.AlgorithmMaglev,
	}, nil
}

// wanted is what all or some Services come to on this node.
type wanted struct {
	// sets are by owner, none if it is gone.
	sets map[string][]service.Set
	// checks are by Service, nil where nothing may be asked.
	checks map[types.NamespacedName]*services.HealthCheck
}

func newWanted() wanted {
	return wanted{sets: map[string][]service.Set{}, checks: map[types.NamespacedName]*services.HealthCheck{}}
}

// add notes a Service.
func (w wanted) add(node services.Node, svc *corev1.Service, published []discoveryv1.EndpointSlice) {
	o := owner{NamespacedName: client.ObjectKeyFromObject(svc)}
	w.sets[o.String()] = node.Sets(svc, published)
	w.checks[o.NamespacedName] = nil
	if check, found := node.HealthCheck(svc, published); found {
		w.checks[o.NamespacedName] = &check
	}
}

// read adds what one owner comes to.
func (r *Reconciler) read(ctx context.Context, o owner, out wanted) error {
	node, err := r.node(ctx)
	if err != nil {
		return err
	}
	out.sets[o.String()] = nil
	if o.pod {
		pod := &corev1.Pod{}
		if err := r.Client.Get(ctx, o.NamespacedName, pod); err != nil {
			return client.IgnoreNotFound(err)
		}
		out.sets[o.String()] = node.PodSets(pod)
		return nil
	}
	out.checks[o.NamespacedName] = nil
	svc := &corev1.Service{}
	if err := r.Client.Get(ctx, o.NamespacedName, svc); err != nil {
		return client.IgnoreNotFound(err)
	}
	slices := &discoveryv1.EndpointSliceList{}
	if err := r.Client.List(ctx, slices, client.MatchingFields{index.EndpointSliceService: o.String()}); err != nil {
		return err
	}
	out.add(node, svc, slices.Items)
	return nil
}

// readAll is what all Services and this node's pods come to.
func (r *Reconciler) readAll(ctx context.Context) (wanted, error) {
	out := newWanted()
	node, err := r.node(ctx)
	if err != nil {
		return out, err
	}
	list, slices := &corev1.ServiceList{}, &discoveryv1.EndpointSliceList{}
	if err := r.Client.List(ctx, list); err != nil {
		return out, err
	}
	if err := r.Client.List(ctx, slices); err != nil {
		return out, err
	}
	published := map[string][]discoveryv1.EndpointSlice{}
	for _, slice := range slices.Items {
		for _, service := range index.EndpointSliceServiceOf(&slice) {
			published[service] = append(published[service], slice)
		}
	}
	for _, gone := range r.health.known() {
		out.checks[gone] = nil
	}
	for i := range list.Items {
		out.add(node, &list.Items[i], published[client.ObjectKeyFromObject(&list.Items[i]).String()])
	}
	return out, r.readPods(ctx, node, out.sets)
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
