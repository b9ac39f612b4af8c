// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package translate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/identity"
	"github.com/ciliate-io/ciliate/test/build"
)

func TestPrefixes(t *testing.T) {
	tests := map[string]struct {
		cidrs []string
		want  string
	}{
		"none":           {},
		"two":            {cidrs: []string{"10.0.0.0/8", "fd00::/64"}},
		"no CIDR":        {cidrs: []string{"10.0.0.0"}, want: "parse the CIDR"},
		"with host bits": {cidrs: []string{"10.0.0.1/8"}, want: "host bits"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Prefixes(tt.cidrs)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if (message == "") != (tt.want == "") || !strings.Contains(message, tt.want) {
				t.Errorf("err = %q, want one about %q", message, tt.want)
			}
			if err == nil && len(got) != len(tt.cidrs) {
				t.Errorf("%d prefixes, want %d", len(got), len(tt.cidrs))
			}
		})
	}
}

func TestNodeAddresses(t *testing.T) {
	node := build.Node("n1").Obj()
	node.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: "n1"},
		{Type: corev1.NodeExternalIP, Address: "198.51.100.1"},
		{Type: corev1.NodeInternalIP, Address: "192.0.2.1"},
		{Type: corev1.NodeInternalIP, Address: "not an address"},
	}
	want := []v1alpha1.NodeAddress{{Type: "InternalIP", IP: "192.0.2.1"}, {Type: "ExternalIP", IP: "198.51.100.1"}}
	if diff := cmp.Diff(want, NodeAddresses(node)); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

func TestHasIdentity(t *testing.T) {
	tests := map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"pending":               {pod: build.Pod("ns/p").Phase(corev1.PodPending).Obj(), want: true},
		"running":               {pod: build.Pod("ns/p").Phase(corev1.PodRunning).Obj(), want: true},
		"succeeded":             {pod: build.Pod("ns/p").Phase(corev1.PodSucceeded).Obj()},
		"failed":                {pod: build.Pod("ns/p").Phase(corev1.PodFailed).Obj()},
		"in the host's network": {pod: build.Pod("ns/p").HostNetwork().Obj()},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := HasIdentity(tt.pod); got != tt.want {
				t.Errorf("HasIdentity = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestWantedFilter(t *testing.T) {
	tests := map[string]struct {
		include, exclude []string
		want             identity.Filter
	}{
		"nothing said":  {want: identity.Filter{Exclude: identity.Volatile()}},
		"more excluded": {exclude: []string{"b", "a"}, want: identity.Filter{Exclude: append(identity.Volatile(), "a", "b")}},
		"some included, so the built-in list does not apply": {
			include: []string{"job-name", "app"}, exclude: []string{"app.x"},
			want: identity.Filter{Include: []string{"app", "job-name"}, Exclude: []string{"app.x"}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := build.Config(0)
			cfg.Spec.Identity = v1alpha1.IdentityConfig{IncludeLabels: tt.include, ExcludeLabels: tt.exclude}
			tt.want.ClusterName = "default"
			if diff := cmp.Diff(tt.want, WantedFilter(&cfg.Spec)); diff != "" {
				t.Errorf("filter (-want +got):\n%s", diff)
			}
		})
	}
}
