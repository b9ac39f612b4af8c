// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// dirty are the Services that changed since the last write. It is safe for concurrent use.
type dirty struct {
	mu         *sync.Mutex
	names      map[types.NamespacedName]bool
	everything bool
}

func newDirty() dirty { return dirty{mu: &sync.Mutex{}, names: map[types.NamespacedName]bool{}} }

func (d *dirty) add(names ...types.NamespacedName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range names {
		d.names[name] = true
	}
}

func (d *dirty) addAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.everything = true
}

// take returns what is dirty and forgets it.
func (d *dirty) take() (names []types.NamespacedName, everything bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.names {
		names = append(names, name)
	}
	everything = d.everything
	clear(d.names)
	d.everything = false
	return names, everything
}
