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
	maps.Copy(all, leaseWrites())
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
		"updates the status of an endpoint of its node": {write: func(ctx context.Context, c client.Client, w world) error {
			w.own.Status.EndpointID = 7
			return c.Status().Update(ctx, w.own)
		}},
		"applies the status of an endpoint of another node": {write: func(ctx context.Context, c client.Client, w world) error {
			return c.Status().Apply(ctx, endpointStatus(w.other.Name, ready()), owner, client.ForceOwnership)
		}, wantDenied: foreignEndpoint},
		"leaves the operator's verdict out": {write: func(ctx context.Context, c client.Client, w world) error {
			return c.Status().Apply(ctx, endpointStatus(w.own.Name, ready()), owner, client.ForceOwnership)
		}, wantDenied: verdict},
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

// leaseWrites are those to Leases, which the API server has of its own.
func leaseWrites() map[string]writeCase {
	const (
		holder  = "the holder of a Lease"
		others  = "no Leases but those of announced Services"
		deletes = "the operator's to delete"
	)
	return map[string]writeCase{
		"creates the Lease of a Service for itself": {write: func(ctx context.Context, c client.Client, _ world) error {
			return c.Create(ctx, lease("cilium-l2announce-default-new", "n1"), client.DryRunAll)
		}},
		"creates the Lease of a Service for another node": {write: func(ctx context.Context, c client.Client, _ world) error {
			return c.Create(ctx, lease("cilium-l2announce-default-new", "n2"), client.DryRunAll)
		}, wantDenied: holder},
		"creates the Lease of a Service for nobody": {write: func(ctx context.Context, c client.Client, _ world) error {
			return c.Create(ctx, lease("cilium-l2announce-default-new", ""), client.DryRunAll)
		}, wantDenied: holder},
		"creates the operator's Lease": {write: func(ctx context.Context, c client.Client, _ world) error {
			return c.Create(ctx, lease("cilium-operator", "n1"), client.DryRunAll)
		}, wantDenied: others},
		"creates a Lease in another namespace": {write: func(ctx context.Context, c client.Client, _ world) error {
			l := lease("cilium-l2announce-default-new", "n1")
			l.Namespace = namespace
			return c.Create(ctx, l, client.DryRunAll)
		}, wantDenied: others},
		"renews its Lease": {write: func(ctx context.Context, c client.Client, w world) error {
			w.ownLease.Spec.RenewTime = new(metav1.NowMicro())
			return c.Update(ctx, w.ownLease)
		}},
		"leaves its Lease to others": {write: func(ctx context.Context, c client.Client, w world) error {
			w.ownLease.Spec.HolderIdentity = nil
			return c.Update(ctx, w.ownLease)
		}},
		"follows the holder of a Lease": {write: func(ctx context.Context, c client.Client, w world) error {
			w.otherLease.Spec.HolderIdentity = new("n1")
			return c.Update(ctx, w.otherLease)
		}},
		"gives its Lease to another node": {write: func(ctx context.Context, c client.Client, w world) error {
			w.ownLease.Spec.HolderIdentity = new("n2")
			return c.Update(ctx, w.ownLease)
		}, wantDenied: holder},
		"renews another node's Lease": {write: func(ctx context.Context, c client.Client, w world) error {
			w.otherLease.Spec.RenewTime = new(metav1.NowMicro())
			return c.Update(ctx, w.otherLease)
		}, wantDenied: holder},
		"takes the Lease from another node for nobody": {write: func(ctx context.Context, c client.Client, w world) error {
			w.otherLease.Spec.HolderIdentity = nil
			return c.Update(ctx, w.otherLease)
		}, wantDenied: holder},
		"deletes its Lease": {write: func(ctx context.Context, c client.Client, w world) error {
			return c.Delete(ctx, w.ownLease)
		}, wantDenied: deletes},
	}
}
