// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package announcement

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/service/translate"
)

// wanted is what this node would announce of a Service if it held the Lease; nothing when it must not.
func (r *Reconciler) wanted(ctx context.Context, svc *corev1.Service) ([]dp.Announcement, error) {
	if !announceable(svc) {
		return nil, nil
	}
	node := &corev1.Node{}
	if err := r.Client.Get(ctx, types.NamespacedName{Name: r.NodeName}, node); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	policies := &v1alpha1.CiliumL2AnnouncementPolicyList{}
	if err := r.Client.List(ctx, policies); err != nil {
		return nil, err
	}
	var out []dp.Announcement
	for i := range policies.Items {
		of, err := resolve(svc, &policies.Items[i].Spec, node.Labels, r.Datapath.Cards())
		if err != nil { // The operator says so in its condition Valid.
			ctrl.LoggerFrom(ctx).V(1).Info("Ignoring a policy that makes no sense",
				"CiliumL2AnnouncementPolicy", policies.Items[i].Name, "reason", err.Error())
		}
		out = append(out, of...)
	}
	if len(out) == 0 || svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return sorted(out), nil
	}
	published := &discoveryv1.EndpointSliceList{}
	name := client.ObjectKeyFromObject(svc).String()
	if err := r.Client.List(ctx, published, client.MatchingFields{index.EndpointSliceService: name}); err != nil {
		return nil, err
	}
	if !servesHere(published.Items, r.NodeName) {
		return nil, nil
	}
	return sorted(out), nil
}

// announceable tells whether a Service has addresses that could be announced. A class that is not ours is another's.
func announceable(svc *corev1.Service) bool {
	class := svc.Spec.LoadBalancerClass
	return (class == nil || *class == v1alpha1.L2AnnouncerClass) && svc.DeletionTimestamp.IsZero() &&
		(len(svc.Spec.ExternalIPs) > 0 || len(svc.Status.LoadBalancer.Ingress) > 0)
}

// resolve is what a policy announces of a Service on a node with these labels and cards.
func resolve(
	svc *corev1.Service, policy *v1alpha1.CiliumL2AnnouncementPolicySpec, node labels.Set, cards []string,
) ([]dp.Announcement, error) {
	services, err := translate.Selector(policy.ServiceSelector)
	if err != nil {
		return nil, fmt.Errorf("serviceSelector: %w", err)
	}
	nodes, err := translate.Selector(policy.NodeSelector)
	if err != nil {
		return nil, fmt.Errorf("nodeSelector: %w", err)
	}
	if !services.Matches(translate.Labels(svc)) || !nodes.Matches(node) {
		return nil, nil
	}
	on, err := matching(cards, policy.Interfaces)
	if err != nil {
		return nil, err
	}
	var out []dp.Announcement
	for _, addr := range addresses(svc, policy) {
		for _, card := range on {
			out = append(out, dp.Announcement{Addr: addr, Device: card})
		}
	}
	return out, nil
}

// matching are the cards of which one expression matches the name; all when there is none.
func matching(cards, expressions []string) ([]string, error) {
	if len(expressions) == 0 {
		return cards, nil
	}
	var out []string
	for _, text := range expressions {
		expression, err := regexp.Compile(text)
		if err != nil {
			return nil, fmt.Errorf("interfaces: %w", err)
		}
		for _, card := range cards {
			if expression.MatchString(card) && !slices.Contains(out, card) {
				out = append(out, card)
			}
		}
	}
	return out, nil
}

func addresses(svc *corev1.Service, policy *v1alpha1.CiliumL2AnnouncementPolicySpec) []netip.Addr {
	var texts []string
	if policy.ExternalIPs {
		texts = append(texts, svc.Spec.ExternalIPs...)
	}
	if policy.LoadBalancerIPs && svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, ingress := range svc.Status.LoadBalancer.Ingress {
			texts = append(texts, ingress.IP)
		}
	}
	var out []netip.Addr
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil {
			out = append(out, addr)
		}
	}
	return out
}

// servesHere tells whether a node has a backend that takes connections. One that only ends its last ones counts too: who
// talks with it does so through this node.
func servesHere(published []discoveryv1.EndpointSlice, node string) bool {
	return slices.ContainsFunc(published, func(s discoveryv1.EndpointSlice) bool {
		return slices.ContainsFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool {
			return e.NodeName != nil && *e.NodeName == node && (yes(e.Conditions.Ready) || e.Conditions.Serving != nil && *e.Conditions.Serving)
		})
	})
}

// yes reads a condition that is true unless it says otherwise.
func yes(condition *bool) bool { return condition == nil || *condition }

// sorted brings announcements into one order, each once.
func sorted(list []dp.Announcement) []dp.Announcement {
	slices.SortFunc(list, compare)
	return slices.Compact(list)
}
