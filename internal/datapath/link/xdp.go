// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What the kernel's netlink family of this name says about devices (linux/netdev.h).
const (
	netdevFamily       = "netdev"
	netdevVersion      = 1
	netdevGet          = 1
	netdevIfindex      = 1
	netdevXDPFeatures  = 3
	xdpFeatureTransmit = 4
)

// SendsFrames reports whether a device sends what an XDP program leads to it. A veth does so only while its peer has an XDP
// program too, or generic receive offload, and loses it silently otherwise. Kernels before 6.3 do not tell: there every
// driver that runs programs is believed to, but that of veth.
func (l *Links) SendsFrames(index int) (bool, error) {
	features, err := l.xdpFeatures(index)
	if errors.Is(err, unix.ENOENT) {
		device, err := l.nl.LinkByIndex(index)
		if err != nil {
			return false, fmt.Errorf("look at device %d: %w", index, err)
		}
		return device.Type() != veth, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for the XDP features of device %d: %w", index, err)
	}
	return features&xdpFeatureTransmit != 0, nil
}

// xdpFeatures asks the kernel; ENOENT means that it does not know the question.
func (l *Links) xdpFeatures(index int) (uint64, error) {
	family, err := netlink.GenlFamilyGet(netdevFamily)
	if err != nil {
		return 0, err
	}
	request := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_REQUEST)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_GENERIC: l.generic}
	// The library sends two bytes more than its header has; the kernel wants them to be zero.
	header := struct {
		nl.Genlmsg
		reserved uint16
	}{Genlmsg: nl.Genlmsg{Command: netdevGet, Version: netdevVersion}}
	request.AddData(&header.Genlmsg)
	request.AddData(nl.NewRtAttr(netdevIfindex, nl.Uint32Attr(uint32(index))))
	answers, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return 0, err
	}
	for _, answer := range answers {
		attributes, err := nl.ParseRouteAttr(answer[nl.SizeofGenlmsg:])
		if err != nil {
			return 0, err
		}
		for _, a := range attributes {
			if a.Attr.Type == netdevXDPFeatures {
				return nl.NativeEndian().Uint64(a.Value), nil
			}
		}
	}
	return 0, nil
}
