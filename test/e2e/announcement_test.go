// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/e2e/framework"
)

// takeover is the duration of a Lease, and a moment for the next node to see that it is over.
const takeover = 18 * time.Second

// createPool makes a pool of addresses on the nodes' own link, and a policy to announce them; both go with the test.
func createPool(t *testing.T, c *framework.Cluster) {
	t.Helper()
	pool := &v1alpha1.CiliumLoadBalancerIPPool{ObjectMeta: metav1.ObjectMeta{Name: "e2e"}}
	for _, text := range c.Nodes[0].Addrs {
		addr := netip.MustParseAddr(text)
		raw := addr.AsSlice()
		raw[len(raw)-1] = 200
		first, _ := netip.AddrFromSlice(raw)
		raw[len(raw)-1] = 219
		last, _ := netip.AddrFromSlice(raw)
		pool.Spec.Blocks = append(pool.Spec.Blocks, v1alpha1.LoadBalancerIPPoolBlock{Start: first.String(), Stop: last.String()})
	}
	policy := &v1alpha1.CiliumL2AnnouncementPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "e2e"}, Spec: v1alpha1.CiliumL2AnnouncementPolicySpec{LoadBalancerIPs: true},
	}
	for _, obj := range []client.Object{pool, policy} {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Delete(context.Background(), obj); err != nil {
				t.Error(err)
			}
		})
	}
}

// given waits for the addresses of a Service.
func given(t *testing.T, c *framework.Cluster, svc *corev1.Service) []netip.Addr {
	t.Helper()
	var out []netip.Addr
	framework.Eventually(t, 10*time.Second, "addresses of "+svc.Name, func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(svc), svc); err != nil {
			return err
		}
		out = nil
		for _, ingress := range svc.Status.LoadBalancer.Ingress {
			out = append(out, netip.MustParseAddr(ingress.IP))
		}
		if len(out) != len(svc.Spec.IPFamilies) {
			return fmt.Errorf("it has %v for %v; conditions %v", out, svc.Spec.IPFamilies, svc.Status.Conditions)
		}
		return nil
	})
	return out
}

// announcer is the node that holds the Lease of a Service; nil when none does.
func announcer(ctx context.Context, t *testing.T, c *framework.Cluster, svc *corev1.Service) (*framework.Node, error) {
	t.Helper()
	lease := &coordinationv1.Lease{}
	key := client.ObjectKey{Namespace: metav1.NamespaceSystem, Name: v1alpha1.AnnouncementLease(svc.Namespace, svc.Name)}
	if err := c.Get(ctx, key, lease); err != nil {
		return nil, err
	}
	if lease.Spec.HolderIdentity == nil {
		return nil, fmt.Errorf("nobody holds the Lease")
	}
	return c.Node(t, *lease.Spec.HolderIdentity), nil
}

// TestAddressIsAnnouncedByOneNode: a Service gets addresses of every family, one node alone answers for them, another one
// when its agent is stopped, and nobody when the Service is gone.
func TestAddressIsAnnouncedByOneNode(t *testing.T) {
	c := framework.Open(t)
	createPool(t, c)
	svc := createService(t, c, "announced", "announced", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeLoadBalancer })
	addrs := given(t, c, svc)
	answeredBy := func(ctx context.Context, not *framework.Node) (*framework.Node, error) {
		node, err := announcer(ctx, t, c, svc)
		if err != nil {
			return nil, err
		}
		if node == not {
			return nil, fmt.Errorf("it is %s", node.Name)
		}
		for _, addr := range addrs {
			macs := c.WhoHas(t, addr)
			if len(macs) > 1 {
				t.Errorf("%s is answered for by %v", addr, macs)
			}
			if !slices.Equal(macs, []string{node.MAC(t)}) {
				return nil, fmt.Errorf("%s is answered for by %v, want %s of %s", addr, macs, node.MAC(t), node.Name)
			}
		}
		return node, nil
	}
	var first, second *framework.Node
	framework.Eventually(t, 10*time.Second, "one node to answer", func(ctx context.Context) (err error) {
		first, err = answeredBy(ctx, nil)
		return err
	})

	first.Pause(t, framework.Agent)
	t.Cleanup(func() { first.Resume(t, framework.Agent) })
	took := framework.Eventually(t, takeover, "another node to answer", func(ctx context.Context) (err error) {
		second, err = answeredBy(ctx, first)
		return err
	})
	t.Logf("%s answers %s after the agent of %s was stopped", second.Name, took.Round(100*time.Millisecond), first.Name)
	first.Resume(t, framework.Agent)
	framework.Eventually(t, 10*time.Second, "the agent to be back", func(ctx context.Context) error {
		_, err := answeredBy(ctx, first)
		return err
	})

	if err := c.Delete(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	framework.Eventually(t, 10*time.Second, "nobody to answer", func(ctx context.Context) error {
		for _, addr := range addrs {
			if macs := c.WhoHas(t, addr); len(macs) > 0 {
				return fmt.Errorf("%s is answered for by %v", addr, macs)
			}
		}
		if _, err := announcer(ctx, t, c, svc); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the Lease is there: %w", err)
		}
		return nil
	})
}

// TestAnnouncementSurvivesItsAgent: one that is killed and comes back goes on. At no moment two nodes answer, also when
// the kubelet takes longer to start it than others wait.
func TestAnnouncementSurvivesItsAgent(t *testing.T) {
	c := framework.Open(t)
	createPool(t, c)
	svc := createService(t, c, "restarted", "restarted", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeLoadBalancer })
	addrs := given(t, c, svc)
	answered := func(ctx context.Context) error {
		node, err := announcer(ctx, t, c, svc)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			macs := c.WhoHas(t, addr)
			if len(macs) > 1 {
				t.Errorf("%s is answered for by %v", addr, macs)
			}
			if !slices.Equal(macs, []string{node.MAC(t)}) {
				return fmt.Errorf("%s is answered for by %v, want %s of %s", addr, macs, node.MAC(t), node.Name)
			}
		}
		return nil
	}
	framework.Eventually(t, 10*time.Second, "one node to answer", answered)
	node, err := announcer(t.Context(), t, c, svc)
	if err != nil {
		t.Fatal(err)
	}
	node.Kill(t, framework.Agent)
	silent := 0
	for deadline := time.Now().Add(takeover); time.Now().Before(deadline); {
		if answered(t.Context()) != nil {
			silent++
		}
	}
	framework.Eventually(t, 10*time.Second, "one node to answer", answered)
	t.Logf("of the questions of %s after the kill %d were not answered", takeover, silent)
	c.Settle(t)
}

// TestLoadBalancerAnswersTheWorld: at an address of a pool the world reaches a backend of the node that announces it and one
// of the other, by TCP and UDP; pods and hosts do too. With externalTrafficPolicy Local the backend sees who asks.
func TestLoadBalancerAnswersTheWorld(t *testing.T) {
	c := framework.Open(t)
	createPool(t, c)
	pod := c.StartPods(t, netexec("lb-client", c.Nodes[0]), server("lb-1", "lb", c.Nodes[0]), server("lb-2", "lb", c.Nodes[1]))[0]
	svc := createService(t, c, "lb", "lb", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeLoadBalancer })
	addrs := given(t, c, svc)
	var script, guarded strings.Builder
	for _, addr := range addrs {
		fmt.Fprintf(&script, "[ \"$(for i in $(seq 32); do curl -sS --max-time 5 %s/hostname; echo; done | sort -u | xargs)\" = 'lb-1 lb-2' ]; ",
			url(addr.String(), 80))
		fmt.Fprintf(&script, "echo hostname | nc -u -w 1 %s 81 | grep -q ^lb-; ", addr)
		seen := strings.TrimSuffix(strings.TrimPrefix(url(worldOf(addr.String()), 0), "http://"), ":0")
		fmt.Fprintf(&guarded, "for i in $(seq 8); do curl -sS --max-time 5 %s/clientip | grep -qF '%s:'; done; ", url(addr.String(), 80), seen)
	}
	for _, from := range append([]*framework.Node{c.World()}, c.Nodes...) {
		succeeds(t, from, from.Name+" to reach both backends", script.String())
	}
	framework.Eventually(t, 30*time.Second, "a pod to reach both backends", func(ctx context.Context) error {
		_, err := c.Exec(ctx, pod.Name, "sh", "-c", "set -e; "+script.String())
		return err
	})
	if node, err := announcer(t.Context(), t, c, svc); err != nil {
		t.Error(err)
	} else {
		t.Logf("%s announces %v", node.Name, addrs)
	}
	alter(t, c, svc, func(s *corev1.ServiceSpec) { s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
	succeeds(t, c.World(), "the world to be known to the backend", guarded.String())
	c.NoLeaks(t)
}
