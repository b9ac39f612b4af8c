// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/translate"
	"github.com/ciliate-io/ciliate/internal/ipam"
)

// pools are the pools of mode cluster-pool by family, for one generation of the configuration.
type pools struct {
	generation int64
	byFamily   map[ipam.Family]*ipam.ClusterPool
	cidrs      map[ipam.Family]string // For messages.
}

// prepare makes the pools those of the configuration. The first time it learns from the API server, not from the cache,
// which ranges are taken: another leader may have given one a moment ago.
func (r *Reconciler) prepare(ctx context.Context, cfg *v1alpha1.CiliumConfig) error {
	if r.pools.byFamily == nil {
		taken, err := r.taken(ctx, cfg)
		if err != nil {
			return err
		}
		r.pools = taken
	}
	if r.pools.byFamily == nil {
		return nil // Nothing is given before the configuration is valid.
	}
	if r.pools.generation == cfg.Generation || cfg.Spec.IPAM.Mode != v1alpha1.IPAMClusterPool {
		return nil
	}
	if err := r.pools.configure(&cfg.Spec.IPAM); err != nil {
		// The controller of the configuration says so in its condition Valid; until then nothing is given.
		ctrl.LoggerFrom(ctx).V(1).Info("Ignoring pools that make no sense", "reason", err.Error())
		return nil
	}
	r.pools.generation = cfg.Generation
	return nil
}

// taken counts the ranges that nodes have, and those that they must have had because endpoints have addresses of them
// (the CiliumNode was deleted by mistake while nobody led).
func (r *Reconciler) taken(ctx context.Context, cfg *v1alpha1.CiliumConfig) (pools, error) {
	p := pools{byFamily: map[ipam.Family]*ipam.ClusterPool{}}
	if cfg.Spec.IPAM.Mode == v1alpha1.IPAMClusterPool {
		if p.configure(&cfg.Spec.IPAM) != nil {
			return pools{}, nil //nolint:nilerr // The controller of the configuration says so in its condition Valid.
		}
	}
	var nodes v1alpha1.CiliumNodeList
	if err := r.live.List(ctx, &nodes); err != nil {
		return pools{}, fmt.Errorf("list the CiliumNodes: %w", err)
	}
	for i := range nodes.Items {
		if err := p.adopt(&nodes.Items[i]); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Counting the ranges of a node", "CiliumNode", nodes.Items[i].Name)
		}
	}
	var endpoints v1alpha1.CiliumEndpointList
	if err := r.client.List(ctx, &endpoints); err != nil {
		return pools{}, fmt.Errorf("list the CiliumEndpoints: %w", err)
	}
	for i := range endpoints.Items {
		ep := &endpoints.Items[i]
		if err := r.client.Get(ctx, client.ObjectKey{Name: ep.Spec.NodeName}, &corev1.Node{}); err == nil {
			p.infer(ep)
		}
	}
	return p, nil
}

// configure changes the CIDRs; ranges that nodes have stay theirs.
func (p *pools) configure(spec *v1alpha1.IPAMConfig) error {
	texts := map[ipam.Family]string{}
	for family, pool := range map[ipam.Family]*v1alpha1.ClusterPool{ipam.IPv4: spec.IPv4, ipam.IPv6: spec.IPv6} {
		if pool == nil {
			continue
		}
		cidrs, err := translate.Prefixes(pool.CIDRs)
		if err != nil {
			return err
		}
		if p.byFamily[family] == nil {
			p.byFamily[family], err = ipam.NewClusterPool(cidrs, int(pool.MaskSize))
		} else {
			err = p.byFamily[family].Configure(cidrs, int(pool.MaskSize))
		}
		if err != nil {
			return err
		}
		texts[family] = fmt.Sprintf("range of mask size %d is left in %s: append a CIDR to ipam.%s.cidrs of CiliumConfig default",
			pool.MaskSize, strings.Join(pool.CIDRs, ", "), strings.ToLower(family.String()))
	}
	p.cidrs = texts
	return nil
}

// adopt counts the ranges that a CiliumNode has.
func (p *pools) adopt(cn *v1alpha1.CiliumNode) error {
	ranges, err := translate.Prefixes(cn.Spec.IPAM.PodCIDRs)
	errs := []error{err}
	for _, have := range ranges {
		if pool := p.byFamily[ipam.FamilyOf(have.Addr())]; pool != nil {
			errs = append(errs, pool.Adopt(cn.Name, have))
		}
	}
	return errors.Join(errs...)
}

// infer counts the range from which an endpoint must have its address, if no node has it.
func (p *pools) infer(ep *v1alpha1.CiliumEndpoint) {
	for _, a := range ep.Status.Addresses {
		ip, err := netip.ParseAddr(a.IP)
		if err != nil {
			continue
		}
		if pool := p.byFamily[ipam.FamilyOf(ip)]; pool != nil {
			pool.Infer(ep.Spec.NodeName, ip)
		}
	}
}

// assign are the ranges that a node should have: those that it has, and one of each family that it lacks. A node gets
// all families or nothing new, so that no pod is half attached.
func (p *pools) assign(cn *v1alpha1.CiliumNode) ([]string, *refusal) {
	if err := p.adopt(cn); err != nil {
		return nil, &refusal{v1alpha1.ReasonOverlap, err.Error()}
	}
	ranges := slices.Clone(cn.Spec.IPAM.PodCIDRs)
	for _, family := range slices.Sorted(maps.Keys(p.cidrs)) {
		if hasFamily(cn.Spec.IPAM.PodCIDRs, family) {
			continue
		}
		next, err := p.byFamily[family].Allocate(cn.Name)
		if err != nil {
			return nil, &refusal{v1alpha1.ReasonPoolExhausted, "no " + p.cidrs[family]}
		}
		ranges = append(ranges, next.String())
	}
	return ranges, nil
}

func hasFamily(cidrs []string, family ipam.Family) bool {
	return slices.ContainsFunc(cidrs, func(s string) bool {
		p, err := netip.ParsePrefix(s)
		return err == nil && ipam.FamilyOf(p.Addr()) == family
	})
}

// release takes the ranges of a node back and tells whether there were any.
func (p *pools) release(name string) bool {
	had := false
	for _, pool := range p.byFamily {
		had = had || len(pool.Of(name)) > 0
		pool.Release(name)
	}
	return had
}
