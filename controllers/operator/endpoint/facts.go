// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"fmt"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// facts are an endpoint and what is known of its pod and node.
type facts struct {
	ep *v1alpha1.CiliumEndpoint
	// pod is the Pod of the endpoint's name, be it its own or a later one; nil when there is none.
	pod *corev1.Pod
	// node is the Node of the endpoint's node name, nil when there is none.
	node *corev1.Node
}

// gather reads what belongs to an endpoint, from the cache or past it.
func gather(ctx context.Context, from client.Reader, ep *v1alpha1.CiliumEndpoint) (facts, error) {
	pod, err := optional(ctx, from, client.ObjectKeyFromObject(ep), &corev1.Pod{})
	if err != nil {
		return facts{}, fmt.Errorf("get the Pod: %w", err)
	}
	node, err := optional(ctx, from, client.ObjectKey{Name: ep.Spec.NodeName}, &corev1.Node{})
	if err != nil {
		return facts{}, fmt.Errorf("get the Node: %w", err)
	}
	return facts{ep: ep, pod: pod, node: node}, nil
}

// optional gets an object that may be absent.
func optional[T client.Object](ctx context.Context, from client.Reader, key client.ObjectKey, into T) (T, error) {
	err := from.Get(ctx, key, into)
	if err != nil {
		var none T
		return none, client.IgnoreNotFound(err)
	}
	return into, nil
}

// hasPod tells whether the Pod of the endpoint exists: the one of its UID, or the mirror of its static pod.
func (f facts) hasPod() bool {
	return f.pod != nil &&
		(string(f.pod.UID) == f.ep.Spec.PodUID || f.pod.Annotations[corev1.MirrorPodAnnotationKey] == f.ep.Spec.PodUID)
}

// static tells whether the endpoint is that of a static pod. The agent says so once it has seen the mirror; before that,
// the UID does: the API server gives UUIDs, the kubelet hashes.
func (f facts) static() bool {
	return f.ep.Status.MirrorPodUID != "" || !uuid(f.ep.Spec.PodUID)
}

func uuid(s string) bool {
	matched, err := regexp.MatchString("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", s)
	return err == nil && matched
}
