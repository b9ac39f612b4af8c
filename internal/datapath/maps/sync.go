// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// batchSize bounds the memory of one call to the kernel.
const batchSize = 4096

// diff says how to come from have to want: what to add, what to overwrite and what to delete.
func diff[K, V comparable](have, want map[K]V) (add, update map[K]V, remove []K) {
	add, update = map[K]V{}, map[K]V{}
	for k, v := range want {
		old, ok := have[k]
		switch {
		case !ok:
			add[k] = v
		case old != v:
			update[k] = v
		}
	}
	for k := range have {
		if _, ok := want[k]; !ok {
			remove = append(remove, k)
		}
	}
	return add, update, remove
}

// sync makes the map hold want and nothing else. It adds and overwrites before it deletes, so that at no moment an entry
// is missing that is in both.
func sync[K, V comparable](m *ebpf.Map, want map[K]V) error {
	have, err := dump[K, V](m)
	if err != nil {
		return err
	}
	add, update, remove := diff(have, want)
	if err := put(m, add); err != nil {
		return err
	}
	if err := put(m, update); err != nil {
		return err
	}
	return drop(m, remove)
}

// dump reads the whole map. Entries that come or go meanwhile may or may not be in it.
func dump[K, V comparable](m *ebpf.Map) (map[K]V, error) {
	out := map[K]V{}
	err := each(m, func(keys []K, values []V) {
		for i, k := range keys {
			out[k] = values[i]
		}
	})
	return out, err
}

// each hands the map's entries to visit in batches. The slices are used again for the next one.
func each[K, V any](m *ebpf.Map, visit func([]K, []V)) error {
	keys, values := make([]K, batchSize), make([]V, batchSize)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		atEnd := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !atEnd {
			return fmt.Errorf("read map %s: %w", name(m), err)
		}
		visit(keys[:n], values[:n])
		if atEnd {
			return nil
		}
	}
}

// put writes entries in batches.
func put[K comparable, V any](m *ebpf.Map, entries map[K]V) error {
	keys, values := make([]K, 0, len(entries)), make([]V, 0, len(entries))
	for k, v := range entries {
		keys, values = append(keys, k), append(values, v)
	}
	for start := 0; start < len(keys); start += batchSize {
		end := min(start+batchSize, len(keys))
		if _, err := m.BatchUpdate(keys[start:end], values[start:end], nil); err != nil {
			return fmt.Errorf("write %d entries to map %s: %w", len(keys), name(m), err)
		}
	}
	return nil
}

// drop deletes keys one by one: a batch would end at the first that is already gone.
func drop[K any](m *ebpf.Map, keys []K) error {
	for _, k := range keys {
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete from map %s: %w", name(m), err)
		}
	}
	return nil
}

// name is the map's name for error texts.
func name(m *ebpf.Map) string {
	info, err := m.Info()
	if err != nil {
		return m.String()
	}
	return info.Name
}
