// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
)

// del takes a sandbox off the network. The tombstone is what counts; deleting the object as well only makes it quick.
// An apiserver that is away or refuses is therefore a success, told on stderr.
func (p *plugin) del(args *skel.CmdArgs) error {
	conf, err := parseConfForDel(args.StdinData)
	if err != nil {
		return err
	}
	pod, argsErr := parseArgs(args.Args)
	stone := tombstone{
		ContainerID: args.ContainerID,
		IfName:      args.IfName,
		Namespace:   pod.namespace,
		Name:        pod.name,
		PodUID:      pod.uid,
		Netns:       args.Netns,
		WrittenAt:   p.now(),
	}
	stoneErr := stone.write(conf.RunDir)
	deleteErr := argsErr
	if argsErr == nil {
		deleteErr = p.deleteOwn(conf, pod, attachment{ContainerID: args.ContainerID, IfName: args.IfName})
	}
	if stoneErr != nil && deleteErr != nil {
		// Neither the node nor the API knows: the runtime has to ask again.
		return types.NewError(types.ErrIOFailure, stoneErr.Error(), deleteErr.Error())
	}
	if err := errors.Join(stoneErr, deleteErr); err != nil {
		fmt.Fprintf(p.log, "cilium-cni: DEL of %s goes on without: %v\n", args.ContainerID, err)
	}
	return nil
}

// deleteOwn deletes the pod's object if it belongs to this very attachment, in one attempt.
func (p *plugin) deleteOwn(conf *netConf, pod podRef, own attachment) error {
	ctx, cancel := context.WithTimeout(context.Background(), p.timing.del)
	defer cancel()
	client, err := p.newClient(conf.Kubeconfig)
	if err != nil {
		return err
	}
	// Should this be behind, the tombstone brings the agent to delete the object.
	have, err := client.peek(ctx, pod.namespace, pod.name)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if have.attachment() != own || have.deleting() {
		return nil
	}
	return client.delete(ctx, have)
}
