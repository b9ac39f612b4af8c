// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package kernel

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// TestTurns has many come at once, again and again: all get their turn, and nobody works beside what takes long.
func TestTurns(t *testing.T) {
	const rounds, endpoints, deeds = 2000, 2 * maxTurns, 3
	turns := newTurns()
	var working, long atomic.Int32
	work := func() error {
		if err := turns.take(t.Context()); err != nil {
			return err
		}
		defer turns.end()
		defer working.Add(-1)
		if n := working.Add(1); n > maxTurns || long.Load() != 0 {
			return fmt.Errorf("%d endpoints are worked on, and %d deeds are done that take long", n, long.Load())
		}
		runtime.Gosched()
		return nil
	}
	last := func() error {
		if err := turns.takeLong(t.Context()); err != nil {
			return err
		}
		defer turns.endLong()
		defer long.Add(-1)
		if n := long.Add(1); n > 1 || working.Load() != 0 {
			return fmt.Errorf("%d deeds are done that take long, and %d endpoints are worked on", n, working.Load())
		}
		runtime.Gosched()
		return nil
	}
	for range rounds {
		var all sync.WaitGroup
		for _, deed := range append(slices.Repeat([]func() error{work}, endpoints), slices.Repeat([]func() error{last}, deeds)...) {
			all.Go(func() {
				if err := deed(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
}

func TestTurnsEndWithTheirContext(t *testing.T) {
	tests := map[string]struct {
		taken int
		take  func(*turns, context.Context) error
	}{
		"a fifth endpoint":         {taken: maxTurns, take: (*turns).take},
		"what waits for endpoints": {taken: 1, take: (*turns).takeLong},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			turns := newTurns()
			for range tt.taken {
				if err := turns.take(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			over, cancel := context.WithCancel(t.Context())
			cancel()
			if err := tt.take(turns, over); !errors.Is(err, context.Canceled) {
				t.Errorf("error = %v, want %v", err, context.Canceled)
			}
			for range tt.taken {
				turns.end()
			}
			if err := turns.takeLong(t.Context()); err != nil {
				t.Errorf("after the last turn: %v", err)
			}
		})
	}
}
