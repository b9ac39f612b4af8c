// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package agent

import (
	"context"
	"errors"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	"github.com/ciliate-io/ciliate/controllers/internal/informer"
	"github.com/ciliate-io/ciliate/internal/config"
	services "github.com/ciliate-io/ciliate/internal/service/translate"
)

// NewScheme holds the kinds that the agent reads and writes.
func NewScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, discoveryv1.AddToScheme, coordinationv1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return scheme, nil
}

// NewManager makes the manager of this node and the cache of the other nodes' endpoints. One cache has one informer a
// kind, and this node's endpoints are read whole while the others' are slimmed, so there are two. Tests change options.
func NewManager(
	ctx context.Context, rc *rest.Config, scheme *runtime.Scheme, c config.Agent, change ...func(*ctrl.Options),
) (ctrl.Manager, cache.Cache, error) {
	options := managerOptions(scheme, c)
	for _, f := range change {
		f(&options)
	}
	mgr, err := ctrl.NewManager(rc, options)
	if err != nil {
		return nil, nil, err
	}
	indexer := mgr.GetFieldIndexer()
	if err := errors.Join(
		indexer.IndexField(ctx, &v1alpha1.CiliumIdentity{}, index.IdentityKey, index.IdentityKeyOf),
		indexer.IndexField(ctx, &discoveryv1.EndpointSlice{}, index.EndpointSliceService, index.EndpointSliceServiceOf),
	); err != nil {
		return nil, nil, err
	}
	remote, err := cache.New(rc, cache.Options{
		Scheme: scheme, Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(), NewInformer: informer.New,
		ByObject: map[client.Object]cache.ByObject{&v1alpha1.CiliumEndpoint{}: {
			Field: remoteEndpoints(c.NodeName), Transform: slimEndpoint,
		}},
	})
	return mgr, remote, err
}

// remoteEndpoints selects the endpoints of other nodes that have an identity, since no other has a row in the table of
// addresses. So a new pod is one event to every other node, and not two: the API server sends nothing of its creation.
func remoteEndpoints(nodeName string) fields.Selector {
	return fields.AndSelectors(
		fields.OneTermNotEqualSelector("spec.nodeName", nodeName),
		fields.OneTermNotEqualSelector("status.identity.number", ""),
	)
}

// managerOptions keep of each object only what this node's controllers read.
func managerOptions(scheme *runtime.Scheme, c config.Agent) ctrl.Options {
	own := cache.ByObject{Field: fields.OneTermEqualSelector("spec.nodeName", c.NodeName)}
	ownPods := own
	ownPods.Transform = slimPod
	return ctrl.Options{
		Scheme:  scheme,
		Metrics: server.Options{BindAddress: c.MetricsAddr},
		Cache: cache.Options{
			NewInformer:      informer.New,
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{
				&v1alpha1.CiliumEndpoint{}:   own,
				&corev1.Pod{}:                ownPods,
				&corev1.Node{}:               {Field: fields.OneTermEqualSelector("metadata.name", c.NodeName), Transform: slimNode},
				&coordinationv1.Lease{}:      announcementLeases(),
				&corev1.Service{}:            {Label: served(), Transform: slimService},
				&discoveryv1.EndpointSlice{}: {Label: served(), Transform: slimSlice},
			},
		},
	}
}

// announcementLeases are the Leases by which nodes agree who announces a Service.
func announcementLeases() cache.ByObject {
	return cache.ByObject{
		Namespaces: map[string]cache.Config{v1alpha1.AnnouncementLeaseNamespace: {}},
		Label:      byLabels(selection.Exists, v1alpha1.AnnouncementServiceLabel),
	}
}

// slimPod keeps of a Pod what the endpoint controller and the service controller read.
func slimPod(obj any) (any, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	slim := &corev1.Pod{ObjectMeta: slimMeta(pod.ObjectMeta)}
	slim.Labels = pod.Labels
	if uid, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]; ok {
		slim.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: uid}
	}
	slim.Spec.NodeName, slim.Spec.HostNetwork = pod.Spec.NodeName, pod.Spec.HostNetwork
	slim.Spec.ServiceAccountName = pod.Spec.ServiceAccountName
	if ports := services.HostPorts(pod); len(ports) > 0 {
		slim.Spec.Containers = []corev1.Container{{Ports: ports}}
	}
	slim.Status.Phase, slim.Status.PodIPs = pod.Status.Phase, pod.Status.PodIPs
	return slim, nil
}

// slimEndpoint keeps of another node's endpoint what the ipcache controller reads.
func slimEndpoint(obj any) (any, error) {
	cep, ok := obj.(*v1alpha1.CiliumEndpoint)
	if !ok {
		return obj, nil
	}
	slim := &v1alpha1.CiliumEndpoint{ObjectMeta: slimMeta(cep.ObjectMeta)}
	slim.Spec.NodeName = cep.Spec.NodeName
	slim.Status.Identity, slim.Status.Addresses = cep.Status.Identity, cep.Status.Addresses
	if slim.Status.Identity != nil {
		slim.Status.Identity.Labels = nil
	}
	for _, c := range cep.Status.Conditions {
		if c.Type == v1alpha1.ConditionUntrusted {
			slim.Status.Conditions = append(slim.Status.Conditions, c)
		}
	}
	return slim, nil
}

func slimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
	}
}
