// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package identity

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFilterLabels(t *testing.T) {
	tests := map[string]struct {
		filter    Filter
		labels    map[string]string
		namespace map[string]string
		want      Labels // Beside the three that are always there.
	}{
		"no label": {want: Labels{}},
		"a label of the pod": {
			labels: map[string]string{"app": "web"},
			want:   Labels{"k8s:app": "web"},
		},
		"a label of the namespace": {
			namespace: map[string]string{"team": "blue"},
			want:      Labels{"k8s:io.cilium.k8s.namespace.labels.team": "blue"},
		},
		"an excluded prefix": {
			filter: Filter{Exclude: []string{"batch.kubernetes.io/", "pod-template-hash"}},
			labels: map[string]string{"batch.kubernetes.io/job-name": "j", "pod-template-hash": "1", "app": "web"},
			want:   Labels{"k8s:app": "web"},
		},
		"only included prefixes": {
			filter: Filter{Include: []string{"app"}},
			labels: map[string]string{"app": "web", "app.kubernetes.io/name": "web", "other": "x"},
			want:   Labels{"k8s:app": "web", "k8s:app.kubernetes.io/name": "web"},
		},
		"excluded from what is included": {
			filter: Filter{Include: []string{"app"}, Exclude: []string{"app.kubernetes.io/version"}},
			labels: map[string]string{"app": "web", "app.kubernetes.io/version": "1"},
			want:   Labels{"k8s:app": "web"},
		},
		"the filter is for pods, not for namespaces": {
			filter:    Filter{Exclude: []string{"team"}},
			labels:    map[string]string{"team": "red"},
			namespace: map[string]string{"team": "blue"},
			want:      Labels{"k8s:io.cilium.k8s.namespace.labels.team": "blue"},
		},
		"a pod that poses as of another namespace": {
			labels: map[string]string{
				"io.kubernetes.pod.namespace":             "kube-system",
				"io.cilium.k8s.policy.serviceaccount":     "admin",
				"io.cilium.k8s.policy.cluster":            "other",
				"io.cilium.k8s.namespace.labels.team":     "blue",
				"io.cilium.k8s.namespace.labels.untaken":  "blue",
				"io.cilium.k8s.something.to.come.and.use": "x",
			},
			namespace: map[string]string{"team": "red"},
			want:      Labels{"k8s:io.cilium.k8s.namespace.labels.team": "red"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.filter.ClusterName = "c"
			got := tt.filter.Labels(Pod{Namespace: "ns", ServiceAccount: "sa", Labels: tt.labels}, tt.namespace)
			want := maps.Clone(tt.want)
			want[KeyNamespace], want[KeyServiceAccount], want[KeyCluster] = "ns", "sa", "c"
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVolatileLabelsDoNotCount(t *testing.T) {
	f := Filter{Exclude: Volatile()}
	for _, key := range []string{
		"pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index",
		"batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-completion-index", "job-name",
		"topology.kubernetes.io/zone",
	} {
		if f.counts(key) {
			t.Errorf("%s counts", key)
		}
	}
	for _, key := range []string{"app", "app.kubernetes.io/name", "k8s-app", "component", "version"} {
		if !f.counts(key) {
			t.Errorf("%s does not count", key)
		}
	}
}

// FuzzFilter: no pod label, whatever its key, changes what is said of namespace, service account and cluster; and what
// does not count leaves no trace.
func FuzzFilter(f *testing.F) {
	f.Add("app", "web", "pod-template-hash")
	f.Add("io.kubernetes.pod.namespace", "kube-system", "")
	f.Add("io.cilium.k8s.namespace.labels.team", "blue", "io")
	f.Add("k8s:app", "", "k8s:")
	f.Fuzz(func(t *testing.T, key, value, exclude string) {
		filter := Filter{ClusterName: "c"}
		if exclude != "" {
			filter.Exclude = []string{exclude}
		}
		namespace := map[string]string{"team": "red"}
		base := filter.Labels(Pod{Namespace: "ns", ServiceAccount: "sa"}, namespace)
		got := filter.Labels(Pod{Namespace: "ns", ServiceAccount: "sa", Labels: map[string]string{key: value}}, namespace)
		for k, v := range base {
			if got[k] != v {
				t.Errorf("the label %q=%q changed %s to %q", key, value, k, got[k])
			}
		}
		if filter.counts(key) != (len(got) == len(base)+1) {
			t.Errorf("the label %q counts: %v, but there are %d labels", key, filter.counts(key), len(got))
		}
		if exclude != "" && strings.HasPrefix(key, exclude) && got.Key() != base.Key() {
			t.Errorf("the excluded label %q changed the identity", key)
		}
	})
}
