// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package operator

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/informer"
	services "github.com/ciliate-io/ciliate/internal/service/translate"
)

// cacheOptions keep of each object only what the controllers read. A cluster has more pods than anything else, and most
// of a pod is of no interest here.
func cacheOptions() cache.Options {
	return cache.Options{
		NewInformer:      informer.New,
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}:       {Transform: slimPod},
			&corev1.Node{}:      {Transform: slimNode},
			&corev1.Namespace{}: {Transform: slimNamespace},
			&corev1.Service{}:   {Transform: slimService},
			&coordinationv1.Lease{}: {
				Namespaces: map[string]cache.Config{v1alpha1.AnnouncementLeaseNamespace: {}},
				Label:      announcementLeases(),
			},
		},
	}
}

// announcementLeases selects the Leases by which nodes agree who announces a Service: others are renewed all the time.
func announcementLeases() labels.Selector {
	// The only error is one about the key, and this is a constant.
	requirement, err := labels.NewRequirement(v1alpha1.AnnouncementServiceLabel, selection.Exists, nil)
	if err != nil {
		return labels.Nothing()
	}
	return labels.NewSelector().Add(*requirement)
}

func slimPod(obj any) (any, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil // A tombstone.
	}
	slim := &corev1.Pod{
		ObjectMeta: slimMeta(pod.ObjectMeta),
		Spec: corev1.PodSpec{
			NodeName: pod.Spec.NodeName, HostNetwork: pod.Spec.HostNetwork, ServiceAccountName: pod.Spec.ServiceAccountName,
		},
		Status: corev1.PodStatus{Phase: pod.Status.Phase},
	}
	if mirror, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]; ok {
		slim.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: mirror}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			slim.Status.Conditions = []corev1.PodCondition{{
				Type: c.Type, Status: c.Status, LastTransitionTime: c.LastTransitionTime,
			}}
		}
	}
	return slim, nil
}

func slimNode(obj any) (any, error) {
	node, ok := obj.(*corev1.Node)
	if !ok {
		return obj, nil
	}
	slim := &corev1.Node{
		ObjectMeta: slimMeta(node.ObjectMeta),
		Spec:       corev1.NodeSpec{PodCIDRs: node.Spec.PodCIDRs, Taints: node.Spec.Taints},
		Status: corev1.NodeStatus{
			Addresses: node.Status.Addresses,
			NodeInfo:  corev1.NodeSystemInfo{BootID: node.Status.NodeInfo.BootID},
		},
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable {
			slim.Status.Conditions = []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	return slim, nil
}

func slimNamespace(obj any) (any, error) {
	ns, ok := obj.(*corev1.Namespace)
	if !ok {
		return obj, nil
	}
	return &corev1.Namespace{ObjectMeta: slimMeta(ns.ObjectMeta)}, nil
}

func slimService(obj any) (any, error) {
	svc, ok := obj.(*corev1.Service)
	if !ok {
		return obj, nil
	}
	slim := &corev1.Service{
		ObjectMeta: slimMeta(svc.ObjectMeta),
		Spec: corev1.ServiceSpec{
			Type: svc.Spec.Type, LoadBalancerClass: svc.Spec.LoadBalancerClass, LoadBalancerIP: svc.Spec.LoadBalancerIP,
			IPFamilies: svc.Spec.IPFamilies, IPFamilyPolicy: svc.Spec.IPFamilyPolicy,
		},
		Status: svc.Status,
	}
	slim.Generation = svc.Generation
	for _, read := range []string{v1alpha1.LoadBalancerIPsAnnotation, services.AlgorithmAnnotation} {
		if said, ok := svc.Annotations[read]; ok {
			metav1.SetMetaDataAnnotation(&slim.ObjectMeta, read, said)
		}
	}
	return slim, nil
}

func slimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, Labels: m.Labels,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
	}
}
