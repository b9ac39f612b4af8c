// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeAddress is one address of a node.
// +kubebuilder:validation:XValidation:rule="isIP(self.ip)",message="ip must be an IP address"
type NodeAddress struct {
	// type is the type as in Node.status.addresses: InternalIP or ExternalIP. Set by the operator.
	// +required
	// +kubebuilder:validation:Enum=InternalIP;ExternalIP
	Type string `json:"type"`

	// ip is the address. Set by the operator.
	// +required
	// +kubebuilder:validation:MaxLength=45
	IP string `json:"ip"`
}

// NodeIPAMSpec is the pool of a node.
type NodeIPAMSpec struct {
	// podCIDRs are the ranges from which the node's agent takes pod addresses, at most one of each family at first, more
	// when a mode grows pools. The first usable address of the first range of a family is the node's router address.
	// Set by the operator. Empty means that no pool was assigned yet: pods of the node wait.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="self.all(c, isCIDR(c) && cidr(c) == cidr(c).masked())",message="every entry must be a CIDR without host bits"
	// +kubebuilder:validation:XValidation:rule="self.all(a, !isCIDR(a) || self.filter(b, isCIDR(b) && (cidr(a).containsCIDR(b) || cidr(b).containsCIDR(a))).size() == 1)",message="podCIDRs must not overlap"
	PodCIDRs []string `json:"podCIDRs,omitempty"`
}

// CiliumNodeSpec is what the cluster knows of a node.
type CiliumNodeSpec struct {
	// addresses are the node's addresses, copied from Node.status; the first InternalIP of the underlay's family is
	// where tunnels to the node end. Set by the operator. Empty means that the kubelet has not reported any.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Addresses []NodeAddress `json:"addresses,omitempty"`

	// zone is the Node's label topology.kubernetes.io/zone, by which Services prefer near backends. Set by the operator.
	// Empty means that the Node has none.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Zone string `json:"zone,omitempty"`

	// ipam is the node's pool. Set by the operator.
	// +optional
	IPAM NodeIPAMSpec `json:"ipam,omitzero"`
}

// PoolUsage counts the addresses of one range.
type PoolUsage struct {
	// cidr is the range, one of spec.ipam.podCIDRs. Set by the agent.
	// +required
	// +kubebuilder:validation:MaxLength=49
	CIDR string `json:"cidr"`

	// used is the number of addresses held by endpoints. Set by the agent.
	// +optional
	Used int64 `json:"used"`

	// cooling is the number of addresses given back less than 30 s ago, which are handed out last. Set by the agent.
	// +optional
	Cooling int64 `json:"cooling"`

	// capacity is the number of addresses that pods can have; it stops at 2^62 for large IPv6 ranges. Set by the agent.
	// +required
	Capacity int64 `json:"capacity"`
}

// MapUsage counts the entries of one eBPF map.
type MapUsage struct {
	// name is the map's name. Set by the agent.
	// +required
	// +kubebuilder:validation:MaxLength=15
	Name string `json:"name"`

	// entries is the number of entries. Set by the agent.
	// +optional
	Entries int64 `json:"entries"`

	// maxEntries is the number of entries that fit. Set by the agent.
	// +required
	MaxEntries int64 `json:"maxEntries"`
}

// NodeDatapath is what the agent has programmed on its node.
type NodeDatapath struct {
	// routingMode is the mode in force. Set by the agent.
	// +required
	RoutingMode RoutingMode `json:"routingMode"`

	// mtuBytes is the MTU that new pods get, in bytes. Set by the agent.
	// +optional
	MTUBytes int32 `json:"mtuBytes,omitempty"`

	// devices are the node's devices with a default route or a node address. Set by the agent.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=15
	Devices []string `json:"devices,omitempty"`

	// acceleratedDevices are those of them whose drivers forward what Services lead to other nodes (XDP). Set by the agent.
	// Empty means that spec.loadBalancer.acceleration of CiliumConfig is disabled, or that none can.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=15
	AcceleratedDevices []string `json:"acceleratedDevices,omitempty"`

	// peers is the number of other nodes that can be reached. Set by the agent.
	// +optional
	Peers int32 `json:"peers"`

	// services is the number of Services that sockets of the node can reach, and of its pods with host ports. Set by the
	// agent, at most once a minute.
	// +optional
	Services int32 `json:"services"`

	// serviceBackends is the number of backends behind their ports, one that stands behind two ports counted twice. Set
	// by the agent, at most once a minute.
	// +optional
	ServiceBackends int32 `json:"serviceBackends"`

	// maps are the fill levels of the maps that can fill up. Set by the agent, at most once a minute.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Maps []MapUsage `json:"maps,omitempty"`
}

// CiliumNodeStatus is what the node's agent does and has.
type CiliumNodeStatus struct {
	// agentVersion is the version of the agent that wrote this status. Set by the agent.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	AgentVersion string `json:"agentVersion,omitempty"`

	// bootID is the boot of the node (/proc/sys/kernel/random/boot_id) for which this status is true. Set by the agent.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	BootID string `json:"bootID,omitempty"`

	// configGeneration is the metadata.generation of CiliumConfig "default" that the agent runs. Set by the agent.
	// +optional
	ConfigGeneration int64 `json:"configGeneration,omitempty"`

	// endpoints is the number of endpoints that the agent serves. Set by the agent, like all counts here at most once a
	// minute, so that it lags behind.
	// +optional
	Endpoints int32 `json:"endpoints"`

	// pools count the addresses of the node's ranges. Set by the agent.
	// +optional
	// +listType=map
	// +listMapKey=cidr
	// +kubebuilder:validation:MaxItems=16
	Pools []PoolUsage `json:"pools,omitempty"`

	// datapath is what the agent has programmed. Set by the agent. Absent means nothing yet.
	// +optional
	Datapath *NodeDatapath `json:"datapath,omitempty"`

	// conditions are Ready, CNIConfigured, ServicesProgrammed and, where spec.loadBalancer.acceleration of CiliumConfig is
	// native, Accelerated, set by the agent, and PoolAssigned, set by the operator.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// CiliumNode is one node of the cluster. It is named as its Node and owned by it.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=cn,categories=cilium
// +kubebuilder:metadata:labels="ciliate.dev/schema=4"
// +kubebuilder:metadata:annotations="argocd.argoproj.io/sync-options=Prune=false"
// +kubebuilder:printcolumn:name="Internal IP",type=string,JSONPath=`.spec.addresses[?(@.type=="InternalIP")].ip`
// +kubebuilder:printcolumn:name="Pod CIDRs",type=string,JSONPath=`.spec.ipam.podCIDRs[*]`
// +kubebuilder:printcolumn:name="Endpoints",type=integer,JSONPath=`.status.endpoints`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Routing",type=string,priority=1,JSONPath=`.status.datapath.routingMode`
// +kubebuilder:printcolumn:name="MTU",type=integer,priority=1,JSONPath=`.status.datapath.mtuBytes`
// +kubebuilder:printcolumn:name="Version",type=string,priority=1,JSONPath=`.status.agentVersion`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type CiliumNode struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the cluster knows of the node. Set by the operator.
	// +optional
	Spec CiliumNodeSpec `json:"spec,omitzero"`

	// status is what the node's agent does and has.
	// +optional
	Status CiliumNodeStatus `json:"status,omitzero"`
}

// CiliumNodeList is a list of CiliumNodes.
// +kubebuilder:object:root=true
type CiliumNodeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CiliumNode `json:"items"`
}
