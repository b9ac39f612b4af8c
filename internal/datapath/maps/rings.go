// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/ciliate-io/ciliate/internal/service"
)

// ringsAtOnce is how many Maglev tables are replaced at the same time: for each the kernel waits until no program uses the
// old one any more, and it does so for all of them together.
const ringsAtOnce = 16

// maglevTable is struct maglev_table of bpf/lib/types.h. The compiler keeps no description of what is only in a map that is
// in a map; should the two differ, the kernel refuses the inner map.
type maglevTable struct {
	Sum   uint64
	Slots [service.TableSize]uint16
	_     [6]byte
}

// rings reads of which rings the Maglev tables are made.
func (m *Maps) rings() (map[uint32]uint64, error) {
	numbers, err := dump[uint32, uint32](m.maglev)
	if err != nil {
		return nil, err
	}
	sums := make(map[uint32]uint64, len(numbers))
	table := new(maglevTable)
	for id, inner := range numbers {
		err := readRing(ebpf.MapID(inner), table)
		if errors.Is(err, os.ErrNotExist) {
			continue // it was replaced meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read the Maglev table of number %d: %w", id, err)
		}
		sums[id] = table.Sum
	}
	return sums, nil
}

func readRing(inner ebpf.MapID, out *maglevTable) error {
	m, err := ebpf.NewMapFromID(inner)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Lookup(uint32(0), out)
}

// putRings computes Maglev tables and puts each in the place of the old one as a whole.
func (m *Maps) putRings(rings map[uint32]service.Ring) error {
	return atOnce(slices.Collect(maps.Keys(rings)), func(id uint32) error {
		if err := m.putRing(id, rings[id]); err != nil {
			return fmt.Errorf("write the Maglev table of number %d: %w", id, err)
		}
		return nil
	})
}

func (m *Maps) putRing(id uint32, ring service.Ring) error {
	table := &maglevTable{Sum: ring.Sum(), Slots: [service.TableSize]uint16(ring.Table())}
	inner, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "maglev_table", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(binary.Size(table)), MaxEntries: 1,
	})
	if err != nil {
		return err
	}
	defer inner.Close() // the outer map has it
	if err := inner.Put(uint32(0), table); err != nil {
		return err
	}
	return m.maglev.Put(id, inner)
}

// dropRings deletes Maglev tables.
func (m *Maps) dropRings(ids []uint32) error {
	return atOnce(ids, func(id uint32) error { return drop(m.maglev, []uint32{id}) })
}

// atOnce does the deed for each number, some at the same time, and returns one of the errors.
func atOnce(ids []uint32, deed func(id uint32) error) (err error) {
	results, places := make(chan error, len(ids)), make(chan struct{}, ringsAtOnce)
	for _, id := range ids {
		places <- struct{}{}
		go func() {
			results <- deed(id)
			<-places
		}()
	}
	for range ids {
		err = cmp.Or(<-results, err)
	}
	return err
}
