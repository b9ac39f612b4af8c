// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package fake

import (
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// Serve answers each object as an agent with tombstones in runDir does: status for a new one, the finalizer's release
// for a deleted one whose sandbox has a tombstone.
func (s *Server) Serve(runDir string, answer func(v1alpha1.CiliumEndpoint) v1alpha1.CiliumEndpointStatus) {
	s.OnChange(func(ep v1alpha1.CiliumEndpoint) {
		switch {
		case ep.DeletionTimestamp != nil:
			s.finalize(runDir, ep)
		case ep.DeletionTimestamp == nil && len(ep.Status.Conditions) == 0:
			s.SetStatus(ep.Namespace, ep.Name, answer(ep))
		}
	})
}

// finalize releases a deleted object once its sandbox has a tombstone, and holds it as long as it has none.
func (s *Server) finalize(runDir string, ep v1alpha1.CiliumEndpoint) {
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for {
		have, found := s.Get(ep.Namespace, ep.Name)
		if !found || have.UID != ep.UID {
			return
		}
		if Buried(runDir, ep) {
			s.Release(ep.Namespace, ep.Name)
			return
		}
		select {
		case <-look.C:
		case <-s.stopped:
			return
		}
	}
}

// Buried says whether the endpoint's sandbox has a tombstone.
func Buried(runDir string, ep v1alpha1.CiliumEndpoint) bool {
	_, err := os.Stat(filepath.Join(runDir, "deletes", ep.Spec.ContainerID+"-"+ep.Spec.IfName))
	return err == nil
}

// Ready is the status of an endpoint that the agent has served, dual-stack.
func Ready(ep v1alpha1.CiliumEndpoint) v1alpha1.CiliumEndpointStatus {
	status := NotReady(ep, v1alpha1.ReasonReady, "The pod can send and receive.")
	status.Conditions[0].Status = metav1.ConditionTrue
	status.EndpointID = 7
	status.Identity = &v1alpha1.EndpointIdentity{Number: 4711}
	status.Addresses = []v1alpha1.EndpointAddress{
		{Family: v1alpha1.IPv4, IP: "10.1.2.3", Gateway: "10.1.2.1"},
		{Family: v1alpha1.IPv6, IP: "fd00:1::3", Gateway: "fd00:1::1"},
	}
	status.Interface = &v1alpha1.EndpointInterface{
		HostName: "lxc0123456789a", HostIndex: 42, MAC: "02:00:00:00:00:01", HostMAC: "02:00:00:00:00:02", MTUBytes: 1450,
	}
	return status
}

// NotReady is the status of an endpoint that the agent has seen but not served.
func NotReady(ep v1alpha1.CiliumEndpoint, reason, message string) v1alpha1.CiliumEndpointStatus {
	return v1alpha1.CiliumEndpointStatus{
		ObservedGeneration: ep.Generation,
		PodUID:             ep.Spec.PodUID,
		ContainerID:        ep.Spec.ContainerID,
		Conditions: []metav1.Condition{{
			Type:               v1alpha1.ConditionReady,
			Status:             metav1.ConditionFalse,
			ObservedGeneration: ep.Generation,
			LastTransitionTime: ep.CreationTimestamp,
			Reason:             reason,
			Message:            message,
		}},
	}
}
