// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
)

// gc deletes the endpoints of this node whose sandbox the runtime no longer knows. As the specification asks, it goes on
// after a failure and reports all of them at the end.
func (p *plugin) gc(args *skel.CmdArgs) error {
	conf, err := parseConf(args.StdinData)
	if err != nil {
		return err
	}
	if conf.ValidAttachments == nil {
		// Read as an empty set, it would cost every pod of the node its network.
		return invalidConf("cni.dev/valid-attachments", "must list every attachment to keep", "")
	}
	client, err := p.newClient(conf.Kubeconfig)
	if err != nil {
		return tryAgain("the agent has not prepared the way to the apiserver", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.timing.gc)
	defer cancel()
	var have []endpoint
	err = client.retry(ctx, func() error {
		have, err = client.listNode(ctx, conf.NodeName)
		return err
	})
	if err != nil {
		return client.refusal(err)
	}
	var failed []error
	for _, ep := range stale(have, *conf.ValidAttachments, conf.NodeName) {
		failed = append(failed, p.collect(ctx, client, conf.RunDir, ep))
	}
	if err := errors.Join(failed...); err != nil {
		return types.NewError(types.ErrTryAgainLater, "not every stale endpoint was deleted", err.Error())
	}
	return nil
}

// stale picks the endpoints of the node that are not in the list.
func stale(have []endpoint, valid []attachment, nodeName string) []*endpoint {
	var gone []*endpoint
	for i := range have {
		if have[i].Spec.NodeName == nodeName && !slices.Contains(valid, have[i].attachment()) {
			gone = append(gone, &have[i])
		}
	}
	return gone
}

// collect undoes one endpoint, the tombstone first: without it the agent would hold on to a sandbox that still lives.
func (p *plugin) collect(ctx context.Context, c *client, runDir string, ep *endpoint) error {
	if err := p.tombstoneOf(ep).write(runDir); err != nil {
		return err
	}
	if ep.deleting() {
		return nil
	}
	return c.retry(ctx, func() error { return c.delete(ctx, ep) })
}
