// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package cni

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/cnibin/fake"
)

func testPlugin(t *testing.T, c *cluster) {
	for name, story := range map[string]func(*testing.T, *node){
		"attaches and detaches a pod":                 attach,
		"replaces the old sandbox of a pod":           replaceOld,
		"starts again after a DEL of the same name":   again,
		"waits for another node's instance":           otherNode,
		"refuses a second interface":                  secondInterface,
		"is refused a netns that is none":             wrongNetns,
		"gets over a token that is renewed":           renewed,
		"gets over an apiserver that lacks its role":  unknownYet,
		"collects what the runtime no longer knows":   collect,
		"detaches a pod while its token is wrong":     withoutToken,
		"holds on while the agent of the node starts": lateAgent,
		"serves the library that containerd has":      throughLibcni,
	} {
		t.Run(name, func(t *testing.T) { story(t, newNode(t, c)) })
	}
}

func attach(t *testing.T, n *node) {
	n.startAgent(t, n.runDir)
	pod := sandbox{pod: "attach", uid: "u1", container: "attach-1", ifName: "eth0"}
	result := map[string]any{}
	if err := json.Unmarshal(n.succeed(t, "ADD", pod), &result); err != nil {
		t.Fatal(err)
	}
	n.eventually(t, "attach", ready)
	// The same ADD again is the same result: the object is adopted.
	if out := n.succeed(t, "ADD", pod); len(out) == 0 {
		t.Error("no result")
	}
	// The device is not there: CHECK gets as far as that.
	n.conf["prevResult"] = result
	if out, code := n.run(t, "CHECK", pod); code != 999 {
		t.Errorf("CHECK: %d: %s", code, out)
	}
	n.succeed(t, "DEL", pod)
	n.eventually(t, "attach", gone)
	n.succeed(t, "DEL", pod)
}

func replaceOld(t *testing.T, n *node) {
	n.startAgent(t, n.runDir)
	n.succeed(t, "ADD", sandbox{pod: "replace", uid: "u1", container: "old", ifName: "eth0"})
	n.succeed(t, "ADD", sandbox{pod: "replace", uid: "u1", container: "new", ifName: "eth0"})
	n.eventually(t, "replace", func(ep *v1alpha1.CiliumEndpoint) bool {
		return ready(ep) && ep.Spec.ContainerID == "new"
	})
	// The late DEL of the old sandbox does nothing to the new one.
	n.succeed(t, "DEL", sandbox{pod: "replace", uid: "u1", container: "old", ifName: "eth0"})
	n.eventually(t, "replace", ready)
}

func again(t *testing.T, n *node) {
	n.startAgent(t, n.runDir)
	pod := sandbox{pod: "again", uid: "u1", container: "same", ifName: "eth0"}
	for range 5 {
		n.succeed(t, "ADD", pod)
		n.eventually(t, "again", ready)
		n.succeed(t, "DEL", pod)
	}
	n.eventually(t, "again", gone)
}

func otherNode(t *testing.T, n *node) {
	n.startAgent(t, n.runDir)
	n.conf["nodeName"] = "node2"
	far := sandbox{pod: "moved", uid: "u1", container: "far", ifName: "eth0"}
	n.succeed(t, "ADD", far)
	n.conf["nodeName"] = "node1"
	var added sync.WaitGroup
	added.Go(func() {
		if out, code := n.run(t, "ADD", sandbox{pod: "moved", uid: "u2", container: "near", ifName: "eth0"}); code != 0 {
			t.Errorf("ADD: %s", out)
		}
	})
	// Long enough for a plugin that does not wait to show itself.
	<-time.After(300 * time.Millisecond)
	n.eventually(t, "moved", func(ep *v1alpha1.CiliumEndpoint) bool { return ready(ep) && ep.Spec.NodeName == "node2" })
	n.succeed(t, "DEL", far)
	added.Wait()
	n.eventually(t, "moved", func(ep *v1alpha1.CiliumEndpoint) bool { return ready(ep) && ep.Spec.NodeName == "node1" })
}

func secondInterface(t *testing.T, n *node) {
	n.startAgent(t, n.runDir)
	n.succeed(t, "ADD", sandbox{pod: "second", uid: "u1", container: "one", ifName: "eth0"})
	if out, code := n.run(t, "ADD", sandbox{pod: "second", uid: "u1", container: "one", ifName: "net1"}); code != 110 {
		t.Errorf("code %d: %s", code, out)
	}
}

func wrongNetns(t *testing.T, n *node) {
	pod := sandbox{pod: "netns", uid: "u1", container: "x", ifName: "eth0", netns: "/proc/1/ns/net"}
	if out, code := n.run(t, "ADD", pod); code != 111 || !strings.Contains(string(out), "spec.netns") {
		t.Errorf("code %d: %s", code, out)
	}
	n.eventually(t, "netns", gone)
}

func renewed(t *testing.T, n *node) {
	n.startAgent(t, n.runDir)
	n.writeKubeconfig(t, "expired")
	renew := time.AfterFunc(300*time.Millisecond, func() { n.writeKubeconfig(t, n.token) })
	defer renew.Stop()
	n.succeed(t, "ADD", sandbox{pod: "renewed", uid: "u1", container: "r1", ifName: "eth0"})
}

// unknownYet: to the plugin, an account without a role is one of which the apiserver has not read the role yet.
func unknownYet(t *testing.T, n *node) {
	n.startAgent(t, n.runDir)
	n.writeKubeconfig(t, n.newToken(t, "newcomer"))
	know := time.AfterFunc(300*time.Millisecond, func() { n.bind(t, "newcomer") })
	defer know.Stop()
	n.succeed(t, "ADD", sandbox{pod: "unknown", uid: "u1", container: "k1", ifName: "eth0"})
}

func collect(t *testing.T, n *node) {
	n.startAgent(t, n.runDir)
	n.conf["nodeName"] = "node-of-gc"
	kept := sandbox{pod: "gc-kept", uid: "u1", container: "g1", ifName: "eth0"}
	n.succeed(t, "ADD", kept)
	n.succeed(t, "ADD", sandbox{pod: "gc-lost", uid: "u2", container: "g2", ifName: "eth0"})
	n.conf["cni.dev/valid-attachments"] = []map[string]string{{"containerID": "g1", "ifname": "eth0"}}
	n.succeed(t, "GC", kept)
	n.eventually(t, "gc-lost", gone)
	n.eventually(t, "gc-kept", ready)
}

func withoutToken(t *testing.T, n *node) {
	n.startAgent(t, n.runDir)
	pod := sandbox{pod: "late", uid: "u1", container: "l1", ifName: "eth0"}
	n.succeed(t, "ADD", pod)
	n.writeKubeconfig(t, "expired")
	n.succeed(t, "DEL", pod)
	n.eventually(t, "late", gone)
}

func lateAgent(t *testing.T, n *node) {
	var added sync.WaitGroup
	added.Go(func() {
		if out, code := n.run(t, "ADD", sandbox{pod: "slow", uid: "u1", container: "s1", ifName: "eth0"}); code != 0 {
			t.Errorf("ADD: %s", out)
		}
	})
	ep := &v1alpha1.CiliumEndpoint{}
	n.eventually(t, "slow", func(got *v1alpha1.CiliumEndpoint) bool { ep = got; return got != nil })
	// A reason that passes is not the end.
	ep.Status = fake.NotReady(*ep, v1alpha1.ReasonWaitingForPool, "No pool yet.")
	if err := n.client.Status().Update(t.Context(), ep); err != nil {
		t.Fatal(err)
	}
	n.startAgent(t, n.runDir)
	added.Wait()
	n.eventually(t, "slow", ready)
}
