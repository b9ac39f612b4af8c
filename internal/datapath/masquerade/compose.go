// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package masquerade

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

const (
	register   = 1
	ifNameSize = 16 // IFNAMSIZ
)

// family is what differs between IPv4 and IPv6 in a rule.
type family struct {
	proto        byte
	size         int
	source, dest uint32
	addressType  nftables.SetDatatype
	setName      string
}

func familyOf(addr netip.Addr) family {
	if addr.Is4() {
		return family{unix.NFPROTO_IPV4, 4, 12, 16, nftables.TypeIPAddr, "nodes4"}
	}
	return family{unix.NFPROTO_IPV6, 16, 8, 24, nftables.TypeIP6Addr, "nodes6"}
}

func bothFamilies() []family {
	return []family{familyOf(netip.IPv4Unspecified()), familyOf(netip.IPv6Unspecified())}
}

// compose writes the table down: first who goes as he is, then who gets which address.
func compose(cfg Config) ruleset {
	hook, priority := nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource
	r := ruleset{table: table()}
	r.chain = &nftables.Chain{
		Name: chainName, Table: r.table, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: priority,
	}
	for _, prefix := range cfg.Stay {
		f := familyOf(prefix.Addr())
		r.add(fmt.Sprintf("to %s unchanged", prefix), within(f, f.dest, prefix), verdict(expr.VerdictReturn))
	}
	for _, f := range bothFamilies() {
		set := r.addNodes(f, cfg.Nodes)
		r.add("to a node unchanged", isFamily(f), load(f, f.dest),
			[]expr.Any{&expr.Lookup{SourceRegister: register, SetName: set.Name}},
			verdict(expr.VerdictReturn))
	}
	for _, prefix := range cfg.Pods {
		r.addPods(prefix, cfg.Sources)
	}
	return r
}

// addPods gives one range of pods its addresses.
func (r *ruleset) addPods(pods netip.Prefix, sources []Source) {
	f := familyOf(pods.Addr())
	for _, source := range sources {
		if source.Addr.Is4() != pods.Addr().Is4() {
			continue
		}
		r.add(fmt.Sprintf("from %s by %s as %s", pods, source.Device, source.Addr),
			within(f, f.source, pods), leavesBy(source.Device), become(f, source.Addr))
	}
	r.add(fmt.Sprintf("from %s by others", pods), within(f, f.source, pods), masquerade())
}

// addNodes adds the set of the addresses of one family.
func (r *ruleset) addNodes(f family, nodes []netip.Addr) *nftables.Set {
	set := &nftables.Set{Table: r.table, Name: f.setName, KeyType: f.addressType, ID: uint32(len(r.nodes) + 1)}
	var elements []nftables.SetElement
	for _, node := range nodes {
		if familyOf(node).proto == f.proto {
			elements = append(elements, nftables.SetElement{Key: node.AsSlice()})
		}
	}
	r.nodes = append(r.nodes, nodeSet{set: set, elements: elements})
	return set
}

// add appends a rule; the comment is what `nft list table inet ciliate` shows beside it.
func (r *ruleset) add(comment string, parts ...[]expr.Any) {
	r.rules = append(r.rules, &nftables.Rule{
		Table:    r.table,
		Chain:    r.chain,
		Exprs:    slices.Concat(parts...),
		UserData: userdata.AppendString(nil, userdata.TypeComment, comment),
	})
}

func isFamily(f family) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register}, equals([]byte{f.proto})}
}

// load reads the address that stands at an offset of the network header.
func load(f family, offset uint32) []expr.Any {
	return []expr.Any{&expr.Payload{
		DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(f.size),
	}}
}

// within matches packets whose address at an offset lies in a range.
func within(f family, offset uint32, prefix netip.Prefix) []expr.Any {
	mask := &expr.Bitwise{
		SourceRegister: register, DestRegister: register, Len: uint32(f.size),
		Mask: net.CIDRMask(prefix.Bits(), f.size*8), Xor: make([]byte, f.size),
	}
	return slices.Concat(isFamily(f), load(f, offset),
		[]expr.Any{mask, equals(prefix.Masked().Addr().AsSlice())})
}

func leavesBy(device string) []expr.Any {
	name := make([]byte, ifNameSize)
	copy(name, device)
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: register}, equals(name)}
}

// become translates to one address. Ports are drawn at random, else two connections at one moment may choose the same
// and the second loses its packet.
func become(f family, addr netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: register, Data: addr.AsSlice()},
		&expr.NAT{
			Type: expr.NATTypeSourceNAT, Family: uint32(f.proto), RegAddrMin: register, RegAddrMax: register,
			FullyRandom: true,
		},
	}
}

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{FullyRandom: true}} }

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

func equals(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data}
}
