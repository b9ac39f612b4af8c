// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// What a Service may say about its addresses, under the names that Cilium gave them.
const (
	// LoadBalancerIPsAnnotation names the addresses that a Service asks for, separated by commas.
	LoadBalancerIPsAnnotation = "lbipam.cilium.io/ips"
	// L2AnnouncerClass is the spec.loadBalancerClass of Services that get their addresses here; those without a class do
	// too.
	L2AnnouncerClass = "io.cilium/l2-announcer"
)

// AllowFirstLastIPs says whether the first and the last address of a CIDR are given to Services.
// +kubebuilder:validation:Enum=Yes;No
type AllowFirstLastIPs string

// The two answers.
const (
	AllowFirstLastIPsYes AllowFirstLastIPs = "Yes"
	AllowFirstLastIPsNo  AllowFirstLastIPs = "No"
)

// LoadBalancerIPPoolBlock is one range of a pool: a CIDR, or all addresses from start to stop.
// +kubebuilder:validation:XValidation:rule="has(self.cidr) != has(self.start)",message="set either cidr or start"
// +kubebuilder:validation:XValidation:rule="!has(self.stop) || has(self.start)",message="stop needs start"
// +kubebuilder:validation:XValidation:rule="!has(self.stop) || !has(self.start) || !isIP(self.start) || !isIP(self.stop) || ip(self.start).family() == ip(self.stop).family()",message="start and stop must be of one family"
type LoadBalancerIPPoolBlock struct {
	// cidr is the range as a prefix. Set by the user. Empty means that start says where the range begins.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="cidr must be a CIDR without host bits"
	CIDR string `json:"cidr,omitempty"`

	// start is the first address of the range. Set by the user. Empty means that cidr is the range.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="start must be an IP address"
	Start string `json:"start,omitempty"`

	// stop is the last address of the range. Set by the user. Empty means that start is the only one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="stop must be an IP address"
	Stop string `json:"stop,omitempty"`
}

// CiliumLoadBalancerIPPoolSpec says which addresses the pool has and for whom.
type CiliumLoadBalancerIPPoolSpec struct {
	// blocks are the ranges of the pool, used in order, lowest address first. An address taken away is taken from the
	// Service that has it. Set by the user.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Blocks []LoadBalancerIPPoolBlock `json:"blocks"`

	// serviceSelector selects the Services that may have addresses of the pool, by their labels and by
	// io.kubernetes.service.namespace and io.kubernetes.service.name. Set by the user. Absent means every Service.
	// +optional
	ServiceSelector *metav1.LabelSelector `json:"serviceSelector,omitempty"`

	// disabled keeps the pool from giving addresses; those that Services have stay theirs. Set by the user; default
	// false.
	// +optional
	Disabled bool `json:"disabled,omitempty"`

	// allowFirstLastIPs is whether the first and the last address of each cidr of more than two addresses are given too:
	// Yes or No. Ranges with a start are not touched by it. Set by the user; default Yes.
	// +optional
	// +kubebuilder:default=Yes
	AllowFirstLastIPs AllowFirstLastIPs `json:"allowFirstLastIPs,omitempty"`
}

// CiliumLoadBalancerIPPoolStatus is how much of the pool is in use.
type CiliumLoadBalancerIPPoolStatus struct {
	// total is the number of addresses of the pool; it stops at 2^62. Set by the operator.
	// +optional
	Total int64 `json:"total"`

	// available is the number of addresses that no Service has. Set by the operator.
	// +optional
	Available int64 `json:"available"`

	// used is the number of addresses that Services have. Set by the operator.
	// +optional
	Used int64 `json:"used"`

	// conditions are Valid, Conflicting and Exhausted, set by the operator.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// CiliumLoadBalancerIPPool is a pool of addresses for Services of type LoadBalancer. While there is none, such Services
// are left to others.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=ippool;ippools;lbippool;lbippools,categories=cilium
// +kubebuilder:metadata:labels="ciliate.dev/schema=4"
// +kubebuilder:metadata:annotations="argocd.argoproj.io/sync-options=Prune=false"
// +kubebuilder:printcolumn:name="Disabled",type=boolean,JSONPath=`.spec.disabled`
// +kubebuilder:printcolumn:name="Conflicting",type=string,JSONPath=`.status.conditions[?(@.type=="Conflicting")].status`
// +kubebuilder:printcolumn:name="IPs Available",type=integer,JSONPath=`.status.available`
// +kubebuilder:printcolumn:name="IPs Used",type=integer,priority=1,JSONPath=`.status.used`
// +kubebuilder:printcolumn:name="Valid",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Valid")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type CiliumLoadBalancerIPPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says which addresses the pool has and for whom. Set by the user.
	// +required
	Spec CiliumLoadBalancerIPPoolSpec `json:"spec"`

	// status is how much of the pool is in use. Set by the operator.
	// +optional
	Status CiliumLoadBalancerIPPoolStatus `json:"status,omitzero"`
}

// CiliumLoadBalancerIPPoolList is a list of CiliumLoadBalancerIPPools.
// +kubebuilder:object:root=true
type CiliumLoadBalancerIPPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CiliumLoadBalancerIPPool `json:"items"`
}
