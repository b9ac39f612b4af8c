// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// owner is what can have sets: a Service, or a pod with host ports.
type owner struct {
	pod bool
	types.NamespacedName
}

// String is the owner's name in the table.
func (o owner) String() string {
	if o.pod {
		return "pod " + o.NamespacedName.String()
	}
	return o.NamespacedName.String()
}

// dirty are the owners that changed since the last write. It is safe for concurrent use.
type dirty struct {
	mu         *sync.Mutex
	owners     map[owner]bool
	everything bool
}

func newDirty() dirty { return dirty{mu: &sync.Mutex{}, owners: map[owner]bool{}} }

func (d *dirty) add(owners ...owner) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range owners {
		d.owners[o] = true
	}
}

func (d *dirty) addAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.everything = true
}

// take returns what is dirty and forgets it.
func (d *dirty) take() (owners []owner, everything bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for o := range d.owners {
		owners = append(owners, o)
	}
	everything = d.everything
	clear(d.owners)
	d.everything = false
	return owners, everything
}
