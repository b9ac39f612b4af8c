// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package node

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	ac "github.com/ciliate-io/ciliate/api/applyconfiguration/api/v1alpha1"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/status"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// fieldOwner is the agent's name in managedFields.
const fieldOwner = client.FieldOwner("cilium-agent")

// pressure is the fill of a map from which on the node says so.
const pressure = 0.9

// describe fills status with what is true now.
func (r *Reconciler) describe(node *v1alpha1.CiliumNode, s *v1alpha1.CiliumNodeStatus, err error) {
	s.AgentVersion, s.BootID, s.ConfigGeneration = r.Version, r.BootID, r.runs()
	s.Endpoints, s.Pools = int32(r.Attached()), nil
	for _, u := range r.Addresses.Usage() {
		s.Pools = append(s.Pools, v1alpha1.PoolUsage{
			CIDR: u.Prefix.String(), Used: u.Used, Cooling: u.Cooling, Capacity: u.Capacity,
		})
	}
	if services := r.Services(); s.Datapath != nil {
		s.Datapath.Services, s.Datapath.ServiceBackends = int32(services.Programmed), int32(services.Backends)
	}
	ready, cniConfigured := r.conditions(s, err)
	conditions := []metav1.Condition{cniConfigured, r.servicesProgrammed(), ready}
	if r.accelerates() == v1alpha1.AccelerationNative {
		conditions = append(conditions, r.accelerated())
	} else {
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionAccelerated)
	}
	for _, c := range conditions {
		c.ObservedGeneration = node.Generation
		meta.SetStatusCondition(&s.Conditions, c)
	}
}

func (r *Reconciler) accelerated() metav1.Condition {
	if len(r.plain) == 0 {
		return condition(v1alpha1.ConditionAccelerated, true, v1alpha1.ReasonProgrammed,
			"The driver of every card forwards what Services lead to other nodes")
	}
	var plain []string
	for _, p := range r.plain {
		plain = append(plain, fmt.Sprintf("%s, which %s", p.Name, p.Reason))
	}
	return condition(v1alpha1.ConditionAccelerated, false, v1alpha1.ReasonDeviceUnsupported,
		"Forwarded without XDP is what comes by "+strings.Join(plain, "; by "))
}

// conditions are Ready and CNIConfigured; err is what kept the node from being programmed.
func (r *Reconciler) conditions(s *v1alpha1.CiliumNodeStatus, err error) (ready, cniConfigured metav1.Condition) {
	ok, reason, message := r.CNI()
	cniConfigured = condition(v1alpha1.ConditionCNIConfigured, ok, reason, message)
	switch {
	case err != nil:
		reason, message = reasonOf(err)
		r.setReason(message)
		ready = condition(v1alpha1.ConditionReady, false, reason, message)
	case !ok:
		ready = condition(v1alpha1.ConditionReady, false, reason, message)
	case fullMap(s.Datapath) != "":
		ready = condition(v1alpha1.ConditionReady, true, v1alpha1.ReasonMapPressure, fullMap(s.Datapath))
	default:
		ready = condition(v1alpha1.ConditionReady, true, v1alpha1.ReasonServing, "The agent serves pods")
	}
	return ready, cniConfigured
}

// named is how many Services a message names.
const named = 5

func (r *Reconciler) servicesProgrammed() metav1.Condition {
	s := r.Services()
	ok, reason, message := false, "", ""
	switch {
	case s.Problem != "":
		reason, message = v1alpha1.ReasonDatapathError, "The last change of Services did not come through: "+s.Problem
	case len(s.Short) > 0:
		reason, message = v1alpha1.ReasonMapFull, "The maps have no room for all of some Services, so that clients on this node "+
			"do not reach each of their backends, are not let in, or are led at random where Maglev should choose: "+some(s.Short)
	case len(s.Contested) > 0:
		reason, message = v1alpha1.ReasonContested, "Some Services are not reached at an address of theirs, because another one "+
			"has it: "+some(s.Contested)
	default:
		ok, reason, message = true, v1alpha1.ReasonProgrammed, "Every Service is programmed with all its backends"
	}
	return condition(v1alpha1.ConditionServicesProgrammed, ok, reason, message)
}

// some are the first of many names.
func some(names []string) string {
	out := strings.Join(names[:min(len(names), named)], ", ")
	if more := len(names) - named; more > 0 {
		out += fmt.Sprintf(" and %d more", more)
	}
	return out
}

func reasonOf(err error) (reason, message string) {
	var n notYet
	switch {
	case errors.As(err, &n):
		return n.reason, n.message
	case errors.Is(err, dp.ErrTunnelPortInUse):
		return v1alpha1.ReasonTunnelPortInUse, err.Error()
	}
	return v1alpha1.ReasonDatapathError, err.Error()
}

func fullMap(d *v1alpha1.NodeDatapath) string {
	for _, m := range d.Maps {
		if m.MaxEntries > 0 && float64(m.Entries) >= pressure*float64(m.MaxEntries) {
			return fmt.Sprintf("The agent serves pods, but map %s is at least %.0f %% full", m.Name, 100*pressure)
		}
	}
	return ""
}

func condition(kind string, ok bool, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if ok {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

// report writes the status if it changed: what is more than a number or another message at once, these at most once a
// minute.
func (r *Reconciler) report(ctx context.Context, node *v1alpha1.CiliumNode, s *v1alpha1.CiliumNodeStatus) error {
	if equality.Semantic.DeepEqual(*s, node.Status) {
		return nil
	}
	if onlyNumbers(s, &node.Status) && r.Clock.Since(r.reported) < reportEvery {
		return nil
	}
	config := ac.CiliumNode(node.Name).WithResourceVersion(node.ResourceVersion).WithStatus(statusConfig(s))
	if err := r.Client.Status().Apply(ctx, config, fieldOwner, client.ForceOwnership); err != nil {
		return err
	}
	r.reported = r.Clock.Now()
	return nil
}

// onlyNumbers tells whether a and b differ in counts alone, and in messages, which may have counts and names in them that
// follow every change.
func onlyNumbers(a, b *v1alpha1.CiliumNodeStatus) bool {
	strip := func(s *v1alpha1.CiliumNodeStatus) *v1alpha1.CiliumNodeStatus {
		s = s.DeepCopy()
		s.Endpoints = 0
		for i := range s.Conditions {
			s.Conditions[i].Message = ""
		}
		for i := range s.Pools {
			s.Pools[i].Used, s.Pools[i].Cooling = 0, 0
		}
		if s.Datapath != nil {
			s.Datapath.Services, s.Datapath.ServiceBackends = 0, 0
			for i := range s.Datapath.Maps {
				s.Datapath.Maps[i].Entries = 0
			}
		}
		return s
	}
	return equality.Semantic.DeepEqual(strip(a), strip(b))
}

// statusConfig holds the agent's part of s alone: the operator's conditions are left out.
func statusConfig(s *v1alpha1.CiliumNodeStatus) *ac.CiliumNodeStatusApplyConfiguration {
	out := ac.CiliumNodeStatus().WithAgentVersion(s.AgentVersion).WithBootID(s.BootID).
		WithConfigGeneration(s.ConfigGeneration).WithEndpoints(s.Endpoints).
		WithConditions(status.Conditions(s.Conditions, func(c metav1.Condition) bool { return c.Type != v1alpha1.ConditionPoolAssigned })...)
	for _, p := range s.Pools {
		out.WithPools(ac.PoolUsage().WithCIDR(p.CIDR).WithUsed(p.Used).WithCooling(p.Cooling).WithCapacity(p.Capacity))
	}
	if d := s.Datapath; d != nil {
		path := ac.NodeDatapath().WithRoutingMode(d.RoutingMode).WithMTUBytes(d.MTUBytes).WithDevices(d.Devices...).
			WithAcceleratedDevices(d.AcceleratedDevices...).WithPeers(d.Peers).
			WithServices(d.Services).WithServiceBackends(d.ServiceBackends)
		for _, m := range d.Maps {
			path.WithMaps(ac.MapUsage().WithName(m.Name).WithEntries(m.Entries).WithMaxEntries(m.MaxEntries))
		}
		out.WithDatapath(path)
	}
	return out
}
