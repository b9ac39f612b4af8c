// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"fmt"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

// known is the value behind every identity: the map is a set.
const known uint32 = 1

// SyncIdentities makes these the only identities that the tunnel may bring.
func (m *Maps) SyncIdentities(ids []datapath.Identity) error {
	want := make(map[uint32]uint32, len(ids))
	for _, id := range ids {
		want[uint32(id)] = known
	}
	return sync(m.identities, want)
}

// PutIdentity makes an identity known.
func (m *Maps) PutIdentity(id datapath.Identity) error {
	if err := m.identities.Put(uint32(id), known); err != nil {
		return fmt.Errorf("write identity %d: %w", id, err)
	}
	return nil
}

// DeleteIdentity makes an identity unknown; an unknown one is no error.
func (m *Maps) DeleteIdentity(id datapath.Identity) error {
	return drop(m.identities, []uint32{uint32(id)})
}
