// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package announcement

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

const (
	// leaseDuration is how long a holder is believed to live without news, renewEvery how often it sends some.
	leaseDuration = 15 * time.Second
	renewEvery    = 5 * time.Second
	// spread is over how long nodes write a Lease that came free, so that one of them writes it alone, and not the same
	// for every Service.
	spread = time.Second
)

// sighting is a Lease as this agent saw it last, and since when it has been so by this agent's own clock: those of nodes
// may differ.
type sighting struct {
	holder  string
	renewed metav1.MicroTime
	since   time.Time
}

// look returns what is seen of a Lease now; nil for one that does not exist.
func (s sighting) look(lease *coordinationv1.Lease, now time.Time) sighting {
	next := sighting{since: now}
	if lease != nil {
		next.holder = holderOf(lease)
		if lease.Spec.RenewTime != nil {
			next.renewed = *lease.Spec.RenewTime
		}
	}
	if !s.since.IsZero() && s.holder == next.holder && s.renewed.Equal(&next.renewed) {
		return s
	}
	return next
}

// sightings are those of all Services. They are safe for concurrent use.
type sightings struct {
	mu     sync.Mutex
	byName map[types.NamespacedName]sighting
}

func (s *sightings) look(name types.NamespacedName, lease *coordinationv1.Lease, now time.Time) sighting {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byName[name] = s.byName[name].look(lease, now)
	return s.byName[name]
}

// restart counts the silence of a holder anew.
func (s *sightings) restart(name types.NamespacedName, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.byName[name]
	of.since = now
	s.byName[name] = of
}

func (s *sightings) forget(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byName, name)
}

// free is when a node may write the Lease: at once if it is its own, in its turn if it is nobody's, or when its holder has
// not been heard of for long enough.
func (s sighting) free(node string, name types.NamespacedName) time.Time {
	switch s.holder {
	case node:
		return s.since
	case "":
		return s.since.Add(turn(node, name))
	}
	return s.since.Add(leaseDuration + turn(node, name))
}

// turn puts a node somewhere on the spread, for one Service always at the same place. Names of nodes differ by little, so
// the sum must make much of it.
func turn(node string, name types.NamespacedName) time.Duration {
	sum := sha256.Sum256([]byte(node + "/" + name.String()))
	return spread * time.Duration(binary.BigEndian.Uint16(sum[:])) / math.MaxUint16
}

func holderOf(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// newLease is one that a node holds for a Service from now on.
func newLease(name types.NamespacedName, node string, now time.Time) *coordinationv1.Lease {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: v1alpha1.AnnouncementLeaseNamespace,
		Name:      v1alpha1.AnnouncementLease(name.Namespace, name.Name),
		Labels: map[string]string{
			v1alpha1.AnnouncementNamespaceLabel: name.Namespace, v1alpha1.AnnouncementServiceLabel: name.Name,
		},
	}}
	return held(lease, node, now)
}

// held is the Lease as a node that holds it writes it.
func held(lease *coordinationv1.Lease, node string, now time.Time) *coordinationv1.Lease {
	lease = lease.DeepCopy()
	at := metav1.NewMicroTime(now)
	if holderOf(lease) != node {
		lease.Spec.AcquireTime = &at
		if before := lease.Spec.LeaseTransitions; before != nil {
			lease.Spec.LeaseTransitions = new(*before + 1)
		} else {
			lease.Spec.LeaseTransitions = new(int32(0))
		}
	}
	lease.Spec.HolderIdentity, lease.Spec.RenewTime = &node, &at
	lease.Spec.LeaseDurationSeconds = new(int32(leaseDuration / time.Second))
	return lease
}

// released is the Lease as its holder leaves it to others.
func released(lease *coordinationv1.Lease) *coordinationv1.Lease {
	lease = lease.DeepCopy()
	lease.Spec.HolderIdentity = nil
	return lease
}
