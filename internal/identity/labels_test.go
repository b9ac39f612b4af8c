// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package identity

import (
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKeyKeepsDifferentLabelsApart(t *testing.T) {
	tests := map[string]struct{ a, b Labels }{
		"another value":                  {Labels{"k": "v"}, Labels{"k": "w"}},
		"another key":                    {Labels{"k": "v"}, Labels{"l": "v"}},
		"one label more":                 {Labels{"k": "v"}, Labels{"k": "v", "l": ""}},
		"no label and an empty one":      {Labels{}, Labels{"": ""}},
		"the border of key and value":    {Labels{"ab": "c"}, Labels{"a": "bc"}},
		"the border of two labels":       {Labels{"a": "b", "c": "d"}, Labels{"a": "b1:c1:d"}},
		"what the key itself is made of": {Labels{"1:a": "1:b"}, Labels{"1:a1:b": ""}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.a.Key() == tt.b.Key() {
				t.Errorf("%v and %v have the same key %q", tt.a, tt.b, tt.a.Key())
			}
		})
	}
}

// TestKeyIsInjective compares many small label sets, in which collisions would show.
func TestKeyIsInjective(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		b := make([]byte, rnd.IntN(4))
		for i := range b {
			b[i] = "01:=ab"[rnd.IntN(6)]
		}
		return string(b)
	}
	seen := map[string]Labels{}
	for range 50000 {
		l := Labels{}
		for range rnd.IntN(4) {
			l[word()] = word()
		}
		if other, ok := seen[l.Key()]; ok && !maps.Equal(other, l) {
			t.Fatalf("%v and %v have the same key %q", l, other, l.Key())
		}
		seen[l.Key()] = l
	}
}

func TestSorted(t *testing.T) {
	got := Labels{"k8s:b": "2", "k8s:a": "1"}.Sorted()
	if diff := cmp.Diff([]string{"k8s:a=1", "k8s:b=2"}, got); diff != "" {
		t.Errorf("sorted (-want +got):\n%s", diff)
	}
}

func TestCandidatesAreAllNumbersOnce(t *testing.T) {
	for _, key := range []string{"", "a", "b", "1:a1:b"} {
		seen := map[uint32]bool{}
		for n := range Candidates(key) {
			if n < MinAllocated || n > MaxAllocated || seen[n] {
				t.Fatalf("key %q: %d is out of range or comes twice", key, n)
			}
			seen[n] = true
		}
		if len(seen) != Allocatable {
			t.Errorf("key %q: %d candidates, want %d", key, len(seen), Allocatable)
		}
	}
}

func TestCandidatesSpread(t *testing.T) {
	first := map[uint32]bool{}
	for i := range 1000 {
		for n := range Candidates(Labels{"k8s:app": string(rune('a'+i%26)) + string(rune('a'+i/26))}.Key()) {
			first[n] = true
			break
		}
	}
	if len(first) < 950 {
		t.Errorf("1000 label sets begin at %d numbers, want nearly as many", len(first))
	}
}
