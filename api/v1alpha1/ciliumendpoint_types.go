// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// EndpointFinalizer keeps a CiliumEndpoint until the agent (or, for a dead node, the operator) has undone it. It comes
// with the create.
const EndpointFinalizer = "cilium.io/endpoint"

// CiliumEndpointSpec says which sandbox wants to be attached. The CNI plugin writes it once; nobody changes it.
type CiliumEndpointSpec struct {
	// nodeName is the name of the Node on which the sandbox runs. Set by the CNI plugin. Never empty.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	NodeName string `json:"nodeName"`

	// podUID is the UID of the Pod as the kubelet names it (K8S_POD_UID of CNI_ARGS); for a static pod that is not the
	// UID of its mirror Pod. Set by the CNI plugin. Never empty.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	PodUID string `json:"podUID"`

	// containerID is the ID of the sandbox (CNI_CONTAINERID). Set by the CNI plugin. Never empty.
	// +required
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`
	ContainerID string `json:"containerID"`

	// netns is the path of the sandbox's network namespace on the node (CNI_NETNS). Set by the CNI plugin. Never empty.
	// +required
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^/(var/)?run/netns/[^/]+$')",message="netns must be a file directly in /run/netns or /var/run/netns"
	Netns string `json:"netns"`

	// ifName is the name of the interface inside the sandbox (CNI_IFNAME). Set by the CNI plugin. Never empty.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^[^/:[:space:]]+$`
	IfName string `json:"ifName"`
}

// AddressFamily is the family of an IP address.
// +kubebuilder:validation:Enum=IPv4;IPv6
type AddressFamily string

// The address families.
const (
	IPv4 AddressFamily = "IPv4"
	IPv6 AddressFamily = "IPv6"
)

// EndpointAddress is one address of an endpoint.
// +kubebuilder:validation:XValidation:rule="isIP(self.ip) && ip(self.ip).family() == (self.family == 'IPv4' ? 4 : 6)",message="ip must be an address of the given family"
// +kubebuilder:validation:XValidation:rule="isIP(self.gateway) && ip(self.gateway).family() == (self.family == 'IPv4' ? 4 : 6)",message="gateway must be an address of the given family"
type EndpointAddress struct {
	// family is IPv4 or IPv6. Set by the agent. Never empty; at most one address a family.
	// +required
	Family AddressFamily `json:"family"`

	// ip is the address, without a prefix length (the pod sees it as /32 or /128). Set by the agent. Never empty.
	// +required
	// +kubebuilder:validation:MaxLength=45
	IP string `json:"ip"`

	// gateway is the pod's default gateway, the router address of its node. Set by the agent. Never empty.
	// +required
	// +kubebuilder:validation:MaxLength=45
	Gateway string `json:"gateway"`
}

// EndpointIdentity is the security identity in force for an endpoint.
type EndpointIdentity struct {
	// number is the identity's number, the name of a CiliumIdentity. Set by the agent.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	Number int64 `json:"number"`

	// labels are the labels that the identity stands for, as "key=value", sorted. Set by the agent for people; the
	// CiliumIdentity is what counts. Empty means an identity without labels.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=512
	Labels []string `json:"labels,omitempty"`
}

// EndpointInterface is the pair of devices that joins a sandbox to its node.
type EndpointInterface struct {
	// hostName is the name of the device on the node ("lxc" and a hash). Set by the agent.
	// +required
	// +kubebuilder:validation:MaxLength=15
	HostName string `json:"hostName"`

	// hostIndex is the interface index of the device on the node. Set by the agent.
	// +required
	// +kubebuilder:validation:Minimum=1
	HostIndex int32 `json:"hostIndex"`

	// mac is the hardware address of the device inside the sandbox. Set by the agent.
	// +required
	// +kubebuilder:validation:MaxLength=17
	MAC string `json:"mac"`

	// hostMAC is the hardware address of the device on the node, the one that answers for the gateway. Set by the agent.
	// +required
	// +kubebuilder:validation:MaxLength=17
	HostMAC string `json:"hostMAC"`

	// mtuBytes is the MTU of the device inside the sandbox, in bytes. Set by the agent.
	// +required
	// +kubebuilder:validation:Minimum=1280
	// +kubebuilder:validation:Maximum=65535
	MTUBytes int32 `json:"mtuBytes"`
}

// CiliumEndpointStatus says how far the attachment has come and what it got.
type CiliumEndpointStatus struct {
	// observedGeneration is the metadata.generation that the agent last acted on. Set by the agent. Zero means never.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// podUID repeats spec.podUID as the agent served it, so that a reader can tell whose status this is. Set by the
	// agent. Empty means that nothing was served yet.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	PodUID string `json:"podUID,omitempty"`

	// containerID repeats spec.containerID as the agent served it. Set by the agent. Empty means that nothing was served
	// yet.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	ContainerID string `json:"containerID,omitempty"`

	// mirrorPodUID is the UID of the mirror Pod that stands for a static pod in the API. Set by the agent. Empty means
	// an ordinary pod.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	MirrorPodUID string `json:"mirrorPodUID,omitempty"`

	// endpointID is the number of the endpoint in the node's eBPF maps, unique on its node. Set by the agent. Zero means
	// none yet.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	EndpointID int32 `json:"endpointID,omitempty"`

	// identity is the security identity in force. Set by the agent. Absent means none yet.
	// +optional
	Identity *EndpointIdentity `json:"identity,omitempty"`

	// addresses are the pod's addresses, at most one a family. Set by the agent. Empty means none yet.
	// +optional
	// +listType=map
	// +listMapKey=family
	// +kubebuilder:validation:MaxItems=2
	Addresses []EndpointAddress `json:"addresses,omitempty"`

	// interface is the pair of devices of the endpoint. Set by the agent. Absent means none yet.
	// +optional
	Interface *EndpointInterface `json:"interface,omitempty"`

	// conditions are AddressAssigned, IdentityAssigned, DatapathProgrammed, PolicyEnforced and Ready, set by the agent,
	// and Untrusted, set by the operator. Empty means that no agent has seen the endpoint yet.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// CiliumEndpoint is one network attachment of a pod sandbox. It is named as its pod.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=cep,categories=cilium
// +kubebuilder:selectablefield:JSONPath=`.spec.nodeName`
// +kubebuilder:selectablefield:JSONPath=`.status.identity.number`
// +kubebuilder:metadata:labels="ciliate.dev/schema=4"
// +kubebuilder:metadata:annotations="argocd.argoproj.io/sync-options=Prune=false"
// +kubebuilder:printcolumn:name="Identity",type=integer,JSONPath=`.status.identity.number`,description="Number of the security identity"
// +kubebuilder:printcolumn:name="IPv4",type=string,JSONPath=`.status.addresses[?(@.family=="IPv4")].ip`
// +kubebuilder:printcolumn:name="IPv6",type=string,priority=1,JSONPath=`.status.addresses[?(@.family=="IPv6")].ip`
// +kubebuilder:printcolumn:name="Node",type=string,priority=1,JSONPath=`.spec.nodeName`
// +kubebuilder:printcolumn:name="Interface",type=string,priority=1,JSONPath=`.status.interface.hostName`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type CiliumEndpoint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says which sandbox wants to be attached. Set by the CNI plugin; immutable.
	// +required
	// +structType=atomic
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec is immutable: delete the endpoint's pod instead"
	Spec CiliumEndpointSpec `json:"spec"`

	// status says how far the attachment has come. Set by the agent of spec.nodeName. It is written whole, on the
	// resourceVersion that was read: who applies a part of it removes the rest.
	// +optional
	// +structType=atomic
	Status CiliumEndpointStatus `json:"status,omitzero"`
}

// CiliumEndpointList is a list of CiliumEndpoints.
// +kubebuilder:object:root=true
type CiliumEndpointList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CiliumEndpoint `json:"items"`
}
