// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package v1alpha1

// Conditions of a CiliumEndpoint, in the order in which a pod passes them.
const (
	// ConditionAddressAssigned: the endpoint has its addresses. Written by the agent.
	ConditionAddressAssigned = "AddressAssigned"
	// ConditionIdentityAssigned: the endpoint has its security identity. Written by the agent.
	ConditionIdentityAssigned = "IdentityAssigned"
	// ConditionPolicyEnforced: the policy in force for the endpoint is complete in the datapath. Written by the agent.
	ConditionPolicyEnforced = "PolicyEnforced"
	// ConditionDatapathProgrammed: devices, maps and programs of the endpoint are in place. Written by the agent.
	ConditionDatapathProgrammed = "DatapathProgrammed"
	// ConditionUntrusted: the endpoint claims what its node or pod does not have; agents leave it out of their tables.
	// Written by the operator; absent means trusted.
	ConditionUntrusted = "Untrusted"
)

// ConditionReady of an endpoint: the pod can send and receive. Of a node: the agent serves pods. Written by the agent.
const ConditionReady = "Ready"

// Conditions of a CiliumNode.
const (
	// ConditionPoolAssigned: the node has its pod CIDRs. Written by the operator.
	ConditionPoolAssigned = "PoolAssigned"
	// ConditionCNIConfigured: the CNI configuration file is in place and the first by name. Written by the agent.
	ConditionCNIConfigured = "CNIConfigured"
	// ConditionServicesProgrammed: the maps hold every Service with all its backends, and the last change of one came
	// through. Written by the agent.
	ConditionServicesProgrammed = "ServicesProgrammed"
	// ConditionAccelerated: the driver of every card forwards what Services lead to other nodes. Written by the agent;
	// absent unless acceleration native is wanted.
	ConditionAccelerated = "Accelerated"
)

// Conditions of CiliumConfig "default". Written by the operator.
const (
	// ConditionValid: the configuration makes sense for this cluster.
	ConditionValid = "Valid"
	// ConditionApplied: every agent runs the present generation.
	ConditionApplied = "Applied"
	// ConditionIdentitiesAvailable: fewer than 80 % of the identity numbers are in use.
	ConditionIdentitiesAvailable = "IdentitiesAvailable"
)

// Conditions of a CiliumLoadBalancerIPPool, beside ConditionValid, which a CiliumL2AnnouncementPolicy has too. Written by
// the operator.
const (
	// ConditionConflicting: the pool shares addresses with an older one and gives none until it does no longer.
	ConditionConflicting = "Conflicting"
	// ConditionExhausted: Services have every address of a family of the pool.
	ConditionExhausted = "Exhausted"
)

// ConditionIPAMRequestSatisfied of a Service of type LoadBalancer: it has the addresses that it asks for. Written by the
// operator, under the name that Cilium gave it.
const ConditionIPAMRequestSatisfied = "cilium.io/IPAMRequestSatisfied"

// Reasons of an endpoint's conditions. The sentence is what a person reads in the condition's message unless the agent
// has something more exact to say; the CNI plugin quotes both in its error.
const (
	// ReasonAssigned: the value is there.
	ReasonAssigned = "Assigned"
	// ReasonProgrammed: devices, maps and programs are in place.
	ReasonProgrammed = "Programmed"
	// ReasonReady: the pod can send and receive.
	ReasonReady = "Ready"
	// ReasonNoPolicySelects: no policy selects the endpoint, so everything is allowed.
	ReasonNoPolicySelects = "NoPolicySelects"

	// ReasonWaitingForPool: the node has no pod CIDR yet; see the node's condition PoolAssigned.
	ReasonWaitingForPool = "WaitingForPool"
	// ReasonPoolExhausted: every address of the node's pod CIDRs is in use.
	ReasonPoolExhausted = "PoolExhausted"
	// ReasonWaitingForPod: the agent has not seen the pod yet.
	ReasonWaitingForPod = "WaitingForPod"
	// ReasonWaitingForIdentity: the operator has not made an identity for the pod's labels yet.
	ReasonWaitingForIdentity = "WaitingForIdentity"
	// ReasonWaitingForDatapath: the node's own datapath is not programmed yet.
	ReasonWaitingForDatapath = "WaitingForDatapath"
	// ReasonDatapathError: the kernel refused a step; the message says which.
	ReasonDatapathError = "DatapathError"
	// ReasonPreviousInstance: an earlier instance of the pod still holds the name.
	ReasonPreviousInstance = "PreviousInstance"
	// ReasonTerminating: the endpoint is being deleted.
	ReasonTerminating = "Terminating"

	// ReasonSandboxGone: the sandbox's network namespace no longer exists. Terminal.
	ReasonSandboxGone = "SandboxGone"
	// ReasonInvalidNetns: spec.netns is not the network namespace of a pod. Terminal.
	ReasonInvalidNetns = "InvalidNetns"
	// ReasonPodMismatch: no pod of this UID is bound to this node. Terminal.
	ReasonPodMismatch = "PodMismatch"
	// ReasonHostNetwork: the pod uses the node's network and gets no endpoint. Terminal.
	ReasonHostNetwork = "HostNetwork"

	// ReasonAddressOutsidePool: an address of the endpoint lies outside the pod CIDRs of its node.
	ReasonAddressOutsidePool = "AddressOutsidePool"
	// ReasonPodNotOnNode: the pod of the endpoint is bound to another node.
	ReasonPodNotOnNode = "PodNotOnNode"
	// ReasonIdentityMismatch: the endpoint's identity is not that of its pod's labels.
	ReasonIdentityMismatch = "IdentityMismatch"
)

// TerminalReasons are the reasons of an endpoint's condition Ready that never pass: the CNI plugin stops waiting.
func TerminalReasons() []string {
	return []string{ReasonSandboxGone, ReasonInvalidNetns, ReasonPodMismatch, ReasonHostNetwork}
}

// Reasons of a node's conditions.
const (
	// ReasonServing: the agent serves pods.
	ReasonServing = "Serving"
	// ReasonWaitingForConfig: CiliumConfig "default" does not exist, is not valid, or has no identity filter yet.
	ReasonWaitingForConfig = "WaitingForConfig"
	// ReasonWaitingForNode: the node has no CiliumNode, no address or no pod CIDR yet.
	ReasonWaitingForNode = "WaitingForNode"
	// ReasonKernelUnsupported: the kernel lacks a feature; the message names it and the kernel that has it.
	ReasonKernelUnsupported = "KernelUnsupported"
	// ReasonTunnelPortInUse: another socket or device holds the tunnel's UDP port.
	ReasonTunnelPortInUse = "TunnelPortInUse"
	// ReasonForeignServices: kube-proxy's netfilter rules are on the node, so hostForwarding bpf is refused.
	ReasonForeignServices = "ForeignServices"
	// ReasonConfigFileWritten: the CNI configuration file is in place.
	ReasonConfigFileWritten = "ConfigFileWritten"
	// ReasonConfigFileError: the CNI configuration file could not be written; the message says why.
	ReasonConfigFileError = "ConfigFileError"
	// ReasonForeignConfigFile: another CNI configuration file comes first by name; the message names it.
	ReasonForeignConfigFile = "ForeignConfigFile"
	// ReasonDeviceUnsupported: some cards do not forward by XDP; the message names them and says why.
	ReasonDeviceUnsupported = "DeviceUnsupported"
	// ReasonMapPressure: a map is at least 90 % full; the message names it.
	ReasonMapPressure = "MapPressure"
	// ReasonMapFull: a map has no room for some Services or some of their backends; the message names them.
	ReasonMapFull = "MapFull"
	// ReasonContested: some Services want an address and port that another one has; the message names them.
	ReasonContested = "Contested"

	// ReasonNoAddresses: the Node has no InternalIP yet.
	ReasonNoAddresses = "NoAddresses"
	// ReasonNoPodCIDR: mode kubernetes, and Node.spec.podCIDRs is empty.
	ReasonNoPodCIDR = "NoPodCIDR"
	// ReasonInvalidPodCIDR: mode kubernetes, and Node.spec.podCIDRs holds what is no usable CIDR or overlaps.
	ReasonInvalidPodCIDR = "InvalidPodCIDR"
)

// Reasons of the conditions of CiliumConfig.
const (
	// ReasonValid: nothing contradicts.
	ReasonValid = "Valid"
	// ReasonOverlap: pools overlap each other, a node's address, or the range of another node.
	ReasonOverlap = "Overlap"
	// ReasonInvalidConfig: a value makes no sense; the message names it.
	ReasonInvalidConfig = "InvalidConfig"
	// ReasonAllNodesCurrent: every agent runs the present generation.
	ReasonAllNodesCurrent = "AllNodesCurrent"
	// ReasonRestartRequired: some agents run an older generation and need a restart.
	ReasonRestartRequired = "RestartRequired"
	// ReasonEnoughNumbers: fewer than 80 % of the identity numbers are in use.
	ReasonEnoughNumbers = "EnoughNumbers"
	// ReasonNumbersLow: at least 80 % of the identity numbers are in use.
	ReasonNumbersLow = "NumbersLow"
	// ReasonNumbersExhausted: no identity number is free.
	ReasonNumbersExhausted = "NumbersExhausted"
)

// Reasons of the conditions of a CiliumLoadBalancerIPPool and a CiliumL2AnnouncementPolicy, beside ReasonValid and
// ReasonOverlap.
const (
	// ReasonNoOverlap: no older pool has one of the addresses.
	ReasonNoOverlap = "NoOverlap"
	// ReasonInvalidBlock: a block ends before it begins, or is no range.
	ReasonInvalidBlock = "InvalidBlock"
	// ReasonInvalidSelector: a selector makes no sense; the message says why.
	ReasonInvalidSelector = "InvalidSelector"
	// ReasonInvalidInterface: an entry of interfaces is no regular expression.
	ReasonInvalidInterface = "InvalidInterface"
	// ReasonAddressesLeft: the pool has addresses that no Service has.
	ReasonAddressesLeft = "AddressesLeft"
	// ReasonNoAddressLeft: Services have all addresses of a family; the message names it.
	ReasonNoAddressLeft = "NoAddressLeft"
)

// Reasons of the condition cilium.io/IPAMRequestSatisfied of a Service, beside ReasonPoolExhausted.
const (
	// ReasonSatisfied: the Service has the addresses that it asks for.
	ReasonSatisfied = "Satisfied"
	// ReasonNoPool: no pool that selects the Service has addresses of a family that it needs.
	ReasonNoPool = "NoPool"
	// ReasonAddressNotInPool: no pool that selects the Service has an address that it asks for.
	ReasonAddressNotInPool = "AddressNotInPool"
	// ReasonAddressInUse: another Service has an address that this one asks for.
	ReasonAddressInUse = "AddressInUse"
	// ReasonInvalidRequest: the Service asks for what is no address, or for one of a family that it does not have.
	ReasonInvalidRequest = "InvalidRequest"
)

// Reasons of events.
const (
	// EventDeletionHeld: the endpoint was deleted in the API while its sandbox lives; the agent keeps serving it.
	EventDeletionHeld = "DeletionHeld"
	// EventPoolExhausted: no address or range is left.
	EventPoolExhausted = "PoolExhausted"
	// EventUntrusted: the operator found an endpoint that claims what is not its own.
	EventUntrusted = "Untrusted"
	// EventIdentityRefused: the API server refuses an identity with the labels of a pod; the message says why.
	EventIdentityRefused = "IdentityRefused"
	// EventInvalidAnnotation: an annotation of a Service says what there is not; the message names it and what counts.
	EventInvalidAnnotation = "InvalidAnnotation"
	// EventReleased: the operator released an endpoint whose node can no longer do it.
	EventReleased = "Released"
)
