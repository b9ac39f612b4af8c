// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package controllers holds who decides, in two managers: the operator (one leader a cluster) and the agent (one a node).
// Each controller has a folder named after its noun; below is what each watches and writes. Conditions have one writer.
//
//	operator/config    Node, CiliumNode, ServiceCIDR → CiliumConfig (create), its status; Valid, Applied
//	operator/node      Node, CiliumNode → CiliumNode (create, addresses); Node: taint, NetworkUnavailable
//	operator/ipam      CiliumNode, Node, CiliumConfig → CiliumNode.spec.ipam, CiliumConfig.status.allocatedAt; PoolAssigned
//	operator/identity  Pod, Namespace, CiliumIdentity, CiliumConfig → CiliumIdentity,
//	                   CiliumConfig.status.identityFilter; IdentitiesAvailable
//	operator/endpoint  CiliumEndpoint, Pod, Node, CiliumNode → CiliumEndpoint (delete, finalizer); Untrusted
//	operator/loadbalancer  Service, CiliumLoadBalancerIPPool → Service.status.loadBalancer, CiliumLoadBalancerIPPool.status;
//	                   cilium.io/IPAMRequestSatisfied; Valid, Conflicting, Exhausted
//	operator/announcement  Lease, Service → Lease (delete); CiliumL2AnnouncementPolicy → its status; Valid
//	agent/endpoint     CiliumEndpoint and Pod of this node, CiliumIdentity → CiliumEndpoint.status, finalizer;
//	                   AddressAssigned, IdentityAssigned, PolicyEnforced, DatapathProgrammed, Ready
//	agent/node         CiliumNode, CiliumConfig → CiliumNode.status; Ready, CNIConfigured
//	agent/ipcache      CiliumEndpoint of other nodes, CiliumNode → the datapath alone
//	agent/announcement Service, EndpointSlice, CiliumL2AnnouncementPolicy, own Node → Leases of announced Services, the datapath
//	agent/identity     CiliumIdentity, Namespace → wakes the endpoints that wait for one
package controllers
