// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tunnelTable spares the tunnel's packets connection tracking, which the kubelet's own rules turn on. To it every connection
// between pods of two nodes is two more of the node's, each of which is entered and stays for minutes, and nobody asks for
// them.
const tunnelTable = "ciliate_tunnel"

// destinationPort is where both UDP and TCP have it.
const destinationPort, portBytes = 2, 2

// EnsureUntracked exempts UDP to a port. A kernel without nftables, or without tracking in it, is left as it is.
func EnsureUntracked(port uint16) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables socket: %w", err)
	}
	if there, err := isUntracked(conn, port); there || err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Name: tunnelTable, Family: nftables.TableFamilyINet})
	conn.FlushTable(table) // of another port
	for name, hook := range map[string]*nftables.ChainHook{"in": nftables.ChainHookPrerouting, "out": nftables.ChainHookOutput} {
		chain := conn.AddChain(&nftables.Chain{
			Name: name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityRaw,
		})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: untracked(port), UserData: userData(port)})
	}
	if err := conn.Flush(); err != nil && !lacksNftables(err) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("make nft table %s: %w", tunnelTable, err)
	}
	return nil
}

// untracked is `udp dport PORT notrack`.
func untracked(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: destinationPort, Len: portBytes},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.Notrack{},
	}
}

// userData is kept with a rule and says which port it is for.
func userData(port uint16) []byte { return binary.BigEndian.AppendUint16(nil, port) }

// isUntracked reports whether both rules are there.
func isUntracked(conn *nftables.Conn, port uint16) (bool, error) {
	table, err := findTable(conn, tunnelTable)
	if table == nil || err != nil {
		return false, err
	}
	found := 0
	for _, name := range []string{"in", "out"} {
		rules, err := conn.GetRules(table, &nftables.Chain{Name: name, Table: table})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return false, fmt.Errorf("list rules of nft table %s: %w", tunnelTable, err)
		}
		if len(rules) == 1 && slices.Equal(rules[0].UserData, userData(port)) {
			found++
		}
	}
	return found == 2, nil
}

// RemoveUntracked removes the exemption if it is there.
func RemoveUntracked() error { return removeTable(tunnelTable) }
