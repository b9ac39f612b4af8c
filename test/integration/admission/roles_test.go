// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package admission

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authzv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// testRoles compares all that an agent may do, by the API server's own verdict, with invariant 7, so that nothing is
// missing and nothing was added in passing.
func testRoles(t *testing.T, c *cluster) {
	const read = "get,list,watch"
	want := map[string]string{
		"cilium.io/ciliumendpoints":                      read + ",create,patch,delete",
		"cilium.io/ciliumendpoints/status":               "update",
		"cilium.io/ciliumnodes":                          read,
		"cilium.io/ciliumnodes/status":                   "patch",
		"cilium.io/ciliumconfigs":                        read,
		"cilium.io/ciliumconfigs/status":                 "",
		"cilium.io/ciliuml2announcementpolicies":         read,
		"cilium.io/ciliuml2announcementpolicies/status":  "",
		"cilium.io/ciliumloadbalancerippools":            "",
		"/services":                                      read,
		"/services/status":                               "",
		"cilium.io/ciliumidentities":                     read,
		"cilium.io/ciliumidentities/status":              "",
		"/pods":                                          read,
		"/pods/status":                                   "",
		"/namespaces":                                    read,
		"/nodes":                                         read,
		"/nodes/status":                                  "",
		"/secrets":                                       "",
		"/configmaps":                                    "",
		"/events":                                        "create,patch",
		"events.k8s.io/events":                           "create,patch",
		"coordination.k8s.io/leases":                     "", // In the agents' own namespace there is more, below.
		"apiextensions.k8s.io/customresourcedefinitions": read,
		"rbac.authorization.k8s.io/clusterrolebindings":  "",
		"admissionregistration.k8s.io/validatingadmissionpolicies": "",
	}
	got := map[string]string{}
	for resource := range want {
		got[resource] = c.verbs(t, namespace, resource)
	}
	const leases = "coordination.k8s.io/leases in kube-system"
	want[leases], got[leases] = read+",create,update", c.verbs(t, metav1.NamespaceSystem, "coordination.k8s.io/leases")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what an agent may do (-want +got):\n%s", diff)
	}
}

// verbs asks the API server for each verb on "group/resource[/subresource]".
func (c *cluster) verbs(t *testing.T, namespace, resource string) string {
	t.Helper()
	part := append(strings.Split(resource, "/"), "")
	who := serviceAccount("cilium", "n1")
	var allowed []string
	for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"} {
		review := &authzv1.SubjectAccessReview{Spec: authzv1.SubjectAccessReviewSpec{
			User: who.UserName, Groups: who.Groups,
			ResourceAttributes: &authzv1.ResourceAttributes{
				Namespace: namespace, Verb: verb, Group: part[0], Resource: part[1], Subresource: part[2],
			},
		}}
		if err := c.admin.Create(t.Context(), review); err != nil {
			t.Fatalf("ask about %s %s: %v", verb, resource, err)
		}
		if review.Status.Allowed {
			allowed = append(allowed, verb)
		}
	}
	return strings.Join(allowed, ",")
}
