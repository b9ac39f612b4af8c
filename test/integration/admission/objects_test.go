// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package admission

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	ac "github.com/ciliate-io/ciliate/api/applyconfiguration/api/v1alpha1"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

const namespace = "default"

// endpoint is what the CNI plugin of a node creates.
func endpoint(name, node string) *v1alpha1.CiliumEndpoint {
	return &v1alpha1.CiliumEndpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Finalizers: []string{v1alpha1.EndpointFinalizer}},
		Spec: v1alpha1.CiliumEndpointSpec{
			NodeName: node, PodUID: "uid", ContainerID: "c1", Netns: "/run/netns/cni-1", IfName: "eth0",
		},
	}
}

func node(name string) *v1alpha1.CiliumNode {
	return &v1alpha1.CiliumNode{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.CiliumNodeSpec{IPAM: v1alpha1.NodeIPAMSpec{PodCIDRs: []string{"10.0.0.0/24"}}},
	}
}

// lease is one in the agents' namespace that a node holds; empty for nobody.
func lease(name, holder string) *coordinationv1.Lease {
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: name}}
	if holder != "" {
		l.Spec = coordinationv1.LeaseSpec{
			HolderIdentity: &holder, LeaseDurationSeconds: new(int32(15)), RenewTime: new(metav1.NowMicro()),
		}
	}
	return l
}

// An apply writes the answer into its argument, through every pointer of it: each is built anew, conditions included.

func endpointStatus(name string, condition *metav1ac.ConditionApplyConfiguration) *ac.CiliumEndpointApplyConfiguration {
	return ac.CiliumEndpoint(name, namespace).WithStatus(ac.CiliumEndpointStatus().WithConditions(condition))
}

func nodeStatus(name string, condition *metav1ac.ConditionApplyConfiguration) *ac.CiliumNodeApplyConfiguration {
	return ac.CiliumNode(name).WithStatus(ac.CiliumNodeStatus().WithConditions(condition))
}

func condition(kind string, status metav1.ConditionStatus) *metav1ac.ConditionApplyConfiguration {
	return metav1ac.Condition().WithType(kind).WithStatus(status).WithReason("Testing").WithMessage("a test wrote this").
		WithLastTransitionTime(metav1.Unix(0, 0))
}

func ready() *metav1ac.ConditionApplyConfiguration {
	return condition(v1alpha1.ConditionReady, metav1.ConditionTrue)
}

func wideRole() []client.Object {
	name := metav1.ObjectMeta{Name: "test-wide"}
	return []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: name, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{v1alpha1.GroupName}, Resources: []string{"*"}, Verbs: []string{"*"}},
			{APIGroups: []string{coordinationv1.GroupName}, Resources: []string{"leases"}, Verbs: []string{"*"}},
		}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: name,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name.Name},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: wideGroup}},
		},
	}
}
