// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package identity

import (
	"slices"
	"strings"
)

// Pod is what the identity of a pod depends on.
type Pod struct {
	Namespace      string
	ServiceAccount string
	Labels         map[string]string
}

// Filter says which labels of a pod count. Include and Exclude are prefixes of label keys as the pod has them.
type Filter struct {
	ClusterName string
	// Include, when it has entries, names the only labels that count; Exclude still takes from them.
	Include []string
	// Exclude names labels that do not count.
	Exclude []string
}

// Labels are the labels that make the identity of pod in a namespace with the given labels.
func (f Filter) Labels(pod Pod, namespaceLabels map[string]string) Labels {
	l := make(Labels, len(pod.Labels)+len(namespaceLabels)+3)
	for k, v := range pod.Labels {
		if f.counts(k) {
			l[Source+k] = v
		}
	}
	for k, v := range namespaceLabels {
		l[KeyNamespaceLabel+k] = v
	}
	l[KeyNamespace] = pod.Namespace
	l[KeyServiceAccount] = pod.ServiceAccount
	l[KeyCluster] = f.ClusterName
	return l
}

func (f Filter) counts(key string) bool {
	if forged(key) || matches(f.Exclude, key) {
		return false
	}
	return len(f.Include) == 0 || matches(f.Include, key)
}

// Derived tells whether a label of an identity speaks of the pod's namespace, service account or cluster, and so is not
// one that the pod has.
func Derived(key string) bool { return forged(strings.TrimPrefix(key, Source)) }

// forged tells whether a pod label would pass for one that speaks of its namespace, service account or cluster.
func forged(key string) bool {
	return strings.HasPrefix(key, "io.cilium.k8s.") || strings.HasPrefix(key, "io.kubernetes.pod.")
}

func matches(prefixes []string, key string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(key, p) })
}

// Volatile are the prefixes of label keys that differ from pod to pod or from rollout to rollout: counting them would
// make an identity for each.
func Volatile() []string {
	return []string{
		// Deployments, DaemonSets and StatefulSets.
		"pod-template-hash",
		"pod-template-generation",
		"controller-revision-hash",
		"statefulset.kubernetes.io/pod-name",
		"apps.kubernetes.io/pod-index",
		"rollouts-pod-template-hash",
		// Jobs, and what runs many of them.
		"controller-uid",
		"job-name",
		"batch.kubernetes.io/",
		"jobset.sigs.k8s.io/job-",
		"jobset.sigs.k8s.io/restart-attempt",
		"leaderworkerset.sigs.k8s.io/worker-index",
		"leaderworkerset.sigs.k8s.io/group-",
		"leaderworkerset.sigs.k8s.io/template-revision-hash",
		// The place where a pod happens to run.
		"topology.kubernetes.io/",
		"failure-domain.beta.kubernetes.io/",
		"kubernetes.io/hostname",
	}
}
