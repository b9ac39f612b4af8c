// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package ipam

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// The reasons why there is no address.
var (
	// ErrNoPool: the node has no range of the family.
	ErrNoPool = errors.New("the node has no range of this family")
	// ErrExhausted: everything is in use.
	ErrExhausted = errors.New("every address is in use")
)

// ConflictError says that an address cannot be given to an owner, because of who has it.
type ConflictError struct {
	Addr   netip.Addr
	Owner  string
	Holder string
}

// Error names both sides.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("address %s is held by %s, so %s cannot have it", e.Addr, e.Holder, e.Owner)
}

// remembered is how many free addresses keep their place in the order. Beyond it the oldest is forgotten, which makes it
// one of the never used again: a large range must not remember every pod of a year.
const remembered = 4096

// Allocator gives the addresses of a node's ranges to owners (the UIDs of endpoints). An address is held, cooling (its
// owner is going, but its device may still be there), free since some time, or never used as far as anyone knows. All
// methods may be called from several goroutines.
type Allocator struct {
	now      func() time.Time
	rnd      *rand.Rand
	cooldown time.Duration

	mu       sync.Mutex
	pools    []*pool
	reserved map[netip.Addr]bool
	leases   map[netip.Addr]*lease
	owners   map[string]map[Family]*lease
	free     []*lease // Longest free first.
}

// lease is what is known of one address.
type lease struct {
	addr  netip.Addr
	owner string    // Empty when free.
	since time.Time // When it was given back; zero while it is held.
}

// pool is one of the node's ranges.
type pool struct {
	prefix netip.Prefix
	first  uint64
	count  uint64
	known  uint64 // How many of its usable addresses have a lease or are reserved.
}

func (p *pool) contains(a netip.Addr) bool {
	if !p.prefix.Contains(a) {
		return false
	}
	offset := offsetOf(p.prefix, a)
	return offset >= p.first && offset-p.first < p.count
}

// New makes an allocator without ranges. The cool-down is for how long an address that was given back should rest.
func New(clock func() time.Time, source rand.Source, cooldown time.Duration) *Allocator {
	return &Allocator{
		now:      clock,
		rnd:      rand.New(source),
		cooldown: cooldown,
		reserved: map[netip.Addr]bool{},
		leases:   map[netip.Addr]*lease{},
		owners:   map[string]map[Family]*lease{},
	}
}

// SetPools says from which ranges addresses may be given from now on, and which addresses of them are not to be given;
// the router of the first range of each family never is. Whoever holds an address outside of them keeps it.
func (a *Allocator) SetPools(prefixes []netip.Prefix, reserved []netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reserved = map[netip.Addr]bool{}
	for _, r := range reserved {
		a.reserved[r] = true
	}
	a.pools = nil
	seen := map[Family]bool{}
	for _, p := range prefixes {
		first, count := usable(p)
		a.pools = append(a.pools, &pool{prefix: p.Masked(), first: first, count: count})
		if f := FamilyOf(p.Addr()); !seen[f] {
			seen[f] = true
			a.reserved[Router(p)] = true
		}
	}
	a.free = slices.DeleteFunc(a.free, func(l *lease) bool {
		gone := a.reserved[l.addr] || a.poolOf(l.addr) == nil
		if gone {
			delete(a.leases, l.addr)
		}
		return gone
	})
	a.recount()
}

func (a *Allocator) recount() {
	known := maps.Clone(a.reserved)
	for addr := range a.leases {
		known[addr] = true
	}
	for addr := range known {
		if p := a.poolOf(addr); p != nil {
			p.known++
		}
	}
}

// Claim gives the owner an address of the family, the same one each time. It prefers an address never used, then the one
// free for longest; one that is still cooling comes last, because its successor may be mistaken for it.
func (a *Allocator) Claim(owner string, family Family) (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.owners[owner][family]; l != nil {
		return l.addr, nil
	}
	found := false
	for _, p := range a.pools {
		if FamilyOf(p.prefix.Addr()) != family {
			continue
		}
		found = true
		if p.known < p.count {
			addr := a.neverUsed(p)
			a.hold(owner, &lease{addr: addr})
			return addr, nil
		}
	}
	if !found {
		return netip.Addr{}, ErrNoPool
	}
	i := slices.IndexFunc(a.free, func(l *lease) bool { return FamilyOf(l.addr) == family })
	if i < 0 {
		return netip.Addr{}, ErrExhausted
	}
	l := a.free[i]
	a.free = slices.Delete(a.free, i, i+1)
	a.hold(owner, l)
	return l.addr, nil
}

// neverUsed is the first unknown address of p from a random one on. There is one.
func (a *Allocator) neverUsed(p *pool) netip.Addr {
	for at := a.rnd.Uint64N(p.count); ; at = (at + 1) % p.count {
		addr := addrAt(p.prefix, p.first+at)
		if a.leases[addr] == nil && !a.reserved[addr] {
			return addr
		}
	}
}

// hold makes owner the owner of l, which nobody has.
func (a *Allocator) hold(owner string, l *lease) {
	l.owner, l.since = owner, time.Time{}
	if a.leases[l.addr] == nil {
		a.leases[l.addr] = l
		if p := a.poolOf(l.addr); p != nil && !a.reserved[l.addr] {
			p.known++
		}
	}
	if a.owners[owner] == nil {
		a.owners[owner] = map[Family]*lease{}
	}
	a.owners[owner][FamilyOf(l.addr)] = l
}

// Adopt records that owner has addr already, inside of the ranges or not. A ConflictError says that another owner has
// it, or that the owner has another address of that family.
func (a *Allocator) Adopt(owner string, addr netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if have := a.owners[owner][FamilyOf(addr)]; have != nil && have.addr != addr {
		return &ConflictError{Addr: addr, Owner: owner, Holder: owner + " with address " + have.addr.String()}
	}
	l := a.leases[addr]
	switch {
	case a.reserved[addr]:
		return &ConflictError{Addr: addr, Owner: owner, Holder: "the node"}
	case l == nil:
		l = &lease{addr: addr}
	case l.owner == owner:
		return nil
	case l.owner != "":
		return &ConflictError{Addr: addr, Owner: owner, Holder: l.owner}
	default:
		a.free = slices.DeleteFunc(a.free, func(f *lease) bool { return f == l })
	}
	a.hold(owner, l)
	return nil
}

// Cool starts the cool-down of the owner's addresses: the datapath no longer knows them. They stay the owner's until
// Free, because its device may still have them.
func (a *Allocator) Cool(owner string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.owners[owner] {
		if l.since.IsZero() {
			l.since = a.now()
		}
	}
}

// Free gives the owner's addresses back: its device is gone. Without Cool before it, the cool-down starts here.
func (a *Allocator) Free(owner string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.owners[owner] {
		a.giveBack(l)
	}
	delete(a.owners, owner)
}

func (a *Allocator) giveBack(l *lease) {
	if a.poolOf(l.addr) == nil || a.reserved[l.addr] {
		delete(a.leases, l.addr)
		return
	}
	l.owner = ""
	if l.since.IsZero() {
		l.since = a.now()
	}
	at := len(a.free)
	for at > 0 && a.free[at-1].since.After(l.since) {
		at--
	}
	a.free = slices.Insert(a.free, at, l)
	if oldest := a.free[0]; len(a.free) > remembered && !a.cooling(oldest) {
		a.free = slices.Delete(a.free, 0, 1)
		delete(a.leases, oldest.addr)
		a.poolOf(oldest.addr).known--
	}
}

func (a *Allocator) cooling(l *lease) bool {
	return !l.since.IsZero() && (l.owner != "" || a.now().Sub(l.since) < a.cooldown)
}

// Usage counts the addresses of one range.
type Usage struct {
	Prefix netip.Prefix
	// Used are the addresses that endpoints hold, Cooling those given back that should rest, Capacity those that pods can
	// have at all (at most 2^62).
	Used, Cooling, Capacity int64
}

// Usage counts the addresses of every range, in their order.
func (a *Allocator) Usage() []Usage {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]Usage, len(a.pools))
	at := make(map[*pool]*Usage, len(a.pools))
	for i, p := range a.pools {
		list[i] = Usage{Prefix: p.prefix, Capacity: int64(p.count)}
		at[p] = &list[i]
	}
	for addr := range a.reserved {
		if p := a.poolOf(addr); p != nil {
			at[p].Capacity--
		}
	}
	for _, l := range a.leases {
		p := a.poolOf(l.addr)
		switch {
		case p == nil:
		case a.cooling(l):
			at[p].Cooling++
		case l.owner != "":
			at[p].Used++
		}
	}
	return list
}

func (a *Allocator) poolOf(addr netip.Addr) *pool {
	for _, p := range a.pools {
		if p.contains(addr) {
			return p
		}
	}
	return nil
}
