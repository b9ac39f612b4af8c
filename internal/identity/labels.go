// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package identity

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Source is the prefix of every key that comes from Kubernetes.
const Source = "k8s:"

// The keys of labels that no pod can choose for itself.
const (
	KeyNamespace      = Source + "io.kubernetes.pod.namespace"
	KeyServiceAccount = Source + "io.cilium.k8s.policy.serviceaccount"
	KeyCluster        = Source + "io.cilium.k8s.policy.cluster"
	// KeyNamespaceLabel is followed by the key of a label of the pod's namespace.
	KeyNamespaceLabel = Source + "io.cilium.k8s.namespace.labels."
)

// Labels are the labels that make an identity, with their source in the key ("k8s:app").
type Labels map[string]string

// Key is the canonical form of l: equal for equal labels, different for different ones. The lengths in it keep keys and
// values apart whatever characters they hold.
func (l Labels) Key() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(l)) {
		for _, s := range []string{k, l[k]} {
			b.WriteString(strconv.Itoa(len(s)))
			b.WriteByte(':')
			b.WriteString(s)
		}
	}
	return b.String()
}

// Sorted lists l as "key=value", by key.
func (l Labels) Sorted() []string {
	list := make([]string, 0, len(l))
	for _, k := range slices.Sorted(maps.Keys(l)) {
		list = append(list, k+"="+l[k])
	}
	return list
}
