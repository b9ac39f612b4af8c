// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/agent"
	"github.com/ciliate-io/ciliate/internal/config"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/test/build"
)

// hasRow is an error unless the kernel's table of addresses has the row; an empty node is this one.
func (n *node) hasRow(prefix string, id dp.Identity, via string) error {
	n.t.Helper()
	routes, err := n.kernel().Routes()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(routes, func(r dp.Route) bool { return r.Prefix == netip.MustParsePrefix(prefix) })
	if i < 0 {
		return fmt.Errorf("no row %s", prefix)
	}
	got := ""
	if node := routes[i].Node; node.IsValid() && !node.IsUnspecified() {
		got = node.String()
	}
	if routes[i].Identity != id || got != via {
		return fmt.Errorf("the row %s is identity %d on node %q, want %d on %q", prefix, routes[i].Identity, got, id, via)
	}
	return nil
}

func (n *node) hasNoRow(prefix string) error {
	if err := n.hasRow(prefix, 0, "nowhere"); err == nil || err.Error() != "no row "+prefix {
		return fmt.Errorf("there is a row %s: %w", prefix, err)
	}
	return nil
}

// remote makes an endpoint of another node, as its agent leaves it.
func (n *node) remote(name, nodeName, ip string) *v1alpha1.CiliumEndpoint {
	n.t.Helper()
	cep := build.Endpoint("default/" + name).OnNode(nodeName).Obj()
	cep.UID = ""
	if err := theCluster.client.Create(n.t.Context(), cep); err != nil {
		n.t.Fatal(err)
	}
	cep.Status = v1alpha1.CiliumEndpointStatus{
		Identity:  &v1alpha1.EndpointIdentity{Number: 1001},
		Addresses: []v1alpha1.EndpointAddress{{Family: v1alpha1.IPv4, IP: ip, Gateway: "10.0.2.1"}},
	}
	if err := theCluster.client.Status().Update(n.t.Context(), cep); err != nil {
		n.t.Fatal(err)
	}
	return cep
}

// distrust does what the operator does to an endpoint that claims what is not its own.
func distrust(t *testing.T, cep *v1alpha1.CiliumEndpoint) {
	t.Helper()
	condition := metav1.Condition{
		Type: v1alpha1.ConditionUntrusted, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonPodNotOnNode,
		Message: "The pod is elsewhere", LastTransitionTime: metav1.Now(),
	}
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if err := theCluster.client.Get(t.Context(), client.ObjectKeyFromObject(cep), cep); err != nil {
			return err
		}
		meta.SetStatusCondition(&cep.Status.Conditions, condition)
		return theCluster.client.Status().Update(t.Context(), cep)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRemoteEndpoints(t *testing.T) {
	n := newNode(t).known()
	n.start().ready()
	other := n.ciliumNode("other", []string{"192.0.2.2", "2001:db8::2"}, "10.0.2.0/24", "fd00:2::/112")
	eventually(t, func() error { return n.hasRow("10.0.2.0/24", 0, "192.0.2.2") })
	eventually(t, func() error { return n.hasRow("192.0.2.2/32", 6, "192.0.2.2") })
	eventually(t, func() error { return n.hasRow("192.0.2.1/32", 1, "") })

	good, outside := n.remote("good", "other", "10.0.2.7"), n.remote("outside", "other", "10.0.1.7")
	eventually(t, func() error { return n.hasRow("10.0.2.7/32", 1001, "192.0.2.2") })
	if err := n.hasNoRow("10.0.1.7/32"); err != nil {
		t.Errorf("an address of this node's pool that another node claims: %v", err)
	}
	distrust(t, good)
	eventually(t, func() error { return n.hasNoRow("10.0.2.7/32") })

	// Its pool grows, and what was outside counts.
	other.Spec.IPAM.PodCIDRs = append(other.Spec.IPAM.PodCIDRs, "10.0.3.0/24")
	if err := theCluster.client.Update(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	outside.Status.Addresses[0].IP = "10.0.3.7"
	if err := theCluster.client.Status().Update(t.Context(), outside); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return n.hasRow("10.0.3.7/32", 1001, "192.0.2.2") })
	if err := theCluster.client.Delete(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return n.hasNoRow("10.0.3.7/32") })
	eventually(t, func() error { return n.hasNoRow("10.0.2.0/24") })
}

// What the cache of other nodes' endpoints is told, every node of a cluster is told: an endpoint comes with its identity and
// goes with it.
func TestRemoteCache(t *testing.T) {
	n := newNode(t)
	scheme, err := agent.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	_, remote, err := agent.NewManager(t.Context(), theCluster.config, scheme, config.Agent{NodeName: n.name, MetricsAddr: "0"})
	if err != nil {
		t.Fatal(err)
	}
	informer, err := remote.GetInformer(t.Context(), &v1alpha1.CiliumEndpoint{}, cache.BlockUntilSynced(false))
	if err != nil {
		t.Fatal(err)
	}
	news := make(chan string, 16)
	tell := func(deed string) func(any) {
		return func(obj any) {
			if cep, ok := obj.(*v1alpha1.CiliumEndpoint); ok && strings.HasPrefix(cep.Name, "news-") {
				news <- deed + " " + cep.Name
			}
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: tell("add"), UpdateFunc: func(_, obj any) { tell("update")(obj) }, DeleteFunc: tell("delete"),
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := remote.Start(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if !remote.WaitForCacheSync(t.Context()) {
		t.Fatal("the cache does not sync")
	}

	n.remote("news-here", n.name, "10.0.1.7")
	bare := build.Endpoint("default/news-bare").OnNode("other").Obj()
	bare.UID = ""
	if err := theCluster.client.Create(t.Context(), bare); err != nil {
		t.Fatal(err)
	}
	served := n.remote("news-served", "other", "10.0.2.7")
	served.Status.Identity.Number = 1002
	update(t, served)
	served.Status.Identity = nil
	update(t, served)
	for _, want := range []string{"add news-served", "update news-served", "delete news-served"} {
		select {
		case got := <-news:
			if got != want {
				t.Fatalf("the cache was told %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("the cache was not told %q", want)
		}
	}
}

func update(t *testing.T, cep *v1alpha1.CiliumEndpoint) {
	t.Helper()
	if err := theCluster.client.Status().Update(t.Context(), cep); err != nil {
		t.Fatal(err)
	}
}

// The operator writes its condition while the agent writes the status: both stay, and the agent's own endpoint leaves the
// table of addresses.
func TestConflictWithTheOperator(t *testing.T) {
	n := newNode(t).known()
	n.start().ready()
	var pods []*pod
	for i := range 8 {
		p := n.pod(fmt.Sprintf("conflict-%d", i)).add()
		distrust(t, p.cep)
		pods = append(pods, p)
	}
	for _, p := range pods {
		p.await("True/Ready")
		cep := p.get()
		if i := slices.IndexFunc(cep.Status.Conditions, func(c metav1.Condition) bool { return c.Type == v1alpha1.ConditionUntrusted }); i < 0 {
			t.Errorf("the operator's condition of %s is gone", p.name)
		}
		eventually(t, func() error { return n.hasNoRow(cep.Status.Addresses[0].IP + "/32") })
	}
}
