// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package node

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/identity"
)

// State is what others of the agent may know of the node. It is safe for concurrent use.
type State struct {
	mu           sync.Mutex
	routers      []netip.Addr
	filter       *v1alpha1.IdentityFilter
	masquerade   bool
	acceleration v1alpha1.Acceleration
	generation   int64
	reason       string
	once         sync.Once
	programmed   chan struct{}
}

// Routers are the router addresses, one for each family that pods get; none while the node has no pool.
func (s *State) Routers() []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.routers)
}

// Filter is the label filter in force; false while there is none.
func (s *State) Filter() (identity.Filter, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.filter == nil {
		return identity.Filter{}, false
	}
	return identity.Filter{ClusterName: s.filter.ClusterName, Include: s.filter.Include, Exclude: s.filter.Exclude}, true
}

// Programmed is closed once the node was programmed for the first time.
func (s *State) Programmed() <-chan struct{} { return s.programmed }

// Reason is why the node is not programmed, for people; empty when it is.
func (s *State) Reason() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

func (s *State) setReason(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reason = reason
}

func (s *State) setProgrammed(routers []netip.Addr) {
	s.mu.Lock()
	s.routers, s.reason = routers, ""
	s.mu.Unlock()
	s.once.Do(func() { close(s.programmed) })
}

// setConfig takes over what is live in now and tells whether the identity filter is another than before. The generation
// counts as run only while the fields that need a restart are as they were at the start.
func (s *State) setConfig(now, start *v1alpha1.CiliumConfig) (filterChanged bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.masquerade = now.Spec.Masquerade != v1alpha1.MasqueradeDisabled
	s.acceleration = cmp.Or(now.Spec.LoadBalancer.Acceleration, v1alpha1.AccelerationDisabled)
	if sameAtStart(&now.Spec, &start.Spec) {
		s.generation = now.Generation
	} else if s.generation == 0 {
		s.generation = start.Generation
	}
	next := now.Status.IdentityFilter
	if next == nil || s.filter != nil && s.filter.Version == next.Version {
		return false
	}
	s.filter = next.DeepCopy()
	return true
}

func sameAtStart(a, b *v1alpha1.CiliumConfigSpec) bool {
	return a.RoutingMode == b.RoutingMode && a.TunnelPort == b.TunnelPort && a.HostForwarding == b.HostForwarding &&
		a.ClusterName == b.ClusterName && a.LoadBalancer.Mode == b.LoadBalancer.Mode
}

func (s *State) masquerades() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.masquerade
}

func (s *State) accelerates() v1alpha1.Acceleration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acceleration
}

func (s *State) runs() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generation
}
