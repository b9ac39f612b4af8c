// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package announcement

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"

	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

const (
	// margin is between the end of a dead agent's answers and the time when others may hold its Leases.
	margin = time.Second
	// beatEvery is how often the kernel is told to go on.
	beatEvery = 2 * time.Second
	// patience is for how long an API server that did not answer is taken to be gone.
	patience = 30 * time.Second
)

// tenure is a Lease that this node holds.
type tenure struct {
	// lease is as it was written last, which began at renewed.
	lease     *coordinationv1.Lease
	renewed   time.Time
	announced []dp.Announcement
}

// tenures are the Leases that this node holds. They are safe for concurrent use.
type tenures struct {
	datapath datapath

	mu     sync.Mutex
	byName map[types.NamespacedName]tenure
	// unanswered is when the API server was last asked in vain.
	unanswered time.Time
}

func (t *tenures) get(name types.NamespacedName) (tenure, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of, ok := t.byName[name]
	return of, ok
}

// count is how many there are.
func (t *tenures) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byName)
}

// put begins a tenure or changes it, and withdraws what is announced no longer.
func (t *tenures) put(name types.NamespacedName, next tenure, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.byName[name].announced
	t.byName[name] = next
	return errors.Join(t.withdraw(before), t.extend(next, now))
}

// end ends a tenure, if there is one. If the kernel cannot be told, the answers end by themselves.
func (t *tenures) end(name types.NamespacedName) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, there := t.byName[name]
	if !there {
		return nil
	}
	delete(t.byName, name)
	return t.withdraw(before.announced)
}

// withdraw ends the answers that no tenure gives any more: Services may share an external address.
func (t *tenures) withdraw(list []dp.Announcement) error {
	gone := slices.DeleteFunc(slices.Clone(list), func(a dp.Announcement) bool {
		for _, of := range t.byName {
			if slices.Contains(of.announced, a) {
				return true
			}
		}
		return false
	})
	if len(gone) == 0 {
		return nil
	}
	return t.datapath.Withdraw(gone)
}

// extend makes the kernel answer, with or without the agent, until others may hold the Lease. While the API server is gone
// nobody can, so that the node goes on.
func (t *tenures) extend(of tenure, now time.Time) error {
	since := of.renewed
	if now.Sub(t.unanswered) < patience {
		since = now
	}
	long := since.Add(leaseDuration - margin).Sub(now)
	if long <= 0 {
		return nil
	}
	return t.datapath.Announce(of.announced, long)
}

// beat extends them all.
func (t *tenures) beat(now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, of := range t.byName {
		errs = append(errs, t.extend(of, now))
	}
	return errors.Join(errs...)
}

// failed records that the API server did not answer.
func (t *tenures) failed(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unanswered = now
}

func compare(a, b dp.Announcement) int {
	return cmp.Or(a.Addr.Compare(b.Addr), strings.Compare(a.Device, b.Device))
}
