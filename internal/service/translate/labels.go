// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package translate

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Labels that every Service has for selectors, without being written down; Cilium's users know them.
const (
	NamespaceLabel = "io.kubernetes.service.namespace"
	NameLabel      = "io.kubernetes.service.name"
)

// Labels are those by which a Service is selected.
func Labels(svc *corev1.Service) labels.Set {
	set := labels.Set{}
	maps.Copy(set, svc.Labels)
	set[NamespaceLabel], set[NameLabel] = svc.Namespace, svc.Name
	return set
}

// Selector is what a selector of the API means where an absent one selects everything.
func Selector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(s)
}
