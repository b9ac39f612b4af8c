// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package v1alpha1

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What marks the Leases of announcements: they live in the agents' namespace, far from their Services.
const (
	// AnnouncementLeaseNamespace is where they are: that of the agents.
	AnnouncementLeaseNamespace = "kube-system"
	// AnnouncementLeasePrefix begins the name of the Lease of every announced Service.
	AnnouncementLeasePrefix = "cilium-l2announce-"
	// AnnouncementNamespaceLabel and AnnouncementServiceLabel on a Lease name the Service that it is for.
	AnnouncementNamespaceLabel = "ciliate.dev/announced-namespace"
	AnnouncementServiceLabel   = "ciliate.dev/announced-service"
)

// AnnouncementLease is the name of the Lease that the node which announces a Service holds. A dash would let the Service
// "b-c" of namespace "a" share one with the Service "c" of namespace "a-b", so a namespace with a dash ends with a dot,
// which no name of a Service has.
func AnnouncementLease(namespace, name string) string {
	if strings.Contains(namespace, "-") {
		return AnnouncementLeasePrefix + namespace + "." + name
	}
	return AnnouncementLeasePrefix + namespace + "-" + name
}

// CiliumL2AnnouncementPolicySpec says which addresses are announced, by which nodes, on which devices.
type CiliumL2AnnouncementPolicySpec struct {
	// serviceSelector selects Services by their labels and by io.kubernetes.service.namespace and
	// io.kubernetes.service.name. One with a spec.loadBalancerClass other than io.cilium/l2-announcer is never announced.
	// Set by the user. Absent means every Service.
	// +optional
	ServiceSelector *metav1.LabelSelector `json:"serviceSelector,omitempty"`

	// nodeSelector selects the nodes that may announce, by the labels of their Node. Set by the user. Absent means every
	// node.
	// +optional
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`

	// interfaces are regular expressions (RE2) of which one must match somewhere in the name of a device; only devices in
	// CiliumNode.status.datapath.devices announce. Set by the user. Empty means all of them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	Interfaces []string `json:"interfaces,omitempty"`

	// externalIPs is whether addresses of spec.externalIPs are announced. Set by the user; default false.
	// +optional
	ExternalIPs bool `json:"externalIPs,omitempty"`

	// loadBalancerIPs is whether addresses of status.loadBalancer are announced. Set by the user; default false.
	// +optional
	LoadBalancerIPs bool `json:"loadBalancerIPs,omitempty"`
}

// CiliumL2AnnouncementPolicyStatus says whether the policy is in force.
type CiliumL2AnnouncementPolicyStatus struct {
	// conditions are Valid, set by the operator.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// CiliumL2AnnouncementPolicy lets nodes answer ARP and neighbour solicitations for the addresses of Services. Of the
// nodes that it selects the one that holds the Service's Lease answers; with externalTrafficPolicy Local it is one with a
// ready backend. A policy that is not valid announces nothing.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=l2announcement,categories=cilium
// +kubebuilder:metadata:labels="ciliate.dev/schema=4"
// +kubebuilder:metadata:annotations="argocd.argoproj.io/sync-options=Prune=false"
// +kubebuilder:validation:XValidation:rule="(has(self.spec.externalIPs) && self.spec.externalIPs) || (has(self.spec.loadBalancerIPs) && self.spec.loadBalancerIPs)",message="the policy announces nothing: set externalIPs, loadBalancerIPs or both"
// +kubebuilder:printcolumn:name="LoadBalancer IPs",type=boolean,JSONPath=`.spec.loadBalancerIPs`
// +kubebuilder:printcolumn:name="External IPs",type=boolean,JSONPath=`.spec.externalIPs`
// +kubebuilder:printcolumn:name="Valid",type=string,JSONPath=`.status.conditions[?(@.type=="Valid")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type CiliumL2AnnouncementPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says which addresses are announced. Set by the user.
	// +required
	Spec CiliumL2AnnouncementPolicySpec `json:"spec"`

	// status says whether the policy is in force. Set by the operator.
	// +optional
	Status CiliumL2AnnouncementPolicyStatus `json:"status,omitzero"`
}

// CiliumL2AnnouncementPolicyList is a list of CiliumL2AnnouncementPolicies.
// +kubebuilder:object:root=true
type CiliumL2AnnouncementPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CiliumL2AnnouncementPolicy `json:"items"`
}
