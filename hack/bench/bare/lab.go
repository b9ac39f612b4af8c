// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package bare

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/hack/bench/load"
)

// Lab is a set of namespaces that nobody but this process knows; with it they end.
type Lab struct {
	closers []func() error
	// Programs are those of the tunnel's first node, by name.
	Programs map[string]*ebpf.Program
}

// Close takes everything down.
func (l *Lab) Close() error {
	var err error
	for _, closer := range slices.Backward(l.closers) {
		err = errors.Join(err, closer())
	}
	return err
}

// machine is one namespace.
type machine struct {
	ns   netns.NsHandle
	link *netlink.Handle
}

// newMachine makes an empty namespace, forwarding as nodes do.
func (l *Lab) newMachine() (m machine, err error) {
	err = apart(func() (err error) {
		if m.ns, err = netns.New(); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		for file, value := range map[string]string{
			"ipv4/ip_forward": "1", "ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0",
			"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1",
		} {
			err = errors.Join(err, os.WriteFile("/proc/sys/net/"+file, []byte(value), 0o644))
		}
		return err
	})
	if err != nil {
		return m, err
	}
	l.closers = append(l.closers, m.ns.Close)
	if m.link, err = netlink.NewHandleAt(m.ns, unix.NETLINK_ROUTE); err != nil {
		return m, fmt.Errorf("open netlink in the namespace: %w", err)
	}
	l.closers = append(l.closers, func() error { m.link.Close(); return nil })
	_, err = m.up("lo")
	return m, err
}

// apart runs f on a thread that is thrown away.
func apart(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- f()
	}()
	return <-done
}

// up takes a device up and returns it as it is then.
func (m machine) up(name string) (netlink.Link, error) {
	device, err := m.link.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	if err := m.link.LinkSetUp(device); err != nil {
		return nil, fmt.Errorf("take %s up: %w", name, err)
	}
	return device, nil
}

// cardName is the name of the device that a machine has towards another.
const cardName = "eth0"

// veth joins two machines and returns both ends, up: here under a name, there as the card.
func (m machine) veth(name string, other machine, mtu int) (netlink.Link, netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	err := m.link.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: cardName, PeerNamespace: netlink.NsFd(other.ns), PeerMTU: uint32(mtu),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("make the pair %s, %s: %w", name, cardName, err)
	}
	here, err := m.up(name)
	if err != nil {
		return nil, nil, err
	}
	there, err := other.up(cardName)
	return here, there, err
}

// addr gives a device an address.
func (m machine) addr(device netlink.Link, p netip.Prefix) error {
	to := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if err := m.link.AddrAdd(device, to); err != nil {
		return fmt.Errorf("add address %s: %w", p, err)
	}
	return nil
}

// neighbor spares a device the asking for an address.
func (m machine) neighbor(device netlink.Link, ip netip.Addr, mac net.HardwareAddr) error {
	err := m.link.NeighSet(&netlink.Neigh{
		LinkIndex: device.Attrs().Index, IP: ip.AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT,
	})
	if err != nil {
		return fmt.Errorf("tell the neighbour %s: %w", ip, err)
	}
	return nil
}

// Pair is two namespaces joined by a veth pair, and nothing else.
func (l *Lab) Pair(mtu int) ([2]load.End, error) {
	var ends [2]load.End
	var at [2]machine
	for i := range at {
		var err error
		if at[i], err = l.newMachine(); err != nil {
			return ends, err
		}
		ends[i] = load.End{Netns: at[i].ns, Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})}
	}
	here, there, err := at[0].veth(cardName, at[1], mtu)
	if err != nil {
		return ends, err
	}
	return ends, errors.Join(
		at[0].addr(here, netip.PrefixFrom(ends[0].Addr, 24)), at[1].addr(there, netip.PrefixFrom(ends[1].Addr, 24)))
}

// Switch is two pods of one node, each behind a veth pair of its own as pods are, and between the pairs the shortest way
// that a program can take: to the other end of the other pair. What it costs nobody who has such devices can save.
func (l *Lab) Switch(mtu int) ([2]load.End, error) {
	var ends [2]load.End
	node, err := l.newMachine()
	if err != nil {
		return ends, err
	}
	var outside, inside [2]netlink.Link
	var pods [2]machine
	for i := range pods {
		if pods[i], err = l.newMachine(); err != nil {
			return ends, err
		}
		ends[i] = load.End{Netns: pods[i].ns, Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})}
		if outside[i], inside[i], err = node.veth(fmt.Sprint("pod", i), pods[i], mtu); err != nil {
			return ends, err
		}
	}
	for i, pod := range pods {
		other := 1 - i
		err := errors.Join(
			pod.addr(inside[i], netip.PrefixFrom(ends[i].Addr, 24)),
			pod.neighbor(inside[i], ends[other].Addr, inside[other].Attrs().HardwareAddr),
			l.lead(node, outside[i], outside[other]))
		if err != nil {
			return ends, err
		}
	}
	return ends, nil
}

// lead takes all that comes in by one device into the pod behind another.
func (l *Lab) lead(node machine, from, to netlink.Link) error {
	objects, err := l.load(map[string]uint32{"pod_ifindex": uint32(to.Attrs().Index)})
	if err != nil {
		return err
	}
	return apart(func() error {
		if err := netns.Set(node.ns); err != nil {
			return fmt.Errorf("enter the node: %w", err)
		}
		tcx, err := link.AttachTCX(link.TCXOptions{
			Interface: from.Attrs().Index, Program: objects.IntoPod, Attach: ebpf.AttachTCXIngress,
		})
		if err != nil {
			return fmt.Errorf("attach to %s: %w", from.Attrs().Name, err)
		}
		l.closers = append(l.closers, tcx.Close)
		return nil
	})
}

// load makes programs for one node.
func (l *Lab) load(variables map[string]uint32) (*bareObjects, error) {
	spec, err := loadBare()
	if err != nil {
		return nil, fmt.Errorf("read the programs: %w", err)
	}
	for name, value := range variables {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	objects := &bareObjects{}
	if err := spec.LoadAndAssign(objects, nil); err != nil {
		return nil, fmt.Errorf("load the programs: %w", err)
	}
	l.closers = append(l.closers, objects.Close)
	return objects, nil
}
