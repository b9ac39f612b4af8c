// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package cni

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/cnibin/fake"
)

// agent stands in for the agent of a node: it writes Ready for each endpoint and releases those with a tombstone. It has
// no datapath, so what it costs an ADD is the apiserver's part alone.
type agent struct {
	client client.Client
	runDir string
}

// startAgent lets it run until the test ends.
func (c *cluster) startAgent(t testing.TB, runDir string) {
	t.Helper()
	a := &agent{client: c.client, runDir: runDir}
	events, err := c.client.Watch(t.Context(), &v1alpha1.CiliumEndpointList{})
	if err != nil {
		t.Fatalf("watch the endpoints: %v", err)
	}
	go func() {
		// The API server ends the watch of whoever is too slow, and in a burst on a busy machine that is this one.
		for err == nil {
			a.follow(t.Context(), events)
			events, err = c.client.Watch(t.Context(), &v1alpha1.CiliumEndpointList{})
		}
	}()
}

func (a *agent) follow(ctx context.Context, events watch.Interface) {
	defer events.Stop()
	for event := range events.ResultChan() {
		ep, ok := event.Object.(*v1alpha1.CiliumEndpoint)
		if ok && event.Type != watch.Deleted {
			go a.handle(ctx, ep)
		}
	}
}

// handle leaves errors to the next event of the object: there always is one that matters.
func (a *agent) handle(ctx context.Context, ep *v1alpha1.CiliumEndpoint) {
	if ep.DeletionTimestamp == nil && !meta.IsStatusConditionTrue(ep.Status.Conditions, v1alpha1.ConditionReady) {
		ep.Status = fake.Ready(*ep)
		_ = a.client.Status().Update(ctx, ep)
		return
	}
	if !a.awaitTombstone(ctx, ep) {
		return
	}
	if ep.DeletionTimestamp == nil {
		_ = a.client.Delete(ctx, ep, client.Preconditions{UID: &ep.UID})
		return
	}
	ep.Finalizers = nil
	_ = a.client.Update(ctx, ep)
}

// awaitTombstone is false when the test ended first.
func (a *agent) awaitTombstone(ctx context.Context, ep *v1alpha1.CiliumEndpoint) bool {
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !fake.Buried(a.runDir, *ep) {
		select {
		case <-look.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
