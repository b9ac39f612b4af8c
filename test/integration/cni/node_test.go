// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package cni

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/cnibin/fake"
)

// node is what a container runtime has on a node: the built plugin and its configuration.
type node struct {
	*cluster
	binary string
	runDir string
	conf   map[string]any
}

func newNode(t testing.TB, c *cluster) *node {
	t.Helper()
	n := &node{cluster: c, binary: filepath.Join(t.TempDir(), "cilium-cni"), runDir: t.TempDir()}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w",
		"-o", n.binary, "../../../cnibin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build cilium-cni: %v\n%s", err, out)
	}
	n.writeKubeconfig(t, c.token)
	n.conf = map[string]any{
		"cniVersion": "1.1.0", "name": "cilium", "type": "cilium-cni",
		"kubeconfig": filepath.Join(n.runDir, "cni.kubeconfig"), "nodeName": "node1", "runDir": n.runDir,
	}
	return n
}

func (n *node) writeKubeconfig(t testing.TB, token string) {
	t.Helper()
	file := filepath.Join(n.runDir, "cni.kubeconfig")
	if err := os.WriteFile(file+".new", fake.Kubeconfig(t, n.url, n.ca, token), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// sandbox is one execution's worth of CNI's parameters.
type sandbox struct {
	pod, uid, container, ifName string
	netns                       string // empty for the usual one
}

func (s sandbox) env(command string) []string {
	return []string{
		"CNI_COMMAND=" + command, "CNI_PATH=/opt/cni/bin",
		"CNI_CONTAINERID=" + s.container, "CNI_IFNAME=" + s.ifName, "CNI_NETNS=" + cmp.Or(s.netns, "/var/run/netns/"+s.container),
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + s.pod + ";K8S_POD_UID=" + s.uid,
	}
}

// run executes the plugin and returns what it prints and CNI's error code, zero for success.
func (n *node) run(t testing.TB, command string, s sandbox) (stdout []byte, code uint) {
	t.Helper()
	stdin, err := json.Marshal(n.conf)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), n.binary)
	cmd.Stdin, cmd.Env, cmd.WaitDelay = bytes.NewReader(stdin), s.env(command), 5*time.Second
	stdout, err = cmd.Output()
	if err == nil {
		return stdout, 0
	}
	var exit *exec.ExitError
	failure := types.Error{}
	if !errors.As(err, &exit) || json.Unmarshal(stdout, &failure) != nil {
		t.Errorf("%s %v: %v: %s", command, s, err, stdout)
	}
	return stdout, failure.Code
}

// succeed runs a verb that must not fail.
func (n *node) succeed(t testing.TB, command string, s sandbox) []byte {
	t.Helper()
	out, code := n.run(t, command, s)
	if code != 0 {
		t.Fatalf("%s %v: %s", command, s, out)
	}
	return out
}

// eventually waits until the pod's object satisfies a condition; nil stands for an object that is gone.
func (n *node) eventually(t testing.TB, pod string, want func(*v1alpha1.CiliumEndpoint) bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		ep := &v1alpha1.CiliumEndpoint{}
		err := n.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: pod}, ep)
		switch {
		case client.IgnoreNotFound(err) != nil:
			t.Fatal(err)
		case err != nil:
			ep = nil
		}
		if want(ep) {
			return
		}
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("the endpoint of %s is still %v", pod, ep)
		}
	}
}

func gone(ep *v1alpha1.CiliumEndpoint) bool { return ep == nil }

func ready(ep *v1alpha1.CiliumEndpoint) bool {
	return ep != nil && ep.DeletionTimestamp == nil && meta.IsStatusConditionTrue(ep.Status.Conditions, v1alpha1.ConditionReady)
}
