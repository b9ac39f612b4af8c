// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package agent

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	services "github.com/ciliate-io/ciliate/internal/service/translate"
)

// serviceProxyName is the label of Services, and of their slices, that another proxy serves.
const serviceProxyName = "service.kubernetes.io/service-proxy-name"

// served selects the Services, and slices, that are not another proxy's and are to have a proxy at all.
func served() labels.Selector {
	return byLabels(selection.DoesNotExist, serviceProxyName, corev1.IsHeadlessService)
}

// byLabels selects what has each of the labels, or none of them.
func byLabels(each selection.Operator, keys ...string) labels.Selector {
	selector := labels.NewSelector()
	for _, key := range keys {
		// The only error is one about the key, and these are constants.
		if requirement, err := labels.NewRequirement(key, each, nil); err == nil {
			selector = selector.Add(*requirement)
		}
	}
	return selector
}

// slimNode keeps of this node's Node what the announcement controller reads.
func slimNode(obj any) (any, error) {
	node, ok := obj.(*corev1.Node)
	if !ok {
		return obj, nil
	}
	slim := &corev1.Node{ObjectMeta: slimMeta(node.ObjectMeta)}
	slim.Labels = node.Labels
	return slim, nil
}

// slimService keeps of a Service what the controllers of services and announcements read.
func slimService(obj any) (any, error) {
	svc, ok := obj.(*corev1.Service)
	if !ok {
		return obj, nil
	}
	slim := &corev1.Service{ObjectMeta: slimMeta(svc.ObjectMeta), Spec: svc.Spec}
	slim.Labels = svc.Labels
	slim.Spec.Selector = nil
	slim.Status.LoadBalancer = svc.Status.LoadBalancer
	if algorithm, ok := svc.Annotations[services.AlgorithmAnnotation]; ok {
		slim.Annotations = map[string]string{services.AlgorithmAnnotation: algorithm}
	}
	return slim, nil
}

// slimSlice keeps of an EndpointSlice what the controllers of services and announcements read.
func slimSlice(obj any) (any, error) {
	slice, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok {
		return obj, nil
	}
	slim := &discoveryv1.EndpointSlice{
		ObjectMeta: slimMeta(slice.ObjectMeta), AddressType: slice.AddressType, Ports: slice.Ports, Endpoints: slice.Endpoints,
	}
	if service := slice.Labels[discoveryv1.LabelServiceName]; service != "" {
		slim.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	}
	for i := range slim.Endpoints {
		e := &slim.Endpoints[i]
		e.TargetRef, e.Hostname, e.DeprecatedTopology = nil, nil, nil
	}
	return slim, nil
}
