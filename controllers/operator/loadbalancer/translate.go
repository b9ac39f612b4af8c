// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loadbalancer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/ipam"
	"github.com/ciliate-io/ciliate/internal/loadbalancer"
	"github.com/ciliate-io/ciliate/internal/service/translate"
)

// served tells whether a Service gets its addresses here. A class that is not ours is another's.
func served(svc *corev1.Service) bool {
	class := svc.Spec.LoadBalancerClass
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && (class == nil || *class == v1alpha1.L2AnnouncerClass)
}

// marked tells whether we have written to a Service.
func marked(svc *corev1.Service) bool {
	return meta.FindStatusCondition(svc.Status.Conditions, v1alpha1.ConditionIPAMRequestSatisfied) != nil
}

// older orders by age.
func older(a, b client.Object) int {
	return cmp.Or(
		a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time),
		strings.Compare(a.GetNamespace(), b.GetNamespace()),
		strings.Compare(a.GetName(), b.GetName()),
	)
}

// addresses are those in a Service's status.
func addresses(svc *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, ingress := range svc.Status.LoadBalancer.Ingress {
		if addr, err := netip.ParseAddr(ingress.IP); err == nil {
			out = append(out, addr)
		}
	}
	return out
}

// pool is a CiliumLoadBalancerIPPool and what it comes to.
type pool struct {
	object   *v1alpha1.CiliumLoadBalancerIPPool
	plain    loadbalancer.Pool
	selector labels.Selector
	// wrong is why it makes no sense; nil when it does.
	wrong *wrong
	// conflict is an older pool with some of its addresses.
	conflict string
}

// wrong is a reason and a sentence.
type wrong struct{ reason, message string }

// pools are all there are, the oldest first.
func (r *Reconciler) pools(ctx context.Context) ([]pool, error) {
	var list v1alpha1.CiliumLoadBalancerIPPoolList
	if err := r.client.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("list the pools: %w", err)
	}
	var out []pool
	for i := range list.Items {
		out = append(out, translatePool(&list.Items[i]))
	}
	slices.SortFunc(out, func(a, b pool) int { return older(a.object, b.object) })
	conflicts := loadbalancer.Conflicts(plain(out))
	for i := range out {
		p := &out[i]
		p.conflict = conflicts[p.plain.Name]
		p.plain.Closed = p.object.Spec.Disabled || p.conflict != "" || p.wrong != nil || !p.object.DeletionTimestamp.IsZero()
	}
	return out, nil
}

func plain(pools []pool) []loadbalancer.Pool {
	out := make([]loadbalancer.Pool, len(pools))
	for i := range pools {
		out[i] = pools[i].plain
	}
	return out
}

func translatePool(object *v1alpha1.CiliumLoadBalancerIPPool) pool {
	p := pool{object: object, plain: loadbalancer.Pool{Name: object.Name}, selector: labels.Nothing()}
	selector, err := translate.Selector(object.Spec.ServiceSelector)
	if err != nil {
		p.wrong = &wrong{v1alpha1.ReasonInvalidSelector, fmt.Sprintf("serviceSelector: %v", err)}
		return p
	}
	p.selector = selector
	for i, block := range object.Spec.Blocks {
		r, err := translateBlock(block, object.Spec.AllowFirstLastIPs)
		if err != nil {
			p.wrong = &wrong{v1alpha1.ReasonInvalidBlock, fmt.Sprintf("blocks[%d]: %v", i, err)}
			continue
		}
		p.plain.Ranges = append(p.plain.Ranges, r)
	}
	p.plain.Ranges = loadbalancer.Merge(p.plain.Ranges)
	return p
}

func translateBlock(block v1alpha1.LoadBalancerIPPoolBlock, allow v1alpha1.AllowFirstLastIPs) (loadbalancer.Range, error) {
	if block.CIDR != "" {
		prefix, err := netip.ParsePrefix(block.CIDR)
		if err != nil {
			return loadbalancer.Range{}, err
		}
		if allow == v1alpha1.AllowFirstLastIPsNo {
			return loadbalancer.Of(prefix, loadbalancer.WithoutEdges), nil
		}
		return loadbalancer.Of(prefix, loadbalancer.WithEdges), nil
	}
	first, err := netip.ParseAddr(block.Start)
	last, errLast := netip.ParseAddr(cmp.Or(block.Stop, block.Start))
	if err := errors.Join(err, errLast); err != nil {
		return loadbalancer.Range{}, err
	}
	return loadbalancer.Between(first, last)
}

// requests are what Services ask for, in their order.
func requests(services []*corev1.Service, pools []pool) []loadbalancer.Request {
	var out []loadbalancer.Request
	for _, svc := range services {
		out = append(out, request(svc, pools))
	}
	return out
}

func request(svc *corev1.Service, pools []pool) loadbalancer.Request {
	r := loadbalancer.Request{
		Owner: string(svc.UID), Name: svc.Namespace + "/" + svc.Name, Have: addresses(svc),
		All: svc.Spec.IPFamilyPolicy == nil || *svc.Spec.IPFamilyPolicy != corev1.IPFamilyPolicyPreferDualStack,
	}
	for _, family := range svc.Spec.IPFamilies {
		if family == corev1.IPv4Protocol {
			r.Families = append(r.Families, ipam.IPv4)
		} else {
			r.Families = append(r.Families, ipam.IPv6)
		}
	}
	for _, text := range wanted(svc) {
		addr, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			r.Wrong = fmt.Sprintf("the Service asks for %q, which is no address", text)
		case !slices.Contains(r.Addrs, addr):
			r.Addrs = append(r.Addrs, addr)
		}
	}
	set := translate.Labels(svc)
	for _, p := range pools {
		if p.selector.Matches(set) {
			r.Pools = append(r.Pools, p.plain.Name)
		}
	}
	return r
}

// wanted are the addresses that a Service asks for: those of its annotation, else spec.loadBalancerIP.
func wanted(svc *corev1.Service) []string {
	text := cmp.Or(svc.Annotations[v1alpha1.LoadBalancerIPsAnnotation], svc.Spec.LoadBalancerIP)
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}
