// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

// check compares what ADD said (prevResult) with the pod's object, and the object with the device on the node. It stays
// out of the sandbox: what is inside is the agent's to know and to repair, and its word is the object.
func (p *plugin) check(args *skel.CmdArgs) error {
	conf, err := parseConf(args.StdinData)
	if err != nil {
		return err
	}
	pod, err := parseArgs(args.Args)
	if err != nil {
		return err
	}
	said, err := previousResult(conf)
	if err != nil {
		return err
	}
	client, err := p.newClient(conf.Kubeconfig)
	if err != nil {
		return tryAgain("the agent has not prepared the way to the apiserver", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.timing.check)
	defer cancel()
	want := newEndpoint(conf, pod, args)
	have, err := client.getRetrying(ctx, want)
	if isNotFound(err) {
		return types.NewError(types.ErrUnknownContainer, want.String()+" does not exist", "")
	}
	if err != nil {
		return client.refusal(err)
	}
	if err := errors.Join(compareSpec(want, have), compareResult(said, have), p.compareLink(have)); err != nil {
		return types.NewError(types.ErrInternal, have.String()+" is not what ADD said",
			strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

func previousResult(conf *netConf) (*types100.Result, error) {
	if len(conf.PrevResult) == 0 || string(conf.PrevResult) == "null" {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "network configuration: prevResult is missing", "")
	}
	said, err := version.NewResult(conf.CNIVersion, conf.PrevResult)
	if err != nil {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "parse prevResult", err.Error())
	}
	result, err := types100.GetResult(said)
	if err != nil {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "convert prevResult", err.Error())
	}
	return result, nil
}

func compareSpec(want, have *endpoint) error {
	switch {
	case have.Spec != want.Spec:
		return errors.New("it belongs to another sandbox: " + have.describe())
	case !have.served():
		return errors.New("it is not Ready: " + have.progress())
	}
	return nil
}

// compareResult looks only at the interface of this attachment: a chained plugin may have added others.
func compareResult(said *types100.Result, have *endpoint) error {
	if have.Status.Interface == nil {
		return errors.New("it has no interface")
	}
	index := slices.IndexFunc(said.Interfaces, func(i *types100.Interface) bool {
		return i.Name == have.Spec.IfName && i.Sandbox == have.Spec.Netns
	})
	if index < 0 {
		return fmt.Errorf("prevResult has no interface %s in %s", have.Spec.IfName, have.Spec.Netns)
	}
	if mac := said.Interfaces[index].Mac; !sameMAC(mac, have.Status.Interface.MAC) {
		return fmt.Errorf("hardware address: ADD said %s, now %s", mac, have.Status.Interface.MAC)
	}
	before, now := saidAddresses(said, index), haveAddresses(have)
	if !slices.Equal(before, now) {
		return fmt.Errorf("addresses: ADD said %v, now %v", before, now)
	}
	return nil
}

func saidAddresses(said *types100.Result, index int) []string {
	var ips []string
	for _, ip := range said.IPs {
		if ip.Interface != nil && *ip.Interface == index {
			ips = append(ips, ip.Address.IP.String())
		}
	}
	slices.Sort(ips)
	return ips
}

func haveAddresses(have *endpoint) []string {
	var ips []string
	for _, a := range have.Status.Addresses {
		// As a parser writes it, because one address has many spellings.
		if ip, err := netip.ParseAddr(a.IP); err == nil {
			ips = append(ips, ip.String())
		}
	}
	slices.Sort(ips)
	return ips
}

// compareLink asks the kernel for the device on the node that the object names.
func (p *plugin) compareLink(have *endpoint) error {
	want := have.Status.Interface
	if want == nil {
		return nil // compareResult has said so
	}
	link, err := p.link(want.HostName)
	switch {
	case err != nil:
		return fmt.Errorf("find device %s on the node: %w", want.HostName, err)
	case link.Index != want.HostIndex || !sameMAC(link.HardwareAddr.String(), want.HostMAC):
		return fmt.Errorf("device %s is another: index %d and %s, not %d and %s",
			want.HostName, link.Index, link.HardwareAddr, want.HostIndex, want.HostMAC)
	case link.Flags&net.FlagUp == 0:
		return fmt.Errorf("device %s is down", want.HostName)
	}
	return nil
}

func sameMAC(a, b string) bool {
	x, errX := net.ParseMAC(a)
	y, errY := net.ParseMAC(b)
	return errX == nil && errY == nil && slices.Equal(x, y)
}
