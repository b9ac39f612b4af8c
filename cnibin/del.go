// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"fmt"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
)

// del takes a sandbox off the network: it leaves a tombstone, by which the agent undoes the endpoint and deletes its
// object. The apiserver is not asked: whether it is there or not, the sandbox is gone.
func (p *plugin) del(args *skel.CmdArgs) error {
	conf, err := parseConfForDel(args.StdinData)
	if err != nil {
		return err
	}
	pod, err := parseArgs(args.Args)
	if err != nil {
		pod = podRef{} // the agent finds the endpoint by its container
		fmt.Fprintf(p.log, "cilium-cni: DEL of %s goes on without the pod's name: %v\n", args.ContainerID, err)
	}
	stone := tombstone{
		ContainerID: args.ContainerID,
		IfName:      args.IfName,
		Namespace:   pod.namespace,
		Name:        pod.name,
		PodUID:      pod.uid,
		Netns:       args.Netns,
		WrittenAt:   p.now(),
	}
	if err := stone.write(conf.RunDir); err != nil {
		return types.NewError(types.ErrIOFailure, err.Error(), "")
	}
	return nil
}
