// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
	"github.com/ciliate-io/ciliate/internal/service"
)

// ForgetBackends ends the UDP conversations that packets have with backends that are gone: a client that goes on asking
// is led to another one, where its question would else keep the way to the old one alive. TCP notices by itself.
func (m *Maps) ForgetBackends(gone []service.Backend) error {
	ends := map[bpfgen.Peer]bool{}
	for _, b := range gone {
		if b.Protocol == service.UDP {
			ends[peer(b.Addr)] = true
		}
	}
	if len(ends) == 0 {
		return nil
	}
	var over []bpfgen.Tuple
	err := each(m.conntrackOther, func(from []bpfgen.Tuple, connections []bpfgen.Connection) {
		for i, c := range connections {
			asked := bpfgen.Peer{Addr: from[i].Daddr, Port: from[i].Dport}
			to := bpfgen.Peer{Addr: c.Becomes.Daddr, Port: c.Becomes.Dport}
			if c.Becomes.Protocol == uint8(service.UDP) && to != asked && ends[to] {
				over = append(over, from[i], reversed(c.Becomes))
			}
		}
	})
	if err != nil {
		return err
	}
	return drop(m.conntrackOther, over)
}

// reversed is the tuple of the answer.
func reversed(t bpfgen.Tuple) bpfgen.Tuple {
	t.Saddr, t.Daddr = t.Daddr, t.Saddr
	t.Sport, t.Dport = t.Dport, t.Sport
	return t
}
