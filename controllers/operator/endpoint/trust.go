// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/translate"
	"github.com/ciliate-io/ciliate/internal/identity"
)

// patience is for how long an endpoint may differ from what it should be in a way that also happens to honest agents: the
// pod was relabelled or removed, and the agent has not followed yet.
const patience = 60 * time.Second

// doubts remembers since when an endpoint has given cause for patience. It is lost with the leader; the next one is
// patient again.
type doubts map[types.NamespacedName]doubt

type doubt struct {
	uid    types.UID
	reason string
	since  time.Time
}

func (d doubts) forget(key types.NamespacedName) { delete(d, key) }

// since is when the doubt began.
func (d doubts) since(ep *v1alpha1.CiliumEndpoint, reason string, now time.Time) time.Time {
	key := client.ObjectKeyFromObject(ep)
	if have := d[key]; have.uid != ep.UID || have.reason != reason {
		d[key] = doubt{uid: ep.UID, reason: reason, since: now}
	}
	return d[key].since
}

// charge is what speaks against an endpoint.
type charge struct {
	reason, message string
	// flagrant: no honest agent ever does this.
	flagrant bool
}

// judge sets or clears the condition Untrusted. It returns when to look again.
func (r *Reconciler) judge(ctx context.Context, f facts) (time.Duration, error) {
	against, err := r.charges(ctx, r.client, f)
	if err != nil {
		return 0, err
	}
	if against == nil {
		r.doubts.forget(client.ObjectKeyFromObject(f.ep))
		return 0, r.write(ctx, f.ep, nil)
	}
	marked := meta.FindStatusCondition(f.ep.Status.Conditions, v1alpha1.ConditionUntrusted)
	if !against.flagrant && marked == nil {
		if left := patience - r.now().Sub(r.doubts.since(f.ep, against.reason, r.now())); left > 0 {
			return left, nil
		}
	}
	// Nobody is cut off on the word of a cache.
	ep, err := optional(ctx, r.live, client.ObjectKeyFromObject(f.ep), &v1alpha1.CiliumEndpoint{})
	if ep == nil || err != nil || ep.UID != f.ep.UID {
		return 0, err
	}
	now, err := gather(ctx, r.live, ep)
	if err != nil {
		return 0, err
	}
	if against, err = r.charges(ctx, r.live, now); against == nil || err != nil {
		return 0, err // The cache will see what cleared it, and wake us.
	}
	return patience, r.write(ctx, ep, against)
}

// charges finds what speaks against an endpoint. One without addresses and identity claims nothing.
func (r *Reconciler) charges(ctx context.Context, from client.Reader, f facts) (*charge, error) {
	if len(f.ep.Status.Addresses) == 0 && f.ep.Status.Identity == nil {
		return nil, nil
	}
	cn, err := optional(ctx, from, client.ObjectKey{Name: f.ep.Spec.NodeName}, &v1alpha1.CiliumNode{})
	if err != nil {
		return nil, fmt.Errorf("get the CiliumNode: %w", err)
	}
	if c := outsidePool(f.ep, cn); c != nil {
		return c, nil
	}
	if c := notItsPod(f); c != nil {
		return c, nil
	}
	return r.wrongIdentity(ctx, from, f)
}

// outsidePool: the address lies in no range of the node. Ranges are written before addresses of them are given, and
// never taken away from a node; without a CiliumNode agents leave its endpoints out anyway.
func outsidePool(ep *v1alpha1.CiliumEndpoint, cn *v1alpha1.CiliumNode) *charge {
	if cn == nil {
		return nil
	}
	for _, a := range ep.Status.Addresses {
		ip, err := netip.ParseAddr(a.IP)
		inside := err == nil && slices.ContainsFunc(cn.Spec.IPAM.PodCIDRs, func(s string) bool {
			p, err := netip.ParsePrefix(s)
			return err == nil && p.Contains(ip)
		})
		if !inside {
			return &charge{
				reason: v1alpha1.ReasonAddressOutsidePool, flagrant: true,
				message: fmt.Sprintf("address %s lies outside the pod CIDRs of node %s", a.IP, ep.Spec.NodeName),
			}
		}
	}
	return nil
}

// notItsPod: the pod is bound elsewhere, or does not exist. The latter is also so while an agent tidies up.
func notItsPod(f facts) *charge {
	if !f.hasPod() {
		return &charge{
			reason:  v1alpha1.ReasonPodNotOnNode,
			message: fmt.Sprintf("there is no pod %s/%s with UID %s", f.ep.Namespace, f.ep.Name, f.ep.Spec.PodUID),
		}
	}
	if f.pod.Spec.NodeName != f.ep.Spec.NodeName {
		return &charge{
			reason: v1alpha1.ReasonPodNotOnNode, flagrant: true,
			message: fmt.Sprintf("the pod is bound to node %q, not to %s", f.pod.Spec.NodeName, f.ep.Spec.NodeName),
		}
	}
	return nil
}

// wrongIdentity: the identity's labels are not those of the pod. Labels change; namespace, service account and cluster
// of a pod never do.
func (r *Reconciler) wrongIdentity(ctx context.Context, from client.Reader, f facts) (*charge, error) {
	if f.ep.Status.Identity == nil {
		return nil, nil
	}
	want, err := r.labels(ctx, from, f.pod)
	if want == nil || err != nil {
		return nil, err
	}
	number := strconv.Itoa(int(f.ep.Status.Identity.Number))
	key := client.ObjectKey{Name: number}
	id, err := optional(ctx, from, key, &v1alpha1.CiliumIdentity{})
	if id == nil && err == nil { // Perhaps the cache has not seen it yet.
		id, err = optional(ctx, r.live, key, &v1alpha1.CiliumIdentity{})
	}
	if err != nil {
		return nil, fmt.Errorf("get identity %s: %w", number, err)
	}
	c := &charge{
		reason:  v1alpha1.ReasonIdentityMismatch,
		message: fmt.Sprintf("identity %s is not that of the pod's labels", number),
	}
	if id == nil {
		return c, nil
	}
	have := index.IdentityLabels(id)
	for _, fixed := range []string{identity.KeyNamespace, identity.KeyServiceAccount} {
		if have[fixed] != want[fixed] {
			c.flagrant = true
			c.message = fmt.Sprintf("identity %s has %s=%s, the pod %s", number, fixed, have[fixed], want[fixed])
			return c, nil
		}
	}
	if have.Key() == want.Key() {
		return nil, nil
	}
	chosen, err := r.canChoose(ctx, want)
	if !chosen || err != nil {
		return nil, err // The agent waits for the operator, not the other way round.
	}
	return c, nil
}

// labels are those of the pod's identity under the filter in force; none before there is one.
func (r *Reconciler) labels(ctx context.Context, from client.Reader, pod *corev1.Pod) (identity.Labels, error) {
	cfg, err := optional(ctx, from, client.ObjectKey{Name: v1alpha1.ConfigName}, &v1alpha1.CiliumConfig{})
	if cfg == nil || err != nil || cfg.Status.IdentityFilter == nil {
		return nil, err
	}
	namespace, err := optional(ctx, from, client.ObjectKey{Name: pod.Namespace}, &corev1.Namespace{})
	if namespace == nil || err != nil {
		return nil, err
	}
	return translate.Filter(cfg.Status.IdentityFilter).Labels(translate.Pod(pod), namespace.Labels), nil
}

// canChoose tells whether agents see an identity with these labels.
func (r *Reconciler) canChoose(ctx context.Context, labels identity.Labels) (bool, error) {
	var list v1alpha1.CiliumIdentityList
	if err := r.client.List(ctx, &list, client.MatchingFields{index.IdentityKey: labels.Key()}); err != nil {
		return false, fmt.Errorf("look for the identity of the pod: %w", err)
	}
	return slices.ContainsFunc(list.Items, func(id v1alpha1.CiliumIdentity) bool { return id.Status.RetiredAt == nil }), nil
}

// write sets the condition, or removes it: absent means trusted.
func (r *Reconciler) write(ctx context.Context, ep *v1alpha1.CiliumEndpoint, against *charge) error {
	// The status is one value: the agent's part goes back as it was read, or not at all (409, judge again).
	judged := ep.DeepCopy()
	changed := false
	if against == nil {
		changed = meta.RemoveStatusCondition(&judged.Status.Conditions, v1alpha1.ConditionUntrusted)
	} else {
		changed = meta.SetStatusCondition(&judged.Status.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionUntrusted, Status: metav1.ConditionTrue, ObservedGeneration: ep.Generation,
			LastTransitionTime: metav1.NewTime(r.now()), Reason: against.reason, Message: against.message,
		})
	}
	if !changed {
		return nil
	}
	if err := r.client.Status().Update(ctx, judged, fieldOwner); err != nil {
		return fmt.Errorf("write the condition %s: %w", v1alpha1.ConditionUntrusted, err)
	}
	if against != nil {
		r.events.Eventf(ep, nil, corev1.EventTypeWarning, v1alpha1.EventUntrusted, "Judge", "%s", against.message)
	}
	ctrl.LoggerFrom(ctx).Info("Judged the endpoint", "untrusted", against != nil)
	return nil
}
