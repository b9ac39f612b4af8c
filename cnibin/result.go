// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// podInterface is the place of the pod's interface in the result's list, after the node's.
const podInterface int = 1

// printResult tells the runtime what the agent has made, in the version of CNI that was asked for.
func (p *plugin) printResult(ep *endpoint, cniVersion string) error {
	result, err := newResult(ep)
	if err != nil {
		return types.NewError(types.ErrInternal, ep.String()+" is Ready but not usable", err.Error())
	}
	converted, err := result.GetAsVersion(cniVersion)
	if err != nil {
		return types.NewError(types.ErrIncompatibleCNIVersion, "convert the result to version "+cniVersion, err.Error())
	}
	if err := converted.PrintTo(p.stdout); err != nil {
		return types.NewError(types.ErrIOFailure, "print the result", err.Error())
	}
	return nil
}

// newResult is the status of an endpoint in the words of CNI.
func newResult(ep *endpoint) (*types100.Result, error) {
	dev := ep.Status.Interface
	if dev == nil || len(ep.Status.Addresses) == 0 {
		return nil, errors.New("it has no interface or no address")
	}
	result := &types100.Result{
		CNIVersion: types100.ImplementedSpecVersion,
		Interfaces: []*types100.Interface{
			{Name: dev.HostName, Mac: dev.HostMAC, Mtu: dev.MTUBytes},
			{Name: ep.Spec.IfName, Mac: dev.MAC, Mtu: dev.MTUBytes, Sandbox: ep.Spec.Netns},
		},
	}
	for _, a := range ep.Status.Addresses {
		ip, err := netip.ParseAddr(a.IP)
		if err != nil {
			return nil, fmt.Errorf("parse address: %w", err)
		}
		gateway, err := netip.ParseAddr(a.Gateway)
		if err != nil {
			return nil, fmt.Errorf("parse gateway: %w", err)
		}
		result.IPs = append(result.IPs, &types100.IPConfig{
			Interface: new(podInterface),
			Address:   network(netip.PrefixFrom(ip, ip.BitLen())),
			Gateway:   gateway.AsSlice(),
		})
		// The default route of the address's family.
		everything := netip.PrefixFrom(ip, 0).Masked()
		result.Routes = append(result.Routes, &types.Route{Dst: network(everything), GW: gateway.AsSlice()})
	}
	return result, nil
}

func network(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
