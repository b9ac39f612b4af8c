// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

const vxlanKind = "vxlan"

// Tunnel is what the VXLAN device shall be.
type Tunnel struct {
	Port uint16
	MTU  int
	MAC  net.HardwareAddr
}

// TunnelMAC is the MAC of the tunnel device of the node with this address. It differs between nodes, since VXLAN drops
// what carries the receiver's own as source; it is the same after a restart, and not left to udev.
func TunnelMAC(node netip.Addr) net.HardwareAddr {
	sum := sha256.Sum256([]byte("tunnel " + node.String()))
	return localMAC(net.HardwareAddr(sum[:6]))
}

// EnsureTunnel makes the one VXLAN device whose key and peer come from BPF, and returns its number. A new one is down:
// its programs come first.
func (l *Links) EnsureTunnel(t Tunnel) (int, error) {
	device, err := l.find(TunnelDevice)
	if err != nil {
		return 0, err
	}
	if device != nil && !isTunnel(device, t) {
		if err := l.Delete(TunnelDevice, vxlanKind); err != nil {
			return 0, err
		}
		device = nil
	}
	if device == nil {
		if device, err = l.createTunnel(t); err != nil {
			return 0, err
		}
	}
	return device.Attrs().Index, l.repairTunnel(device, t)
}

// isTunnel reports whether what cannot be changed later is right.
func isTunnel(device netlink.Link, t Tunnel) bool {
	vxlan, ok := device.(*netlink.Vxlan)
	return !ok || vxlan.FlowBased && vxlan.Port == int(t.Port)
}

func (l *Links) createTunnel(t Tunnel) (netlink.Link, error) {
	if err := l.findPortUser(t.Port); err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = TunnelDevice, t.MTU, t.MAC
	err := l.nl.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, FlowBased: true, Port: int(t.Port)})
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", TunnelDevice, portError(err, t.Port))
	}
	device, err := l.nl.LinkByName(TunnelDevice)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", TunnelDevice, err)
	}
	return device, nil
}

// findPortUser names the VXLAN device of somebody else that has our port. It is looked for even though the kernel would
// refuse ours as well: the kernel does not say whose fault it is.
func (l *Links) findPortUser(port uint16) error {
	devices, err := l.list()
	if err != nil {
		return err
	}
	for _, device := range devices {
		vxlan, ok := device.(*netlink.Vxlan)
		if ok && vxlan.Port == int(port) && vxlan.Name != TunnelDevice {
			return fmt.Errorf("device %s has UDP port %d: %w", vxlan.Name, port, datapath.ErrTunnelPortInUse)
		}
	}
	return nil
}

// portError tells apart that another one listens on the port.
func portError(err error, port uint16) error {
	if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("UDP port %d: %w (%w)", port, datapath.ErrTunnelPortInUse, err)
	}
	return err
}

// repairTunnel sets what can be changed. NOARP, because nobody answers for a pod of another node: BPF knows the way.
func (l *Links) repairTunnel(device netlink.Link, t Tunnel) error {
	if device.Type() != vxlanKind {
		return fmt.Errorf("%s is of kind %s: %w", TunnelDevice, device.Type(), datapath.ErrForeignDevice)
	}
	attrs := device.Attrs()
	if !slices.Equal(attrs.HardwareAddr, t.MAC) {
		if err := l.nl.LinkSetHardwareAddr(device, t.MAC); err != nil {
			return fmt.Errorf("set MAC of %s: %w", TunnelDevice, err)
		}
	}
	if attrs.RawFlags&unix.IFF_NOARP == 0 {
		if err := l.nl.LinkSetARPOff(device); err != nil {
			return fmt.Errorf("turn ARP of %s off: %w", TunnelDevice, err)
		}
	}
	if err := l.ensureQuiet(attrs); err != nil {
		return err
	}
	return errors.Join(
		ensureMTU(l.nl, device, t.MTU),
		l.sysctls.ensurePlain(TunnelDevice),
		l.sysctls.ensureIfThere("0", "ipv6", "conf", TunnelDevice, "disable_ipv6"))
}

// RaiseTunnel is Up; the kernel opens the port only now.
func (l *Links) RaiseTunnel(index int, port uint16) error {
	if err := l.nl.LinkSetUp(byIndex(index)); err != nil {
		return fmt.Errorf("raise %s: %w", TunnelDevice, portError(err, port))
	}
	return nil
}

// DeleteTunnel removes the tunnel device if there is one.
func (l *Links) DeleteTunnel() error { return l.Delete(TunnelDevice, vxlanKind) }
