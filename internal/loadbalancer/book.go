// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loadbalancer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ciliate-io/ciliate/internal/ipam"
)

// Verdict is what became of a request.
type Verdict int

// The verdicts.
const (
	// Satisfied: the owner has what it asks for.
	Satisfied Verdict = iota
	// NoPool: none that may serve the owner has addresses of a family.
	NoPool
	// Exhausted: those that may are empty.
	Exhausted
	// NotInPool: none that may serve the owner has an address that it asks for.
	NotInPool
	// InUse: another owner has an address that this one asks for.
	InUse
	// Invalid: what it asks for makes no sense.
	Invalid
)

// Request is what an owner asks for. Its place in the list is its rank.
type Request struct {
	// Owner never names another, Name is for people.
	Owner, Name string
	// Families are those of which it needs an address each; unless All, one of them is enough.
	Families []ipam.Family
	All      bool
	// Addrs are the addresses it wants, empty for any.
	Addrs []netip.Addr
	// Wrong says why what it asks for makes no sense; empty when it does.
	Wrong string
	// Have are the addresses that it is known to have by its status.
	Have []netip.Addr
	// Pools names those that may serve it.
	Pools []string
}

// Answer is what an owner has now.
type Answer struct {
	Addrs   []netip.Addr
	Verdict Verdict
	// Message is for people.
	Message string
}

// Usage counts a pool.
type Usage struct {
	Total, Used int64
	// Full are the families of which no address is left.
	Full []ipam.Family
}

// Result is the answer to everything.
type Result struct {
	Answers map[string]Answer
	Usage   map[string]Usage
}

// Book remembers who has which address.
type Book struct {
	holders map[netip.Addr]string
	owners  map[string]*holding
}

// holding is what an owner has.
type holding struct {
	name  string
	addrs []netip.Addr
}

// NewBook is one in which nobody has anything.
func NewBook() *Book {
	return &Book{holders: map[netip.Addr]string{}, owners: map[string]*holding{}}
}

// Settle answers all requests there are; who is not among them gives back what it had. An owner keeps what it has as long
// as that is what it asks for and a pool for it has it. All give back before any is given something new.
func (b *Book) Settle(pools []Pool, requests []Request) Result {
	b.forget(requests)
	for _, r := range requests {
		b.adopt(r)
	}
	byName := make(map[string]*Pool, len(pools))
	for i := range pools {
		byName[pools[i].Name] = &pools[i]
	}
	for _, r := range requests {
		b.revoke(r, servingPools(byName, r))
	}
	result := Result{Answers: make(map[string]Answer, len(requests)), Usage: make(map[string]Usage, len(pools))}
	for _, r := range requests {
		result.Answers[r.Owner] = b.answer(r, servingPools(byName, r))
	}
	for i := range pools {
		result.Usage[pools[i].Name] = b.usage(&pools[i])
	}
	return result
}

func servingPools(byName map[string]*Pool, r Request) []*Pool {
	var out []*Pool
	for _, name := range r.Pools {
		if p := byName[name]; p != nil {
			out = append(out, p)
		}
	}
	return out
}

// forget takes back what owners have who ask no longer.
func (b *Book) forget(requests []Request) {
	asking := make(map[string]bool, len(requests))
	for _, r := range requests {
		asking[r.Owner] = true
	}
	for owner := range b.owners {
		if !asking[owner] {
			b.take(owner, func(netip.Addr) bool { return true })
			delete(b.owners, owner)
		}
	}
}

// adopt believes the status of an owner that is not in the book. Of two that claim one address the first has it.
func (b *Book) adopt(r Request) {
	if b.owners[r.Owner] != nil {
		return
	}
	b.owners[r.Owner] = &holding{name: r.Name}
	for _, addr := range r.Have {
		if b.holders[addr] == "" {
			b.give(r.Owner, addr)
		}
	}
}

func (b *Book) give(owner string, addr netip.Addr) {
	b.holders[addr] = owner
	b.owners[owner].addrs = append(b.owners[owner].addrs, addr)
}

func (b *Book) take(owner string, gone func(netip.Addr) bool) {
	h := b.owners[owner]
	h.addrs = slices.DeleteFunc(h.addrs, func(addr netip.Addr) bool {
		if gone(addr) {
			delete(b.holders, addr)
			return true
		}
		return false
	})
}

// revoke takes back what the owner may not have, or asks for no longer. A request that makes no sense changes nothing.
func (b *Book) revoke(r Request, pools []*Pool) {
	seen := map[ipam.Family]bool{}
	b.take(r.Owner, func(addr netip.Addr) bool {
		family := ipam.FamilyOf(addr)
		twice := seen[family] && len(r.Addrs) == 0
		seen[family] = true
		switch {
		case twice, !slices.Contains(r.Families, family):
			return true
		case r.Wrong == "" && len(r.Addrs) > 0 && !slices.Contains(r.Addrs, addr):
			return true
		}
		return !slices.ContainsFunc(pools, func(p *Pool) bool { return p.contains(addr) })
	})
}

// answer gives the owner what it lacks.
func (b *Book) answer(r Request, pools []*Pool) Answer {
	var verdict Verdict
	var message string
	switch {
	case r.Wrong != "":
		verdict, message = Invalid, r.Wrong
	case len(r.Addrs) > 0:
		verdict, message = b.giveWanted(r, pools)
	default:
		verdict, message = b.giveAny(r, pools)
	}
	addrs := slices.Clone(b.owners[r.Owner].addrs)
	slices.SortFunc(addrs, netip.Addr.Compare)
	if verdict == Satisfied {
		message = join(addrs)
	}
	return Answer{Addrs: addrs, Verdict: verdict, Message: message}
}

// giveWanted gives the addresses that the owner names, and tells of the first that it cannot have.
func (b *Book) giveWanted(r Request, pools []*Pool) (verdict Verdict, message string) {
	for _, addr := range r.Addrs {
		v, m := b.giveOne(r, pools, addr)
		if v == Satisfied && b.holders[addr] == "" {
			b.give(r.Owner, addr)
		}
		if v != Satisfied && verdict == Satisfied {
			verdict, message = v, m
		}
	}
	return verdict, message
}

func (b *Book) giveOne(r Request, pools []*Pool, addr netip.Addr) (Verdict, string) {
	family := ipam.FamilyOf(addr)
	if !slices.Contains(r.Families, family) {
		return Invalid, fmt.Sprintf("the Service asks for %s and has no family %s", addr, family)
	}
	switch holder := b.holders[addr]; holder {
	case r.Owner:
		return Satisfied, ""
	case "":
	default:
		return InUse, fmt.Sprintf("%s is the address of Service %s", addr, b.owners[holder].name)
	}
	open := func(p *Pool) bool { return !p.Closed && p.contains(addr) }
	if !slices.ContainsFunc(pools, open) {
		return NotInPool, fmt.Sprintf("no pool for the Service gives %s", addr)
	}
	return Satisfied, ""
}

// giveAny gives one address of each family, the lowest that is free in the first pool that has one.
func (b *Book) giveAny(r Request, pools []*Pool) (verdict Verdict, message string) {
	var lacking []string
	for _, family := range r.Families {
		if slices.ContainsFunc(b.owners[r.Owner].addrs, func(a netip.Addr) bool { return ipam.FamilyOf(a) == family }) {
			continue
		}
		addr, v := b.free(pools, family)
		if v == Satisfied {
			b.give(r.Owner, addr)
			continue
		}
		verdict, lacking = v, append(lacking, family.String())
	}
	if len(lacking) == 0 || !r.All && len(b.owners[r.Owner].addrs) > 0 {
		return Satisfied, ""
	}
	if verdict == NoPool {
		return verdict, "no pool for the Service has addresses of " + strings.Join(lacking, " and ")
	}
	return verdict, fmt.Sprintf("every address of %s is in use in the pools for the Service", strings.Join(lacking, " and "))
}

// free finds an address, or says why there is none.
func (b *Book) free(pools []*Pool, family ipam.Family) (netip.Addr, Verdict) {
	verdict := NoPool
	for _, p := range pools {
		if p.Closed || !slices.Contains(p.families(), family) {
			continue
		}
		verdict = Exhausted
		for _, r := range p.Ranges {
			if ipam.FamilyOf(r.First) != family {
				continue
			}
			for addr := r.First; r.contains(addr); addr = addr.Next() {
				if b.holders[addr] == "" {
					return addr, Satisfied
				}
			}
		}
	}
	return netip.Addr{}, verdict
}

func (b *Book) usage(p *Pool) Usage {
	var u Usage
	left := map[ipam.Family]int64{}
	for _, r := range p.Ranges {
		n := r.count()
		u.Total = min(u.Total+n, maxCount)
		left[ipam.FamilyOf(r.First)] += min(n, maxCount-left[ipam.FamilyOf(r.First)])
	}
	for addr := range b.holders {
		if p.contains(addr) {
			u.Used++
			left[ipam.FamilyOf(addr)]--
		}
	}
	for _, family := range p.families() {
		if left[family] <= 0 {
			u.Full = append(u.Full, family)
		}
	}
	return u
}

func join(addrs []netip.Addr) string {
	var texts []string
	for _, a := range addrs {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}
