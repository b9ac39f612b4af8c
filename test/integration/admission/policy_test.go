// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package admission

import (
	"context"
	"fmt"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// world is what each case finds: an endpoint and a CiliumNode of node n1 and of node n2, all with the operator's verdicts.
type world struct {
	own, other           *v1alpha1.CiliumEndpoint
	ownNode, otherNode   *v1alpha1.CiliumNode
	ownLease, otherLease *coordinationv1.Lease
}

type write func(ctx context.Context, c client.Client, w world) error

const (
	foreignEndpoint = "may not write an endpoint of node n2"
	foreignNode     = "may not write the CiliumNode "
	noNode          = "the token names no node"
	operatorsPart   = "everything else of it is the operator's"
)

const owner = client.FieldOwner("cilium-agent")

func TestInstall(t *testing.T) {
	c := start(t)
	t.Run("an agent of n1", func(t *testing.T) { testWrites(t, c, []string{"n1"}, agentWrites()) })
	t.Run("a token that names no node", func(t *testing.T) { testWrites(t, c, nil, namelessWrites()) })
	t.Run("a token that names two nodes", func(t *testing.T) { testWrites(t, c, []string{"n1", "n2"}, namelessWrites()) })
	t.Run("everyone else", func(t *testing.T) { testOthers(t, c) })
	t.Run("real tokens", func(t *testing.T) { testTokens(t, c) })
	t.Run("roles", func(t *testing.T) { testRoles(t, c) })
	t.Run("samples", func(t *testing.T) { testSamples(t, c) })
	t.Run("preflight", func(t *testing.T) { testPreflight(t, c) })
	t.Run("undeploy", func(t *testing.T) { testUndeploy(t, c) })
}

type writeCase struct {
	write      write
	wantDenied string // part of the message; empty means allowed
}

func testWrites(t *testing.T, c *cluster, nodes []string, cases map[string]writeCase) {
	who := serviceAccount("cilium", nodes...)
	who.Groups = append(who.Groups, wideGroup)
	agent := c.as(t, who)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := tc.write(t.Context(), agent, c.newWorld(t))
			checkDenied(t, err, tc.wantDenied)
		})
	}
}

func checkDenied(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused, but must be allowed: %v", err)
	case want != "" && err == nil:
		t.Errorf("allowed, but must be refused with %q", want)
	case want != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want)):
		t.Errorf("refused with %q, want %q", err, want)
	}
}

// newWorld makes a fresh world under names of its own; CiliumNodes carry the nodes' names, so they are made anew.
func (c *cluster) newWorld(t *testing.T) world {
	t.Helper()
	w := world{own: endpoint("", "n1"), other: endpoint("", "n2"), ownNode: node("n1"), otherNode: node("n2"),
		ownLease: lease("cilium-l2announce-default-own", "n1"), otherLease: lease("cilium-l2announce-default-other", "n2")}
	w.own.GenerateName, w.other.GenerateName = "own-", "other-"
	c.create(t, w.own, w.other, w.ownNode, w.otherNode, w.ownLease, w.otherLease)
	operator := client.FieldOwner("cilium-operator")
	for _, name := range []string{w.own.Name, w.other.Name} {
		status := endpointStatus(name, condition(v1alpha1.ConditionUntrusted, metav1.ConditionTrue))
		if err := c.admin.Status().Apply(t.Context(), status, operator); err != nil {
			t.Fatalf("apply the operator's verdict: %v", err)
		}
	}
	for _, name := range []string{"n1", "n2"} {
		status := nodeStatus(name, condition(v1alpha1.ConditionPoolAssigned, metav1.ConditionTrue))
		if err := c.admin.Status().Apply(t.Context(), status, operator); err != nil {
			t.Fatalf("apply the operator's condition: %v", err)
		}
	}
	for _, o := range []client.Object{w.own, w.other, w.ownNode, w.otherNode} {
		if err := c.admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			t.Fatalf("read %s: %v", o.GetName(), err)
		}
	}
	t.Cleanup(func() { c.remove(t, w) })
	return w
}

func (c *cluster) remove(t *testing.T, w world) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	for _, ep := range []*v1alpha1.CiliumEndpoint{w.own, w.other} {
		if err := client.IgnoreNotFound(patch(ctx, c.admin, ep.DeepCopy(), `{"metadata":{"finalizers":null}}`)); err != nil {
			t.Errorf("release %s: %v", ep.Name, err)
		}
	}
	for _, o := range []client.Object{w.own, w.other, w.ownNode, w.otherNode, w.ownLease, w.otherLease} {
		if err := client.IgnoreNotFound(c.admin.Delete(ctx, o)); err != nil {
			t.Errorf("delete %s: %v", o.GetName(), err)
		}
	}
}

func patch(ctx context.Context, c client.Client, o client.Object, body string) error {
	return c.Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(body)))
}

func patchStatus(ctx context.Context, c client.Client, o client.Object, body string) error {
	return c.Status().Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(body)))
}

// testOthers: whoever is no agent is held by RBAC alone. Cascades and namespace deletion must not be hindered.
func testOthers(t *testing.T, c *cluster) {
	deleteOne := func(ctx context.Context, c client.Client, w world) error { return c.Delete(ctx, w.other) }
	deleteAll := func(ctx context.Context, c client.Client, _ world) error {
		return c.DeleteAllOf(ctx, &v1alpha1.CiliumEndpoint{}, client.InNamespace(namespace))
	}
	unblock := func(ctx context.Context, c client.Client, w world) error {
		return patch(ctx, c, w.other, `{"metadata":{"finalizers":null}}`)
	}
	judge := func(ctx context.Context, c client.Client, w world) error {
		w.own.Status.Conditions = nil
		return c.Status().Update(ctx, w.own)
	}
	assign := func(ctx context.Context, c client.Client, w world) error {
		w.otherNode.Spec.IPAM.PodCIDRs = []string{"10.0.1.0/24"}
		return c.Update(ctx, w.otherNode)
	}
	admin := rest.ImpersonationConfig{UserName: "someone", Groups: []string{"system:masters", "system:authenticated"}}
	operator := serviceAccount("cilium-operator", "n1")
	cases := map[string]struct {
		who   rest.ImpersonationConfig
		write write
	}{
		"the garbage collector deletes an endpoint":        {serviceAccount("generic-garbage-collector"), deleteOne},
		"the garbage collector patches an endpoint":        {serviceAccount("generic-garbage-collector"), unblock},
		"the namespace controller deletes one endpoint":    {serviceAccount("namespace-controller"), deleteOne},
		"the namespace controller deletes all endpoints":   {serviceAccount("namespace-controller"), deleteAll},
		"an administrator deletes an endpoint":             {admin, deleteOne},
		"an administrator releases an endpoint":            {admin, unblock},
		"an administrator changes a node's pool":           {admin, assign},
		"the operator releases an endpoint of a dead node": {operator, unblock},
		"the operator deletes an endpoint of another node": {operator, deleteOne},
		"the operator judges an endpoint":                  {operator, judge},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			checkDenied(t, tc.write(t.Context(), c.as(t, tc.who), c.newWorld(t)), "")
		})
	}
}

func namelessWrites() map[string]writeCase {
	cases := map[string]writeCase{}
	for name, tc := range agentWrites() {
		cases[fmt.Sprintf("may not: %s", name)] = writeCase{write: tc.write, wantDenied: noNode}
	}
	return cases
}
