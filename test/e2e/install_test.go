// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/e2e/framework"
)

// TestNativeRouting: the routing mode is changed on a living cluster. Until the agents were restarted, the configuration
// says so; then pods talk without the tunnel, and after the way back with it.
func TestNativeRouting(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	pods := c.StartPods(t, netexec("native-a", one), netexec("native-b", one), netexec("native-c", c.Other(one)))
	t.Cleanup(func() {
		if routing(t, c) != v1alpha1.RoutingTunnel {
			setRouting(t, c, v1alpha1.RoutingTunnel)
			c.RestartAgents(t)
		}
	})
	for _, mode := range []v1alpha1.RoutingMode{v1alpha1.RoutingNative, v1alpha1.RoutingTunnel} {
		setRouting(t, c, mode)
		waitApplied(t, c, metav1.ConditionFalse, v1alpha1.ReasonRestartRequired)
		c.RestartAgents(t)
		waitApplied(t, c, metav1.ConditionTrue, v1alpha1.ReasonAllNodesCurrent)
		reachEveryone(t, c, pods)
		t.Logf("%s: everyone reaches everyone; %s", mode, tunnels(t, c))
	}
	c.NoLeaks(t)
}

func routing(t *testing.T, c *framework.Cluster) v1alpha1.RoutingMode {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var config v1alpha1.CiliumConfig
	if err := c.Get(ctx, client.ObjectKey{Name: v1alpha1.ConfigName}, &config); err != nil {
		t.Error(err)
	}
	return config.Spec.RoutingMode
}

func setRouting(t *testing.T, c *framework.Cluster, mode v1alpha1.RoutingMode) {
	t.Helper()
	patchConfig(t, c, fmt.Sprintf(`{"spec":{"routingMode":%q}}`, mode))
}

func patchConfig(t *testing.T, c *framework.Cluster, patch string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	config := &v1alpha1.CiliumConfig{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.ConfigName}}
	if err := c.Patch(ctx, config, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.Error(err)
	}
}

func waitApplied(t *testing.T, c *framework.Cluster, want metav1.ConditionStatus, reason string) {
	t.Helper()
	framework.Eventually(t, 30*time.Second, "condition Applied to be "+string(want), func(ctx context.Context) error {
		var config v1alpha1.CiliumConfig
		if err := c.Get(ctx, client.ObjectKey{Name: v1alpha1.ConfigName}, &config); err != nil {
			return err
		}
		have := meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionApplied)
		if have == nil || have.Status != want || have.Reason != reason || have.ObservedGeneration != config.Generation {
			return fmt.Errorf("it is %+v at generation %d", have, config.Generation)
		}
		return nil
	})
}

// tunnels says which nodes have a tunnel device.
func tunnels(t *testing.T, c *framework.Cluster) string {
	t.Helper()
	words := []string{}
	for _, node := range c.Nodes {
		links := node.MustRun(t, "ip", "-o", "link", "show", "type", "vxlan")
		words = append(words, fmt.Sprintf("%s has %d tunnel devices", node.Name, strings.Count(links, "cilium_vxlan")))
	}
	return strings.Join(words, ", ")
}

// TestUndeployLeavesNothing: what make undeploy leaves on the nodes is what was there before, and make deploy brings the
// same pods back on the network.
func TestUndeployLeavesNothing(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	pods := c.StartPods(t, netexec("stays-a", one), netexec("stays-b", c.Other(one)))
	t.Cleanup(func() { deploy(t, c) })
	for _, node := range c.Nodes {
		if node.Traces(t) == "" {
			t.Errorf("%s has no trace of a living agent: the test proves nothing", node.Name)
		}
	}
	if !strings.Contains(installed(t, c), "lease.coordination.k8s.io/cilium-operator") {
		t.Error("no operator leads: the test proves nothing")
	}
	start := time.Now()
	c.Script(t, "hack/undeploy.sh")
	t.Logf("undeploy took %s", time.Since(start).Round(time.Second))
	for _, node := range c.Nodes {
		if left := node.Traces(t); left != "" {
			t.Errorf("%s still has:\n%s", node.Name, left)
		}
	}
	if left := installed(t, c); left != "" {
		t.Errorf("kube-system still has:\n%s", left)
	}
	start = time.Now()
	deploy(t, c)
	t.Logf("deploy took %s", time.Since(start).Round(time.Second))
	reachEveryone(t, c, pods)
	c.NoLeaks(t)
}

// installed is what kube-system has of ours, a line each.
func installed(t *testing.T, c *framework.Cluster) string {
	t.Helper()
	var names []string
	for name := range strings.FieldsSeq(c.Script(t, "bash", "-c", `"$KUBECTL" -n kube-system get -o name \
		daemonset,deployment,pod,configmap,serviceaccount,role,rolebinding,lease`)) {
		if strings.Contains(name, "/cilium") {
			names = append(names, name)
		}
	}
	return strings.Join(names, "\n")
}

func deploy(t *testing.T, c *framework.Cluster) {
	t.Helper()
	c.Script(t, "hack/deploy.sh", "hack/demo/overlay")
	c.Settle(t)
}

// TestOtherClusters: what the demo's cluster is not. Pods with one family alone, and ranges that Kubernetes hands out.
func TestOtherClusters(t *testing.T) {
	cases := map[string]framework.Second{
		"IPv6 alone, ranges of Kubernetes": {Family: "ipv6", Config: "ciliumconfig_kubernetes_ipam.yaml", APIServer: "fd00:172:18::2"},
	}
	for name, second := range cases {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			c := framework.OpenSecond(t, second)
			t.Logf("the cluster was ready after %s", time.Since(start).Round(time.Second))
			one := c.Nodes[0]
			pods := c.StartPods(t, netexec("other-a", one), netexec("other-b", one), netexec("other-c", c.Other(one)))
			for _, pod := range pods {
				if len(pod.Status.PodIPs) != 1 {
					t.Errorf("%s has the addresses %v, want one", pod.Name, pod.Status.PodIPs)
				}
				wantInside(t, c, pod)
			}
			reachEveryone(t, c, pods)
			c.NoLeaks(t)
		})
	}
}

// wantInside checks that the pod's address is of the range that Kubernetes gave to its node.
func wantInside(t *testing.T, c *framework.Cluster, pod *corev1.Pod) {
	t.Helper()
	var node corev1.Node
	if err := c.Get(t.Context(), client.ObjectKey{Name: pod.Spec.NodeName}, &node); err != nil {
		t.Fatal(err)
	}
	given, err := netip.ParsePrefix(node.Spec.PodCIDR)
	if err != nil {
		t.Fatal(err)
	}
	if got := netip.MustParseAddr(pod.Status.PodIP); !given.Contains(got) {
		t.Errorf("%s has %s, which is not of the range %s of %s", pod.Name, got, given, node.Name)
	}
}
