// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package build makes API objects for tests, with everything valid that a test does not speak of. Entry points: one
// function a kind, ended by Obj.
package build

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// UID is a UID in the form that the API server gives, always the same for one name.
func UID(name string) types.UID {
	h := fnv.New64a()
	h.Write([]byte(name)) // A hash never fails to write.
	sum := fmt.Sprintf("%016x", h.Sum64())
	return types.UID(sum[:8] + "-0000-4000-8000-" + sum[4:])
}

// meta is for "name" or "namespace/name".
func meta(name string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Name: name, UID: UID(name)}
	if namespace, short, ok := strings.Cut(name, "/"); ok {
		m.Namespace, m.Name = namespace, short
	}
	return m
}

// NodeBuilder builds a Node.
type NodeBuilder struct{ node corev1.Node }

// Node is one without addresses.
func Node(name string) *NodeBuilder { return &NodeBuilder{corev1.Node{ObjectMeta: meta(name)}} }

// Address adds InternalIPs.
func (b *NodeBuilder) Address(ips ...string) *NodeBuilder {
	for _, ip := range ips {
		b.node.Status.Addresses = append(b.node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	return b
}

// Boot sets the boot ID.
func (b *NodeBuilder) Boot(id string) *NodeBuilder {
	b.node.Status.NodeInfo.BootID = id
	return b
}

// Taint adds a taint NoSchedule.
func (b *NodeBuilder) Taint(key string) *NodeBuilder {
	b.node.Spec.Taints = append(b.node.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
	return b
}

// PodCIDRs sets spec.podCIDRs.
func (b *NodeBuilder) PodCIDRs(cidrs ...string) *NodeBuilder {
	b.node.Spec.PodCIDRs = cidrs
	return b
}

// Created sets when it was registered.
func (b *NodeBuilder) Created(at time.Time) *NodeBuilder {
	b.node.CreationTimestamp = metav1.NewTime(at)
	return b
}

// Obj is the Node.
func (b *NodeBuilder) Obj() *corev1.Node { return b.node.DeepCopy() }

// PodBuilder builds a Pod.
type PodBuilder struct{ pod corev1.Pod }

// Pod is "namespace/name", not bound to a node, with the service account "default".
func Pod(name string) *PodBuilder {
	b := &PodBuilder{corev1.Pod{ObjectMeta: meta(name)}}
	b.pod.Spec.ServiceAccountName = "default"
	b.pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "ciliate/pause"}}
	return b
}

// Label adds a label.
func (b *PodBuilder) Label(key, value string) *PodBuilder {
	if b.pod.Labels == nil {
		b.pod.Labels = map[string]string{}
	}
	b.pod.Labels[key] = value
	return b
}

// OnNode binds it.
func (b *PodBuilder) OnNode(name string) *PodBuilder {
	b.pod.Spec.NodeName = name
	return b
}

// HostNetwork gives it the node's network.
func (b *PodBuilder) HostNetwork() *PodBuilder {
	b.pod.Spec.HostNetwork = true
	return b
}

// Phase sets status.phase.
func (b *PodBuilder) Phase(phase corev1.PodPhase) *PodBuilder {
	b.pod.Status.Phase = phase
	return b
}

// Ready sets the condition Ready and since when.
func (b *PodBuilder) Ready(status corev1.ConditionStatus, since time.Time) *PodBuilder {
	b.pod.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(since),
	}}
	return b
}

// UID sets another UID than that of the name.
func (b *PodBuilder) UID(uid types.UID) *PodBuilder {
	b.pod.UID = uid
	return b
}

// MirrorOf makes it the mirror of a static pod.
func (b *PodBuilder) MirrorOf(uid string) *PodBuilder {
	b.pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: uid}
	return b
}

// Obj is the Pod.
func (b *PodBuilder) Obj() *corev1.Pod { return b.pod.DeepCopy() }

// Namespace is one with labels, given as key, value, key, value.
func Namespace(name string, labels ...string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: meta(name)}
	ns.Labels = map[string]string{}
	for i := 0; i+1 < len(labels); i += 2 {
		ns.Labels[labels[i]] = labels[i+1]
	}
	return ns
}

// EndpointBuilder builds a CiliumEndpoint.
type EndpointBuilder struct{ ep v1alpha1.CiliumEndpoint }

// Endpoint is that of pod "namespace/name", with the pod's UID.
func Endpoint(name string) *EndpointBuilder {
	b := &EndpointBuilder{v1alpha1.CiliumEndpoint{ObjectMeta: meta(name)}}
	b.ep.UID = UID("endpoint of " + name)
	b.ep.Finalizers = []string{v1alpha1.EndpointFinalizer}
	b.ep.Spec = v1alpha1.CiliumEndpointSpec{
		NodeName: "n1", PodUID: string(UID(name)), ContainerID: "c1", Netns: "/run/netns/c1", IfName: "eth0",
	}
	return b
}

// OnNode sets the node.
func (b *EndpointBuilder) OnNode(name string) *EndpointBuilder {
	b.ep.Spec.NodeName = name
	return b
}

// PodUID sets another UID than that of the pod of the name.
func (b *EndpointBuilder) PodUID(uid string) *EndpointBuilder {
	b.ep.Spec.PodUID = uid
	return b
}

// Created sets when it was created.
func (b *EndpointBuilder) Created(at time.Time) *EndpointBuilder {
	b.ep.CreationTimestamp = metav1.NewTime(at)
	return b
}

// Address adds an address to the status.
func (b *EndpointBuilder) Address(family v1alpha1.AddressFamily, ip, gateway string) *EndpointBuilder {
	b.ep.Status.Addresses = append(b.ep.Status.Addresses, v1alpha1.EndpointAddress{Family: family, IP: ip, Gateway: gateway})
	return b
}

// Identity sets the identity of the status.
func (b *EndpointBuilder) Identity(number int64) *EndpointBuilder {
	b.ep.Status.Identity = &v1alpha1.EndpointIdentity{Number: number}
	return b
}

// Obj is the CiliumEndpoint.
func (b *EndpointBuilder) Obj() *v1alpha1.CiliumEndpoint { return b.ep.DeepCopy() }

// CiliumNode is the one of a node, with ranges.
func CiliumNode(name string, podCIDRs ...string) *v1alpha1.CiliumNode {
	cn := &v1alpha1.CiliumNode{ObjectMeta: meta(name)}
	cn.Spec.IPAM.PodCIDRs = podCIDRs
	return cn
}

// Config is CiliumConfig "default" with these pools, each a CIDR; none means mode kubernetes.
func Config(maskSize int32, cidrs ...string) *v1alpha1.CiliumConfig {
	cfg := &v1alpha1.CiliumConfig{ObjectMeta: meta(v1alpha1.ConfigName)}
	cfg.Generation = 1
	cfg.Spec.ClusterName = "default"
	cfg.Spec.IPAM.Mode = v1alpha1.IPAMKubernetes
	for _, cidr := range cidrs {
		cfg.Spec.IPAM.Mode = v1alpha1.IPAMClusterPool
		pool := &cfg.Spec.IPAM.IPv4
		if strings.Contains(cidr, ":") {
			pool = &cfg.Spec.IPAM.IPv6
		}
		if *pool == nil {
			*pool = &v1alpha1.ClusterPool{MaskSize: maskSize}
		}
		(*pool).CIDRs = append((*pool).CIDRs, cidr)
	}
	return cfg
}

// Identity is one with labels, given as key, value, key, value.
func Identity(name string, labels ...string) *v1alpha1.CiliumIdentity {
	id := &v1alpha1.CiliumIdentity{ObjectMeta: meta(name)}
	id.Spec.Labels = map[string]v1alpha1.LabelValue{}
	for i := 0; i+1 < len(labels); i += 2 {
		id.Spec.Labels[labels[i]] = v1alpha1.LabelValue(labels[i+1])
	}
	return id
}
