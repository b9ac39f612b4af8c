// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import "net/netip"

// arrange puts the wanted backends into slots without holes, with as few slots as can be holding another backend than
// before: who stays keeps his slot, and holes are filled from the end.
func arrange(have, want []netip.AddrPort) []netip.AddrPort {
	missing := make(map[netip.AddrPort]bool, len(want))
	for _, backend := range want {
		missing[backend] = true
	}
	slots := make([]netip.AddrPort, len(missing))
	for i := 0; i < len(slots) && i < len(have); i++ {
		if missing[have[i]] {
			slots[i] = have[i]
			delete(missing, have[i])
		}
	}
	hole := 0
	for _, backend := range want {
		if !missing[backend] {
			continue
		}
		for slots[hole].IsValid() {
			hole++
		}
		slots[hole] = backend
		delete(missing, backend)
	}
	return slots
}
