// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// podPatience is how long an endpoint may be ahead of its Pod: the mirror of a static pod can come after the sandbox.
const podPatience = 10 * time.Second

// mirrorAnnotation is on the Pod that stands for a static pod in the API; its value is the UID that the kubelet uses.
const mirrorAnnotation = corev1.MirrorPodAnnotationKey

// pod judges whether the endpoint has a live Pod on this node. An endpoint that was served once keeps going without: the
// sandbox may outlive its Pod, and a mirror Pod may be re-created.
func (r *Reconciler) pod(_ context.Context, a *attachment) (wait, error) {
	switch {
	case a.pod != nil && a.pod.Spec.HostNetwork:
		return wait{}, terminal{v1alpha1.ReasonHostNetwork, "The pod uses the node's network and gets no endpoint"}
	case a.pod != nil:
		if a.pod.Annotations[mirrorAnnotation] != "" {
			a.status.MirrorPodUID = string(a.pod.UID)
		}
		return wait{}, nil
	case a.served.Load():
		return wait{}, nil
	}
	message := fmt.Sprintf("No pod %s with UID %s is bound to node %s", a.name, a.cep.Spec.PodUID, r.NodeName)
	if r.Clock.Since(a.seen) < podPatience {
		return wait{v1alpha1.ReasonWaitingForPod, message}, nil
	}
	return wait{}, terminal{v1alpha1.ReasonPodMismatch, message}
}

// findPod finds the Pod whose sandbox the endpoint is, in the cache or, when that does not know it, in the apiserver, and
// notes since when there is none.
func (r *Reconciler) findPod(ctx context.Context, a *attachment) error {
	for _, reader := range []client.Reader{r.Client, r.Live} {
		pod := &corev1.Pod{}
		err := reader.Get(ctx, a.name, pod)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("look for the pod: %w", err)
		}
		if err == nil && r.isPodOf(pod, a.cep) {
			a.pod, a.podGone = pod, time.Time{}
			return nil
		}
	}
	if a.pod = nil; a.podGone.IsZero() {
		a.podGone = r.Clock.Now()
	}
	return nil
}

func (r *Reconciler) isPodOf(pod *corev1.Pod, cep *v1alpha1.CiliumEndpoint) bool {
	same := string(pod.UID) == cep.Spec.PodUID || pod.Annotations[mirrorAnnotation] == cep.Spec.PodUID
	return same && pod.Spec.NodeName == r.NodeName
}

// isOrphan tells whether the endpoint's Pod has been gone for its grace. A static pod is never judged by its mirror while
// it has a network namespace.
func (r *Reconciler) isOrphan(a *attachment) bool {
	if a.pod != nil || a.podGone.IsZero() || r.Clock.Since(a.podGone) < podGrace {
		return false
	}
	return a.status.MirrorPodUID == "" || r.netnsGone(a)
}
