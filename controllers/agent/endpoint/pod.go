// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// podPatience is how long an endpoint may be ahead of its Pod: the mirror of a static pod can come after the sandbox.
const podPatience = 10 * time.Second

// mirrorAnnotation is on the Pod that stands for a static pod in the API; its value is the UID that the kubelet uses.
const mirrorAnnotation = corev1.MirrorPodAnnotationKey

// pod finds the sandbox and the live Pod of the endpoint on this node. An endpoint that was served once keeps going without it: the
// sandbox may outlive its Pod, and a mirror Pod may be re-created.
func (r *Reconciler) pod(ctx context.Context, a *attachment) (wait, error) {
	a.ep.Netns = netnsPath(r.NetnsDir, a.cep)
	if _, err := os.Stat(a.ep.Netns); errors.Is(err, os.ErrNotExist) {
		return wait{}, terminal{v1alpha1.ReasonSandboxGone, fmt.Sprintf("The network namespace %s is gone", a.cep.Spec.Netns)}
	}
	pod, err := r.findPod(ctx, a)
	if err != nil {
		return wait{}, err
	}
	if pod != nil {
		if pod.Spec.HostNetwork {
			return wait{}, terminal{v1alpha1.ReasonHostNetwork, "The pod uses the node's network and gets no endpoint"}
		}
		a.pod, a.podGone = pod, time.Time{}
		if pod.Annotations[mirrorAnnotation] != "" {
			a.status.MirrorPodUID = string(pod.UID)
		}
		return wait{}, nil
	}
	a.pod = nil
	if a.attached {
		return wait{}, r.endOrphan(ctx, a)
	}
	message := fmt.Sprintf("No pod %s/%s with UID %s is bound to node %s", a.cep.Namespace, a.cep.Name, a.cep.Spec.PodUID, r.NodeName)
	if r.Clock.Since(a.cep.CreationTimestamp.Time) < podPatience {
		return wait{v1alpha1.ReasonWaitingForPod, message}, nil
	}
	return wait{}, terminal{v1alpha1.ReasonPodMismatch, message}
}

// findPod returns the Pod whose sandbox the endpoint is, from the cache or, when that does not know it, from the
// apiserver; nil when there is none.
func (r *Reconciler) findPod(ctx context.Context, a *attachment) (*corev1.Pod, error) {
	var errs []error
	for _, reader := range []client.Reader{r.Client, r.Live} {
		pod := &corev1.Pod{}
		err := reader.Get(ctx, client.ObjectKeyFromObject(a.cep), pod)
		switch {
		case err == nil && r.isPodOf(pod, a.cep):
			return pod, nil
		case err != nil && !apierrors.IsNotFound(err):
			errs = append(errs, err)
		}
	}
	return nil, errors.Join(errs...)
}

func (r *Reconciler) isPodOf(pod *corev1.Pod, cep *v1alpha1.CiliumEndpoint) bool {
	same := string(pod.UID) == cep.Spec.PodUID || pod.Annotations[mirrorAnnotation] == cep.Spec.PodUID
	return same && pod.Spec.NodeName == r.NodeName
}

// endOrphan deletes the object of an endpoint whose Pod has been gone for its grace though no DEL came. A static pod is
// never judged by its mirror.
func (r *Reconciler) endOrphan(ctx context.Context, a *attachment) error {
	if a.status.MirrorPodUID != "" {
		return nil
	}
	if a.podGone.IsZero() {
		a.podGone = r.Clock.Now()
	}
	if r.Clock.Since(a.podGone) < podGrace {
		return nil
	}
	return r.deleteObject(ctx, a.cep, "Deleting the endpoint of a pod that is gone")
}
