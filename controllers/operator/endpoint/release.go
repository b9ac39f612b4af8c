// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"fmt"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

const (
	// silence is for how long a kubelet or an agent must be silent before the operator acts for it.
	silence = 60 * time.Second
	// lookAgain is how often the operator asks whether the node of an endpoint without a pod is still alive.
	lookAgain = 10 * time.Second
)

// release deletes an endpoint and takes its finalizer away if nobody else will: the pod is gone, and so is the node, or
// what should act on it. It reports whether it did. The agent, should it come back, undoes what the kernel shows.
func (r *Reconciler) release(ctx context.Context, f facts) (bool, error) {
	why, err := r.whyRelease(ctx, f)
	if why == "" || err != nil {
		return false, err
	}
	// Nothing irreversible on the word of a cache.
	ep, err := optional(ctx, r.live, client.ObjectKeyFromObject(f.ep), &v1alpha1.CiliumEndpoint{})
	if ep == nil || err != nil || ep.UID != f.ep.UID {
		return true, err
	}
	now, err := gather(ctx, r.live, ep)
	if err != nil {
		return false, err
	}
	if now.hasPod() && !now.static() {
		return false, nil
	}
	if why, err = r.whyRelease(ctx, now); why == "" || err != nil {
		return false, err
	}
	if err := r.remove(ctx, ep); err != nil {
		return false, err
	}
	r.released.Inc()
	r.events.Eventf(ep, nil, corev1.EventTypeNormal, v1alpha1.EventReleased, "Release", "%s", why)
	ctrl.LoggerFrom(ctx).Info("Released the endpoint", "because", why)
	return true, nil
}

// whyRelease says why an endpoint must be released, or nothing. For a static pod only the node's end counts: its mirror
// says nothing about it.
func (r *Reconciler) whyRelease(ctx context.Context, f facts) (string, error) {
	if why := nodeEnded(f); why != "" {
		return why, nil
	}
	if f.static() {
		return "", nil
	}
	if f.pod != nil && f.pod.Spec.NodeName != "" && f.pod.Spec.NodeName != f.ep.Spec.NodeName {
		return "the pod of that name is now on node " + f.pod.Spec.NodeName, nil
	}
	if why, err := r.kubeletSilent(ctx, f.ep.Spec.NodeName); why != "" || err != nil {
		return why, err
	}
	return r.agentSilent(ctx, f.ep)
}

// nodeEnded says whether the node as it was when the endpoint came is no more.
func nodeEnded(f facts) string {
	switch {
	case f.node == nil:
		return fmt.Sprintf("node %s is gone", f.ep.Spec.NodeName)
	case f.node.CreationTimestamp.After(f.ep.CreationTimestamp.Time):
		return fmt.Sprintf("node %s was registered anew since", f.ep.Spec.NodeName)
	case slices.ContainsFunc(f.node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService }):
		return fmt.Sprintf("node %s is out of service", f.ep.Spec.NodeName)
	}
	return ""
}

// kubeletSilent asks for the node's Lease, past the cache: it is needed only for the few endpoints without a pod, while
// watching every node's heartbeat would cost a message each 10 s a node.
func (r *Reconciler) kubeletSilent(ctx context.Context, node string) (string, error) {
	key := client.ObjectKey{Namespace: corev1.NamespaceNodeLease, Name: node}
	lease, err := optional(ctx, r.live, key, &coordinationv1.Lease{})
	if err != nil {
		return "", fmt.Errorf("get the Lease of node %s: %w", node, err)
	}
	if lease == nil || lease.Spec.RenewTime == nil || r.now().Sub(lease.Spec.RenewTime.Time) < silence {
		return "", nil
	}
	return fmt.Sprintf("node %s has not renewed its Lease since %s", node, lease.Spec.RenewTime.UTC().Format(time.RFC3339)), nil
}

// agentSilent looks at the agent's pod. Where there is none, the time counts from when this operator noticed.
func (r *Reconciler) agentSilent(ctx context.Context, ep *v1alpha1.CiliumEndpoint) (string, error) {
	var agents corev1.PodList
	if err := r.client.List(ctx, &agents, client.MatchingFields{AgentNode: ep.Spec.NodeName}); err != nil {
		return "", fmt.Errorf("look for the agent of node %s: %w", ep.Spec.NodeName, err)
	}
	if len(agents.Items) > 0 {
		r.orphans.forget(client.ObjectKeyFromObject(ep))
	} else if r.now().Sub(r.orphans.since(ep, "", r.now())) < silence {
		return "", nil
	}
	for i := range agents.Items {
		if r.now().Sub(unreadySince(&agents.Items[i], r.now())) < silence {
			return "", nil
		}
	}
	return fmt.Sprintf("the agent of node %s has not been ready for %s", ep.Spec.NodeName, silence), nil
}

// unreadySince is now for a pod that is ready.
func unreadySince(pod *corev1.Pod, now time.Time) time.Time {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return now
		}
		if c.Type == corev1.PodReady {
			return c.LastTransitionTime.Time
		}
	}
	return pod.CreationTimestamp.Time
}

// remove deletes the endpoint and takes our finalizer away.
func (r *Reconciler) remove(ctx context.Context, ep *v1alpha1.CiliumEndpoint) error {
	if ep.DeletionTimestamp == nil {
		if err := r.client.Delete(ctx, ep, client.Preconditions{UID: &ep.UID}); err != nil {
			return ignoreGone(err)
		}
		uid := ep.UID
		if err := r.live.Get(ctx, client.ObjectKeyFromObject(ep), ep); err != nil || ep.UID != uid {
			return client.IgnoreNotFound(err)
		}
	}
	patch := client.MergeFromWithOptions(ep.DeepCopy(), client.MergeFromWithOptimisticLock{})
	if !controllerutil.RemoveFinalizer(ep, v1alpha1.EndpointFinalizer) {
		return nil
	}
	if err := r.client.Patch(ctx, ep, patch); ignoreGone(err) != nil {
		return fmt.Errorf("release the finalizer: %w", err)
	}
	return nil
}

// ignoreGone makes a success of what is gone, or has been replaced by another of its name.
func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
