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

// add attaches a sandbox: it creates the pod's CiliumEndpoint and waits for the agent. An ADD that fails leaves the
// object as it is, because the runtime answers with a DEL, and deleting twice from two processes would only race.
func (p *plugin) add(args *skel.CmdArgs) error {
	conf, err := parseConf(args.StdinData)
	if err != nil {
		return err
	}
	pod, err := parseArgs(args.Args)
	if err != nil {
		return err
	}
	client, err := p.newClient(conf.Kubeconfig)
	if err != nil {
		return tryAgain("the agent has not prepared the way to the apiserver", err)
	}
	client.patience = p.timing.forbidden
	ctx, cancel := context.WithTimeout(context.Background(), p.timing.add)
	defer cancel()
	a := &adding{plugin: p, client: client, runDir: conf.RunDir, want: newEndpoint(conf, pod, args)}
	own, err := a.claim(ctx)
	if err != nil {
		return err
	}
	ready, err := p.waitReady(ctx, client, own)
	if err != nil {
		return err
	}
	return p.printResult(ready, conf.CNIVersion)
}

// adding is one ADD on its way to an object of its own.
type adding struct {
	*plugin
	client   *client
	runDir   string
	want     *endpoint
	replaced bool // an old sandbox of this pod was deleted; that happens once
}

// claim creates the object, or adopts what an earlier attempt of this sandbox created. Who holds the name otherwise is
// waited for or, being an old sandbox of the same pod, replaced.
func (a *adding) claim(ctx context.Context) (*endpoint, error) {
	if err := a.endEarlierLife(ctx); err != nil {
		return nil, err
	}
	for {
		// Again before each create, because replace may have written one for the same sandbox.
		if err := removeTombstone(a.runDir, a.want.attachment()); err != nil {
			return nil, types.NewError(types.ErrIOFailure, err.Error(), "")
		}
		own, err := a.create(ctx)
		if err == nil {
			return own, nil
		}
		if !isAlreadyExists(err) {
			return nil, a.client.refusal(err)
		}
		own, err = a.settle(ctx)
		if own != nil || err != nil {
			return own, err
		}
	}
}

// endEarlierLife lets the object go of a DEL of this very sandbox, whose tombstone is still there: adopted now, it would be
// deleted by the agent a moment later.
func (a *adding) endEarlierLife(ctx context.Context) error {
	if !hasTombstone(a.runDir, a.want.attachment()) {
		return nil
	}
	have, err := a.client.getRetrying(ctx, a.want)
	switch {
	case isNotFound(err):
		return nil
	case err != nil:
		return a.client.refusal(err)
	case have.attachment() != a.want.attachment():
		return nil
	}
	return a.end(ctx, have)
}

// create repeats a POST whose outcome is unknown: if it did arrive, the next one finds the object and adopts it.
func (a *adding) create(ctx context.Context) (own *endpoint, err error) {
	err = a.client.retry(ctx, func() error {
		own, err = a.client.create(ctx, a.want)
		return err
	})
	return own, err
}

// settle deals with the object that holds the name. It returns the object if it is ours, nil if the name is now free.
func (a *adding) settle(ctx context.Context) (*endpoint, error) {
	have, err := a.client.getRetrying(ctx, a.want)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, a.client.refusal(err)
	}
	switch judge(a.want, have) {
	case adopt:
		return have, nil
	case refuse:
		return nil, types.NewError(codeSecondInterface,
			fmt.Sprintf("sandbox %s already has interface %q: a second one, %q, is not supported",
				have.Spec.ContainerID, have.Spec.IfName, a.want.Spec.IfName), have.String())
	case replace:
		return nil, a.replace(ctx, have)
	default:
		return nil, a.awaitGone(ctx, have)
	}
}

// replace removes the old sandbox of the same pod on the same node: the runtime has lost it, or tells its end late.
func (a *adding) replace(ctx context.Context, old *endpoint) error {
	if a.replaced {
		return tryAgain("another sandbox took the name of the one that was replaced", errors.New(old.describe()))
	}
	a.replaced = true
	return a.end(ctx, old)
}

// end deletes the object of a sandbox that is no more, and waits until its agent has let it go.
func (a *adding) end(ctx context.Context, old *endpoint) error {
	if err := a.tombstoneOf(old).write(a.runDir); err != nil {
		return types.NewError(types.ErrIOFailure, err.Error(), "")
	}
	err := a.client.retry(ctx, func() error { return a.client.delete(ctx, old) })
	if err != nil {
		return a.client.refusal(err)
	}
	return a.awaitGone(ctx, old)
}

// awaitGone returns nil once the object is gone, and never does anything to it.
func (a *adding) awaitGone(ctx context.Context, have *endpoint) error {
	err := a.client.follow(ctx, have, func(*endpoint) (bool, error) { return false, nil })
	switch {
	case errors.Is(err, errVanished):
		return nil
	case ctx.Err() != nil:
		return tryAgain(reasonPreviousInstance+": an earlier instance of the pod still holds the name",
			errors.New(have.describe()))
	default:
		return a.client.refusal(err)
	}
}

// verdict is what to do about the object that already has the name.
type verdict int

const (
	await   verdict = iota // another node's or another pod's: wait it out, never delete it
	adopt                  // our own, from an earlier attempt
	refuse                 // the same sandbox, another interface
	replace                // an old sandbox of the same pod on this node
)

// judge compares what holds the name with what wants it. Our own object that is already being deleted is replaced
// rather than adopted: its Ready may be that of the life that is just ending.
func judge(want, have *endpoint) verdict {
	switch {
	case have.Spec.NodeName != want.Spec.NodeName || have.Spec.PodUID != want.Spec.PodUID:
		return await
	case have.Spec.ContainerID == want.Spec.ContainerID && have.Spec.IfName != want.Spec.IfName:
		return refuse
	case have.Spec == want.Spec && !have.deleting():
		return adopt
	default:
		return replace
	}
}

// describe says whose object this is.
func (e *endpoint) describe() string {
	return fmt.Sprintf("%s belongs to container %s of pod UID %s on node %s",
		e, e.Spec.ContainerID, e.Spec.PodUID, e.Spec.NodeName)
}
