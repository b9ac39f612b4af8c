// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package admission

import (
	"context"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	ac "github.com/ciliate-io/ciliate/api/applyconfiguration/api/v1alpha1"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// agentWrites is every write that an agent of node n1 could try, and what becomes of it.
func agentWrites() map[string]writeCase {
	all := endpointWrites()
	maps.Copy(all, endpointStatusWrites())
	maps.Copy(all, nodeWrites())
	return all
}

func endpointWrites() map[string]writeCase {
	const release = `{"metadata":{"finalizers":null}}`
	return map[string]writeCase{
		"creates an endpoint of its node": {write: func(ctx context.Context, c client.Client, _ world) error {
			return c.Create(ctx, endpoint("new", "n1"), client.DryRunAll)
		}},
		"creates an endpoint of another node": {write: func(ctx context.Context, c client.Client, _ world) error {
			return c.Create(ctx, endpoint("new", "n2"), client.DryRunAll)
		}, wantDenied: foreignEndpoint},
		"applies an endpoint of another node into being": {write: func(ctx context.Context, c client.Client, _ world) error {
			spec := ac.CiliumEndpointSpec().WithNodeName("n2").WithPodUID("uid").WithContainerID("c1").
				WithNetns("/run/netns/cni-1").WithIfName("eth0")
			return c.Apply(ctx, ac.CiliumEndpoint("new", namespace).WithSpec(spec), owner)
		}, wantDenied: foreignEndpoint},
		"labels an endpoint of its node": {write: func(ctx context.Context, c client.Client, w world) error {
			return patch(ctx, c, w.own, `{"metadata":{"labels":{"a":"b"}}}`)
		}},
		"updates an endpoint of another node": {write: func(ctx context.Context, c client.Client, w world) error {
			w.other.Labels = map[string]string{"a": "b"}
			return c.Update(ctx, w.other)
		}, wantDenied: foreignEndpoint},
		"releases an endpoint of its node": {write: func(ctx context.Context, c client.Client, w world) error {
			return patch(ctx, c, w.own, release)
		}},
		"releases an endpoint of another node": {write: func(ctx context.Context, c client.Client, w world) error {
			return patch(ctx, c, w.other, release)
		}, wantDenied: foreignEndpoint},
		"deletes an endpoint of its node": {write: func(ctx context.Context, c client.Client, w world) error {
			return c.Delete(ctx, w.own, client.Preconditions{UID: &w.own.UID})
		}},
		"deletes an endpoint of another node": {write: func(ctx context.Context, c client.Client, w world) error {
			return c.Delete(ctx, w.other)
		}, wantDenied: foreignEndpoint},
		"deletes all endpoints": {write: func(ctx context.Context, c client.Client, _ world) error {
			return c.DeleteAllOf(ctx, &v1alpha1.CiliumEndpoint{}, client.InNamespace(namespace), client.DryRunAll)
		}, wantDenied: foreignEndpoint},
	}
}

func endpointStatusWrites() map[string]writeCase {
	const verdict = "the condition Untrusted is the operator's"
	return map[string]writeCase{
		"applies the status of an endpoint of its node": {write: func(ctx context.Context, c client.Client, w world) error {
			return c.Status().Apply(ctx, endpointStatus(w.own.Name, ready()), owner)
		}},
		"applies the status of an endpoint of another node": {write: func(ctx context.Context, c client.Client, w world) error {
			return c.Status().Apply(ctx, endpointStatus(w.other.Name, ready()), owner)
		}, wantDenied: foreignEndpoint},
		"updates the status of an endpoint of another node": {write: func(ctx context.Context, c client.Client, w world) error {
			w.other.Status.EndpointID = 7
			return c.Status().Update(ctx, w.other)
		}, wantDenied: foreignEndpoint},
		"takes the operator's verdict over": {write: func(ctx context.Context, c client.Client, w world) error {
			return c.Status().Apply(ctx, endpointStatus(w.own.Name, condition(v1alpha1.ConditionUntrusted, metav1.ConditionFalse)), owner, client.ForceOwnership)
		}, wantDenied: verdict},
		"wipes the operator's verdict out": {write: func(ctx context.Context, c client.Client, w world) error {
			return patchStatus(ctx, c, w.own, `{"status":{"conditions":null}}`)
		}, wantDenied: verdict},
		"wipes the whole status out": {write: func(ctx context.Context, c client.Client, w world) error {
			return patchStatus(ctx, c, w.own, `{"status":null}`)
		}, wantDenied: verdict},
	}
}

func nodeWrites() map[string]writeCase {
	const (
		verdict = "the condition PoolAssigned is the operator's"
		widen   = `{"spec":{"ipam":{"podCIDRs":["10.0.0.0/8"]}}}`
	)
	return map[string]writeCase{
		"applies the status of its CiliumNode": {write: func(ctx context.Context, c client.Client, _ world) error {
			return c.Status().Apply(ctx, nodeStatus("n1", ready()), owner)
		}},
		"applies the status of another CiliumNode": {write: func(ctx context.Context, c client.Client, _ world) error {
			return c.Status().Apply(ctx, nodeStatus("n2", ready()), owner)
		}, wantDenied: foreignNode + "n2"},
		"takes the operator's condition over": {write: func(ctx context.Context, c client.Client, _ world) error {
			return c.Status().Apply(ctx, nodeStatus("n1", condition(v1alpha1.ConditionPoolAssigned, metav1.ConditionFalse)), owner, client.ForceOwnership)
		}, wantDenied: verdict},
		"wipes the operator's condition out": {write: func(ctx context.Context, c client.Client, w world) error {
			return patchStatus(ctx, c, w.ownNode, `{"status":{"conditions":null}}`)
		}, wantDenied: verdict},
		"creates a CiliumNode for itself": {write: func(ctx context.Context, c client.Client, w world) error {
			return c.Create(ctx, node(w.ownNode.Name), client.DryRunAll)
		}, wantDenied: operatorsPart},
		"creates a CiliumNode for another node": {write: func(ctx context.Context, c client.Client, _ world) error {
			return c.Create(ctx, node("n3"), client.DryRunAll)
		}, wantDenied: foreignNode + "n3"},
		"widens its own pool": {write: func(ctx context.Context, c client.Client, w world) error {
			return patch(ctx, c, w.ownNode, widen)
		}, wantDenied: operatorsPart},
		"widens another node's pool": {write: func(ctx context.Context, c client.Client, w world) error {
			return patch(ctx, c, w.otherNode, widen)
		}, wantDenied: foreignNode + "n2"},
		"deletes its CiliumNode": {write: func(ctx context.Context, c client.Client, w world) error {
			return c.Delete(ctx, w.ownNode)
		}, wantDenied: operatorsPart},
		"deletes another CiliumNode": {write: func(ctx context.Context, c client.Client, w world) error {
			return c.Delete(ctx, w.otherNode)
		}, wantDenied: foreignNode + "n2"},
	}
}
