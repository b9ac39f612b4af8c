// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package ipam

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// stopwatch is a clock that moves when told.
type stopwatch struct{ at time.Time }

func (s *stopwatch) now() time.Time          { return s.at }
func (s *stopwatch) advance(d time.Duration) { s.at = s.at.Add(d) }

func newAllocator(t *testing.T, ranges ...string) (*Allocator, *stopwatch) {
	t.Helper()
	clock := &stopwatch{at: time.Unix(1000, 0)}
	a := New(clock.now, rand.NewPCG(1, 2), 30*time.Second)
	a.SetPools(prefixes(ranges...), nil)
	return a, clock
}

func claim(t *testing.T, a *Allocator, owner string, family Family) netip.Addr {
	t.Helper()
	addr, err := a.Claim(owner, family)
	if err != nil {
		t.Fatalf("Claim(%s, %s): %v", owner, family, err)
	}
	return addr
}

func TestClaim(t *testing.T) {
	t.Run("the same owner gets the same address", func(t *testing.T) {
		a, _ := newAllocator(t, "10.0.0.0/24")
		if first, again := claim(t, a, "x", IPv4), claim(t, a, "x", IPv4); first != again {
			t.Errorf("got %s, then %s", first, again)
		}
	})
	t.Run("each family has its own address", func(t *testing.T) {
		a, _ := newAllocator(t, "10.0.0.0/24", "fd00::/64")
		if v4, v6 := claim(t, a, "x", IPv4), claim(t, a, "x", IPv6); !v4.Is4() || !v6.Is6() {
			t.Errorf("got %s and %s", v4, v6)
		}
	})
	t.Run("a family without a range is an error of its own", func(t *testing.T) {
		a, _ := newAllocator(t, "10.0.0.0/24")
		if _, err := a.Claim("x", IPv6); !errors.Is(err, ErrNoPool) {
			t.Errorf("err = %v, want ErrNoPool", err)
		}
	})
	t.Run("a full range is an error of its own", func(t *testing.T) {
		a, _ := newAllocator(t, "10.0.0.0/30")
		if got := claim(t, a, "x", IPv4); got != netip.MustParseAddr("10.0.0.2") {
			t.Errorf("got %s, want the only address beside the router's", got)
		}
		if _, err := a.Claim("y", IPv4); !errors.Is(err, ErrExhausted) {
			t.Errorf("err = %v, want ErrExhausted", err)
		}
	})
	t.Run("a single address is the router's", func(t *testing.T) {
		a, _ := newAllocator(t, "10.0.0.1/32")
		if _, err := a.Claim("x", IPv4); !errors.Is(err, ErrExhausted) {
			t.Errorf("err = %v, want ErrExhausted", err)
		}
	})
}

func TestEveryUsableAddressIsGivenOnce(t *testing.T) {
	a, _ := newAllocator(t, "10.0.0.0/24", "10.0.1.0/28")
	a.SetPools(prefixes("10.0.0.0/24", "10.0.1.0/28"), []netip.Addr{netip.MustParseAddr("10.0.0.77")})
	seen := map[netip.Addr]bool{}
	for i := range 253 - 1 + 14 {
		addr := claim(t, a, fmt.Sprint(i), IPv4)
		if seen[addr] {
			t.Fatalf("%s was given twice", addr)
		}
		seen[addr] = true
	}
	for _, never := range []string{"10.0.0.0", "10.0.0.1", "10.0.0.77", "10.0.0.255", "10.0.1.0", "10.0.1.15"} {
		if seen[netip.MustParseAddr(never)] {
			t.Errorf("%s was given", never)
		}
	}
	if _, err := a.Claim("one more", IPv4); !errors.Is(err, ErrExhausted) {
		t.Errorf("err = %v, want ErrExhausted", err)
	}
}

func TestOrderOfReuse(t *testing.T) {
	a, clock := newAllocator(t, "10.0.0.0/29") // Five addresses for pods.
	for _, o := range []string{"a", "b", "c", "d"} {
		claim(t, a, o, IPv4)
	}
	b, c := claim(t, a, "b", IPv4), claim(t, a, "c", IPv4)
	a.Cool("c")
	clock.advance(time.Second)
	a.Cool("b")
	a.Free("b")
	a.Free("c")

	claim(t, a, "e", IPv4) // The one never used.
	if got := claim(t, a, "f", IPv4); got != c {
		t.Errorf("got %s, want %s, which is free for longest though its device went last", got, c)
	}
	if got := claim(t, a, "g", IPv4); got != b {
		t.Errorf("got %s, want %s, which is cooling, but no other is left", got, b)
	}
}

func TestCoolingAddressIsNotGivenBeforeItsDeviceIsGone(t *testing.T) {
	a, clock := newAllocator(t, "10.0.0.0/30")
	claim(t, a, "a", IPv4)
	a.Cool("a")
	clock.advance(time.Hour)
	if _, err := a.Claim("b", IPv4); !errors.Is(err, ErrExhausted) {
		t.Errorf("err = %v, want ErrExhausted while the device is there", err)
	}
	a.Free("a")
	claim(t, a, "b", IPv4)
}

func TestAdopt(t *testing.T) {
	addr := netip.MustParseAddr
	tests := map[string]struct {
		owner        string
		adopt        netip.Addr
		wantConflict string
	}{
		"a free address":               {owner: "third", adopt: addr("10.0.0.9")},
		"an address outside the range": {owner: "third", adopt: addr("192.0.2.1")},
		"an address of another owner":  {owner: "third", adopt: addr("10.0.0.6"), wantConflict: "other"},
		"the router":                   {owner: "third", adopt: addr("10.0.0.1"), wantConflict: "the node"},
		"a second family":              {owner: "me", adopt: addr("fd00::1")},
		"its own address":              {owner: "me", adopt: addr("10.0.0.5")},
		"a second address of a family": {owner: "me", adopt: addr("10.0.0.7"), wantConflict: "me with address 10.0.0.5"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a, _ := newAllocator(t, "10.0.0.0/24")
			for owner, has := range map[string]string{"me": "10.0.0.5", "other": "10.0.0.6"} {
				if err := a.Adopt(owner, addr(has)); err != nil {
					t.Fatal(err)
				}
			}
			holder := ""
			var conflict *ConflictError
			if err := a.Adopt(tt.owner, tt.adopt); errors.As(err, &conflict) {
				holder = conflict.Holder
			}
			if holder != tt.wantConflict {
				t.Errorf("conflict with %q, want %q", holder, tt.wantConflict)
			}
		})
	}
}

func TestAdoptTakesAFreeAddressOutOfTheOrder(t *testing.T) {
	a, _ := newAllocator(t, "10.0.0.0/30")
	only := claim(t, a, "a", IPv4)
	a.Free("a")
	if err := a.Adopt("b", only); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Claim("c", IPv4); !errors.Is(err, ErrExhausted) {
		t.Errorf("err = %v, want ErrExhausted: the address has an owner", err)
	}
}

func TestSetPoolsKeepsOwners(t *testing.T) {
	a, _ := newAllocator(t, "10.0.0.0/24")
	old := claim(t, a, "a", IPv4)
	a.SetPools(prefixes("10.0.9.0/24"), nil)
	if got := claim(t, a, "a", IPv4); got != old {
		t.Errorf("the owner's address became %s, want %s", got, old)
	}
	if got := claim(t, a, "b", IPv4); !netip.MustParsePrefix("10.0.9.0/24").Contains(got) {
		t.Errorf("a new owner got %s, want one of the new range", got)
	}
	a.Free("a")
	a.SetPools(prefixes("10.0.0.0/24"), nil)
	want := []Usage{{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Capacity: 253}}
	if diff := cmp.Diff(want, a.Usage(), cmp.Comparer(func(x, y netip.Prefix) bool { return x == y })); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
}

func TestUsage(t *testing.T) {
	a, clock := newAllocator(t, "10.0.0.0/24", "fd00::/64")
	for _, o := range []string{"a", "b", "c", "d"} {
		claim(t, a, o, IPv4)
	}
	claim(t, a, "a", IPv6)
	a.Free("b")
	clock.advance(time.Minute)
	a.Free("c")
	a.Cool("d")
	want := []Usage{
		{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Used: 1, Cooling: 2, Capacity: 253},
		{Prefix: netip.MustParsePrefix("fd00::/64"), Used: 1, Capacity: 1<<62 - 1},
	}
	if diff := cmp.Diff(want, a.Usage(), cmp.Comparer(func(x, y netip.Prefix) bool { return x == y })); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
}

func TestMemoryIsBoundedInAHugeRange(t *testing.T) {
	a, clock := newAllocator(t, "fd00::/64")
	for i := range 3 * remembered {
		owner := fmt.Sprint(i)
		claim(t, a, owner, IPv6)
		a.Free(owner)
		clock.advance(time.Second)
	}
	if got := len(a.leases); got != remembered {
		t.Errorf("%d addresses are remembered, want %d", got, remembered)
	}
	if got := a.pools[0].known; got != remembered+1 {
		t.Errorf("%d addresses are counted, want %d and the router's", got, remembered)
	}
}

// TestNeverTwoOwners does random things for long and compares with a plain model after each.
func TestNeverTwoOwners(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 9))
	a, clock := newAllocator(t, "10.0.0.0/27", "10.0.1.0/28")
	model := map[string]netip.Addr{}
	for step := range 20000 {
		owner := fmt.Sprint(rnd.IntN(50))
		switch rnd.IntN(6) {
		case 0, 1:
			if addr, err := a.Claim(owner, IPv4); err == nil {
				model[owner] = addr
			} else if len(model) < 43 {
				t.Fatalf("step %d: %d owners and no address: %v", step, len(model), err)
			}
		case 2:
			addr := netip.AddrFrom4([4]byte{10, 0, byte(rnd.IntN(2)), byte(rnd.IntN(40))})
			if a.Adopt(owner, addr) == nil {
				model[owner] = addr
			}
		case 3:
			a.Cool(owner)
		case 4:
			a.Free(owner)
			delete(model, owner)
		case 5:
			clock.advance(time.Duration(rnd.IntN(20)) * time.Second)
			if rnd.IntN(10) == 0 {
				a.SetPools(prefixes("10.0.0.0/27", "10.0.1.0/28"), nil)
			}
		}
		holders := map[netip.Addr]string{}
		for o, addr := range model {
			if other, twice := holders[addr]; twice {
				t.Fatalf("step %d: %s has two owners, %s and %s", step, addr, o, other)
			}
			holders[addr] = o
		}
	}
}

func BenchmarkClaim(b *testing.B) {
	for _, r := range []string{"10.0.0.0/16", "fd00::/64"} {
		b.Run(r, func(b *testing.B) {
			a := New(time.Now, rand.NewPCG(1, 2), 30*time.Second)
			p := netip.MustParsePrefix(r)
			a.SetPools([]netip.Prefix{p}, nil)
			for i := range b.N {
				owner := fmt.Sprint(i)
				if _, err := a.Claim(owner, FamilyOf(p.Addr())); err != nil {
					b.Fatal(err)
				}
				if i >= 200 {
					a.Free(fmt.Sprint(i - 200))
				}
			}
		})
	}
}
