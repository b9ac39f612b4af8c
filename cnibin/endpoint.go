// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"net/url"

	"github.com/containernetworking/cni/pkg/skel"
)

// The words of api/v1alpha1 that this plugin speaks. They are repeated here because importing them brings half of
// apimachinery along (docs/design/0001-cni-binary.md has the bytes); a test compares every one with its origin.
const (
	apiVersion = "cilium.io/v1alpha1"
	kind       = "CiliumEndpoint"
	resource   = "ciliumendpoints"
	finalizer  = "cilium.io/endpoint"

	conditionReady = "Ready"

	reasonPreviousInstance = "PreviousInstance"
	reasonSandboxGone      = "SandboxGone"
	reasonInvalidNetns     = "InvalidNetns"
	reasonPodMismatch      = "PodMismatch"
	reasonHostNetwork      = "HostNetwork"
)

// endpoint is a CiliumEndpoint, without what this plugin neither writes nor reads.
type endpoint struct {
	APIVersion string   `json:"apiVersion,omitempty"`
	Kind       string   `json:"kind,omitempty"`
	Metadata   metadata `json:"metadata"`
	Spec       spec     `json:"spec"`
	Status     status   `json:"status,omitzero"`
}

type metadata struct {
	Name              string   `json:"name,omitempty"`
	Namespace         string   `json:"namespace,omitempty"`
	UID               string   `json:"uid,omitempty"`
	ResourceVersion   string   `json:"resourceVersion,omitempty"`
	DeletionTimestamp string   `json:"deletionTimestamp,omitempty"`
	Finalizers        []string `json:"finalizers,omitempty"`
}

type spec struct {
	NodeName    string `json:"nodeName"`
	PodUID      string `json:"podUID"`
	ContainerID string `json:"containerID"`
	Netns       string `json:"netns"`
	IfName      string `json:"ifName"`
}

type status struct {
	PodUID      string         `json:"podUID,omitempty"`
	ContainerID string         `json:"containerID,omitempty"`
	Addresses   []address      `json:"addresses,omitempty"`
	Interface   *interfacePair `json:"interface,omitempty"`
	Conditions  []condition    `json:"conditions,omitempty"`
}

type address struct {
	Family  string `json:"family"`
	IP      string `json:"ip"`
	Gateway string `json:"gateway"`
}

type interfacePair struct {
	HostName  string `json:"hostName"`
	HostIndex int    `json:"hostIndex"`
	MAC       string `json:"mac"`
	HostMAC   string `json:"hostMAC"`
	MTUBytes  int    `json:"mtuBytes"`
}

type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// newEndpoint is the object for one ADD. It has no owner: a cascade from the Pod would cut a live sandbox.
func newEndpoint(conf *netConf, pod podRef, args *skel.CmdArgs) *endpoint {
	return &endpoint{
		APIVersion: apiVersion,
		Kind:       kind,
		Metadata: metadata{
			Name:       pod.name,
			Namespace:  pod.namespace,
			Finalizers: []string{finalizer},
		},
		Spec: spec{
			NodeName:    conf.NodeName,
			PodUID:      pod.uid,
			ContainerID: args.ContainerID,
			Netns:       args.Netns,
			IfName:      args.IfName,
		},
	}
}

func (e *endpoint) String() string { return kind + " " + e.Metadata.Namespace + "/" + e.Metadata.Name }

func (e *endpoint) attachment() attachment {
	return attachment{ContainerID: e.Spec.ContainerID, IfName: e.Spec.IfName}
}

func (e *endpoint) deleting() bool { return e.Metadata.DeletionTimestamp != "" }

// ready is the condition Ready, nil as long as no agent has written it.
func (e *endpoint) ready() *condition {
	for i := range e.Status.Conditions {
		if e.Status.Conditions[i].Type == conditionReady {
			return &e.Status.Conditions[i]
		}
	}
	return nil
}

// served says whether the agent's Ready=True belongs to this very sandbox, and not to an earlier bearer of the name.
func (e *endpoint) served() bool {
	ready := e.ready()
	return ready != nil && ready.Status == "True" &&
		e.Status.PodUID == e.Spec.PodUID && e.Status.ContainerID == e.Spec.ContainerID
}

func collectionPath(namespace string) string {
	return "/apis/" + apiVersion + "/namespaces/" + url.PathEscape(namespace) + "/" + resource
}

func objectPath(namespace, name string) string {
	return collectionPath(namespace) + "/" + url.PathEscape(name)
}
