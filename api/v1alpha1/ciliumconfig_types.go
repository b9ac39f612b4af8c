// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ConfigName is the name of the only CiliumConfig.
const ConfigName = "default"

// RoutingMode is how packets travel between nodes.
// +kubebuilder:validation:Enum=tunnel;native
type RoutingMode string

// The routing modes.
const (
	// RoutingTunnel wraps packets between pods of different nodes in VXLAN, with the source's identity in the VNI.
	RoutingTunnel RoutingMode = "tunnel"
	// RoutingNative sends them as they are; the agents keep routes to each other's pod CIDRs, so the nodes must share a
	// link.
	RoutingNative RoutingMode = "native"
)

// HostForwarding is how packets of pods are moved inside a node.
// +kubebuilder:validation:Enum=bpf;stack
type HostForwarding string

// The ways of forwarding.
const (
	// ForwardingBPF hands packets between pods, and between pods and the node's cards, past the host's network stack and
	// its netfilter rules. Not beside kube-proxy.
	ForwardingBPF HostForwarding = "bpf"
	// ForwardingStack lets every packet cross the host's network stack, so that kube-proxy's netfilter rules see it.
	ForwardingStack HostForwarding = "stack"
)

// IPAMMode is who chooses the pod CIDRs of a node.
// +kubebuilder:validation:Enum=cluster-pool;kubernetes
type IPAMMode string

// The IPAM modes.
const (
	// IPAMClusterPool cuts each node's pod CIDR from the pools of CiliumConfig.
	IPAMClusterPool IPAMMode = "cluster-pool"
	// IPAMKubernetes takes them from Node.spec.podCIDRs.
	IPAMKubernetes IPAMMode = "kubernetes"
)

// MasqueradeMode is whether packets that leave the cluster take the node's address.
// +kubebuilder:validation:Enum=Enabled;Disabled
type MasqueradeMode string

// The masquerade modes.
const (
	MasqueradeEnabled  MasqueradeMode = "Enabled"
	MasqueradeDisabled MasqueradeMode = "Disabled"
)

// LoadBalancerAlgorithm is how a Service's backend is chosen for a connection that comes by packets.
// +kubebuilder:validation:Enum=random;maglev
type LoadBalancerAlgorithm string

// The algorithms.
const (
	// AlgorithmRandom lets each node choose for itself.
	AlgorithmRandom LoadBalancerAlgorithm = "random"
	// AlgorithmMaglev lets every node choose the same backend for the same connection, by a table of 16,381 positions.
	AlgorithmMaglev LoadBalancerAlgorithm = "maglev"
)

// LoadBalancerMode is which way a backend on another node answers a client outside the cluster.
// +kubebuilder:validation:Enum=snat;dsr
type LoadBalancerMode string

// The load balancer modes.
const (
	// LoadBalancerSNAT asks the backend under the address of the node that the client asked, and answers by it.
	LoadBalancerSNAT LoadBalancerMode = "snat"
	// LoadBalancerDSR shows the backend the client's own address, and lets its node answer the client directly.
	LoadBalancerDSR LoadBalancerMode = "dsr"
)

// Acceleration is whether the drivers of the nodes' cards forward what Services lead to other nodes.
// +kubebuilder:validation:Enum=disabled;native;best-effort
type Acceleration string

// The accelerations.
const (
	// AccelerationDisabled leaves all packets to the kernel's network stack.
	AccelerationDisabled Acceleration = "disabled"
	// AccelerationNative wants XDP in the driver of every card; a node says which of its cards cannot.
	AccelerationNative Acceleration = "native"
	// AccelerationBestEffort takes XDP where there is a driver for it.
	AccelerationBestEffort Acceleration = "best-effort"
)

// ClusterPool is the pool of one family from which nodes get their ranges.
type ClusterPool struct {
	// cidrs are the ranges of the pool, used in order. More may be appended at any time; none may be removed once a node
	// has a range. Set by the user.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="self.all(c, isCIDR(c) && cidr(c) == cidr(c).masked())",message="every entry must be a CIDR without host bits"
	// +kubebuilder:validation:XValidation:rule="self.all(a, !isCIDR(a) || self.filter(b, isCIDR(b) && (cidr(a).containsCIDR(b) || cidr(b).containsCIDR(a))).size() == 1)",message="the CIDRs of a pool must not overlap"
	CIDRs []string `json:"cidrs"`

	// maskSize is the prefix length of each node's range, in bits. Fixed once a node has a range. Set by the user.
	// +required
	// +kubebuilder:validation:Minimum=8
	// +kubebuilder:validation:Maximum=126
	MaskSize int32 `json:"maskSize"`
}

// IPAMConfig says where pod addresses come from.
// +kubebuilder:validation:XValidation:rule="self.mode != 'cluster-pool' || has(self.ipv4) || has(self.ipv6)",message="mode cluster-pool needs a pool: set ipv4, ipv6 or both"
// +kubebuilder:validation:XValidation:rule="self.mode != 'kubernetes' || (!has(self.ipv4) && !has(self.ipv6))",message="mode kubernetes takes its ranges from Node.spec.podCIDRs: remove ipv4 and ipv6"
// +kubebuilder:validation:XValidation:rule="!has(self.ipv4) || self.ipv4.cidrs.all(c, !isCIDR(c) || (cidr(c).ip().family() == 4 && cidr(c).prefixLength() <= self.ipv4.maskSize))",message="ipv4.cidrs must be IPv4 ranges no smaller than ipv4.maskSize"
// +kubebuilder:validation:XValidation:rule="!has(self.ipv4) || self.ipv4.maskSize <= 30",message="ipv4.maskSize must be at most 30"
// +kubebuilder:validation:XValidation:rule="!has(self.ipv6) || self.ipv6.cidrs.all(c, !isCIDR(c) || (cidr(c).ip().family() == 6 && cidr(c).prefixLength() <= self.ipv6.maskSize))",message="ipv6.cidrs must be IPv6 ranges no smaller than ipv6.maskSize"
type IPAMConfig struct {
	// mode is cluster-pool or kubernetes. Fixed once a node has a range. Set by the user; default cluster-pool.
	// +optional
	// +kubebuilder:default=cluster-pool
	Mode IPAMMode `json:"mode,omitempty"`

	// ipv4 is the IPv4 pool of mode cluster-pool. Absent means that pods get no IPv4 address. Set by the user.
	// +optional
	IPv4 *ClusterPool `json:"ipv4,omitempty"`

	// ipv6 is the IPv6 pool of mode cluster-pool. Absent means that pods get no IPv6 address. Set by the user.
	// +optional
	IPv6 *ClusterPool `json:"ipv6,omitempty"`
}

// IdentityConfig says which labels make an identity.
type IdentityConfig struct {
	// excludeLabels are prefixes of pod label keys that do not count for a pod's identity, beside the built-in list of
	// volatile ones (pod-template-hash and the like). Live: identities move over step by step. Set by the user. Empty
	// means the built-in list alone.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=317
	ExcludeLabels []string `json:"excludeLabels,omitempty"`

	// includeLabels are prefixes of pod label keys; when there are any, only pod labels that match one of them count,
	// and the built-in exclusions do not apply. Live. Set by the user. Empty means all that are not excluded.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=317
	IncludeLabels []string `json:"includeLabels,omitempty"`
}

// LoadBalancerConfig says how nodes lead what comes to Services by packets.
type LoadBalancerConfig struct {
	// mode is snat or dsr, for clients outside the cluster and pods of another node. With dsr the nodes must be able to
	// send under each other's addresses, and must let IPv4 options or IPv6 destination options pass between them; dsr
	// needs routingMode native and hostForwarding bpf. RestartRequired. Set by the user; default snat.
	// +optional
	// +kubebuilder:default=snat
	Mode LoadBalancerMode `json:"mode,omitempty"`

	// algorithm is how a backend is chosen for a new connection that comes to a node by packets, from outside the cluster
	// or from a pod past its socket: random, or maglev, by which every node chooses the same backend for the same client
	// address and port, so that connections survive when their packets come to another node, and few move when a backend
	// comes or goes. What connects at a socket of the cluster is led at random always. The annotation
	// service.cilium.io/lb-algorithm of a Service says otherwise for that Service. Maglev takes 36 kB of each node's
	// memory for each port and family of a Service that can be reached from outside and has two backends or more. Live:
	// connections that are there keep their backends. Set by the user; default random.
	// +optional
	// +kubebuilder:default=random
	Algorithm LoadBalancerAlgorithm `json:"algorithm,omitempty"`

	// acceleration is disabled, native or best-effort: whether XDP, in the driver of a card, forwards packets between
	// clients outside and backends that are reached by a card: pods of other nodes with routingMode native, and processes
	// of other nodes. A card that cannot do it, and whatever is not plain TCP or UDP, is served as without it. With native
	// the node's condition Accelerated names such cards; native needs routingMode native and hostForwarding bpf. Live:
	// connections go on, but many a card loses its link for a moment. Set by the user; default disabled.
	// +optional
	// +kubebuilder:default=disabled
	Acceleration Acceleration `json:"acceleration,omitempty"`
}

// CiliumConfigSpec is the configuration of the cluster's pod network.
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancer) || !has(self.loadBalancer.mode) || self.loadBalancer.mode != 'dsr' || (self.routingMode == 'native' && self.hostForwarding == 'bpf')",message="loadBalancer.mode dsr needs routingMode native and hostForwarding bpf"
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancer) || !has(self.loadBalancer.acceleration) || self.loadBalancer.acceleration != 'native' || (self.routingMode == 'native' && self.hostForwarding == 'bpf')",message="loadBalancer.acceleration native needs routingMode native and hostForwarding bpf; best-effort accelerates what it can in every mode"
type CiliumConfigSpec struct {
	// clusterName names the cluster in identities. RestartRequired. Set by the user; default "default".
	// +optional
	// +kubebuilder:default=default
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	ClusterName string `json:"clusterName,omitempty"`

	// ipam says where pod addresses come from.
	// +required
	IPAM IPAMConfig `json:"ipam"`

	// routingMode is tunnel or native. RestartRequired. Set by the user; default tunnel.
	// +optional
	// +kubebuilder:default=tunnel
	RoutingMode RoutingMode `json:"routingMode,omitempty"`

	// tunnelPort is the UDP port of VXLAN on every node. RestartRequired. Set by the user; default 8472.
	// +optional
	// +kubebuilder:default=8472
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	TunnelPort int32 `json:"tunnelPort,omitempty"`

	// hostForwarding is bpf (packets of pods pass the host's network stack by: by its routes, not by its netfilter rules) or
	// stack (they cross it). RestartRequired. Set by the user; default bpf.
	// +optional
	// +kubebuilder:default=bpf
	HostForwarding HostForwarding `json:"hostForwarding,omitempty"`

	// masquerade is whether packets from pods to addresses outside the cluster take the node's address. Live. Set by the
	// user; default Enabled.
	// +optional
	// +kubebuilder:default=Enabled
	Masquerade MasqueradeMode `json:"masquerade,omitempty"`

	// loadBalancer says how nodes lead what comes to Services by packets.
	// +optional
	// +kubebuilder:default={}
	LoadBalancer LoadBalancerConfig `json:"loadBalancer,omitzero"`

	// identity says which labels make an identity. Live.
	// +optional
	Identity IdentityConfig `json:"identity,omitzero"`
}

// IdentityFilter is the label filter in force.
type IdentityFilter struct {
	// version grows by one each time the filter changes. Set by the operator.
	// +required
	Version int64 `json:"version"`

	// clusterName is the cluster's name in identities. Set by the operator.
	// +required
	// +kubebuilder:validation:MaxLength=32
	ClusterName string `json:"clusterName"`

	// exclude are the prefixes of pod label keys that do not count, the built-in ones included. Set by the operator.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=317
	Exclude []string `json:"exclude,omitempty"`

	// include are the prefixes of pod label keys that alone count. Empty means all that are not excluded. Set by the
	// operator.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=317
	Include []string `json:"include,omitempty"`
}

// CiliumConfigStatus is what the operator and the agents made of the configuration.
type CiliumConfigStatus struct {
	// observedGeneration is the metadata.generation that the operator last acted on. Set by the operator.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// allocatedAt is when the first node got a range; from then on the IPAM mode and mask sizes are fixed. Set by the
	// operator. Absent means never.
	// +optional
	AllocatedAt *metav1.Time `json:"allocatedAt,omitempty"`

	// identityFilter is the label filter in force for operator and agents. It is published after the identities under it
	// exist. Set by the operator. Absent means that agents wait.
	// +optional
	IdentityFilter *IdentityFilter `json:"identityFilter,omitempty"`

	// nodesCurrent is the number of nodes whose agent runs the present generation. Set by the operator.
	// +optional
	NodesCurrent int32 `json:"nodesCurrent"`

	// nodes is the number of nodes. Set by the operator.
	// +optional
	Nodes int32 `json:"nodes"`

	// conditions are Valid, Applied and IdentitiesAvailable, set by the operator.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// CiliumConfig is the configuration of the cluster's pod network, a singleton named "default". Each field is live,
// RestartRequired (in force once the agent was restarted), or fixed once the first address range is in use.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=cilium
// +kubebuilder:metadata:labels="ciliate.dev/schema=4"
// +kubebuilder:metadata:annotations="argocd.argoproj.io/sync-options=Prune=false"
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'default'",message="there is one CiliumConfig and its name is default"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.allocatedAt) || self.spec.ipam.mode == oldSelf.spec.ipam.mode",message="ipam.mode is fixed once a node has a range"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.allocatedAt) || !has(oldSelf.spec.ipam.ipv4) || (has(self.spec.ipam.ipv4) && self.spec.ipam.ipv4.maskSize == oldSelf.spec.ipam.ipv4.maskSize && oldSelf.spec.ipam.ipv4.cidrs.all(c, c in self.spec.ipam.ipv4.cidrs))",message="once a node has a range, ipam.ipv4 may only get more cidrs"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.allocatedAt) || !has(oldSelf.spec.ipam.ipv6) || (has(self.spec.ipam.ipv6) && self.spec.ipam.ipv6.maskSize == oldSelf.spec.ipam.ipv6.maskSize && oldSelf.spec.ipam.ipv6.cidrs.all(c, c in self.spec.ipam.ipv6.cidrs))",message="once a node has a range, ipam.ipv6 may only get more cidrs"
// +kubebuilder:printcolumn:name="IPAM",type=string,JSONPath=`.spec.ipam.mode`
// +kubebuilder:printcolumn:name="Routing",type=string,JSONPath=`.spec.routingMode`
// +kubebuilder:printcolumn:name="Valid",type=string,JSONPath=`.status.conditions[?(@.type=="Valid")].status`
// +kubebuilder:printcolumn:name="Applied",type=string,JSONPath=`.status.conditions[?(@.type=="Applied")].status`
// +kubebuilder:printcolumn:name="Current",type=integer,priority=1,JSONPath=`.status.nodesCurrent`
// +kubebuilder:printcolumn:name="Nodes",type=integer,priority=1,JSONPath=`.status.nodes`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type CiliumConfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the configuration. Set by the user.
	// +required
	Spec CiliumConfigSpec `json:"spec"`

	// status is what became of it. Set by the operator.
	// +optional
	Status CiliumConfigStatus `json:"status,omitzero"`
}

// CiliumConfigList is a list of CiliumConfigs.
// +kubebuilder:object:root=true
type CiliumConfigList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CiliumConfig `json:"items"`
}
