// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Names of the processes that are paused and killed.
const (
	Agent    = "cilium-agent"
	Operator = "cilium-operator"
	CNI      = "cilium-cni"
)

// Kill sends SIGKILL to the node's process of that name; the kubelet starts a new one.
func (n *Node) Kill(t *testing.T, name string, environment ...string) {
	t.Helper()
	n.mustSignal(t, unix.SIGKILL, name, environment...)
}

// Pause stops the process where it is, until Resume.
func (n *Node) Pause(t *testing.T, name string, environment ...string) {
	t.Helper()
	n.mustSignal(t, unix.SIGSTOP, name, environment...)
}

// Resume lets the process go on, if it is still there.
func (n *Node) Resume(t *testing.T, name string, environment ...string) {
	t.Helper()
	pids, err := n.processes(name, environment...)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGCONT); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatalf("resume %s on %s: %v", name, n.Name, err)
		}
	}
}

func (n *Node) killPID(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		t.Fatalf("kill process %d of %s: %v", pid, n.Name, err)
	}
}

func (n *Node) mustSignal(t *testing.T, signal unix.Signal, name string, environment ...string) {
	t.Helper()
	// It may be between two lives.
	Eventually(t, 30*time.Second, fmt.Sprintf("a process %s on %s", name, n.Name), func(context.Context) error {
		_, err := n.signal(signal, name, environment...)
		return err
	})
}

// Daemon does what hack/cluster/daemon.sh can do to a daemon of the control plane: start, stop, kill, pause, resume.
func (c *Cluster) Daemon(t *testing.T, action, name string) {
	t.Helper()
	c.output(t, "hack/cluster/daemon.sh", action, name)
}

// Revive lets a daemon of the control plane serve, whatever a test has done to it: paused, killed, or nothing.
func (c *Cluster) Revive(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	resume := exec.CommandContext(ctx, filepath.Join(c.repo, "hack/cluster/daemon.sh"), "resume", name)
	resume.WaitDelay = time.Second
	_ = resume.Run() // fails if it is dead
	c.Daemon(t, "start", name)
	c.restartControlPlane(t)
}

// restartControlPlane does what a kubelet does for static pods. The scheduler ends itself when it has missed that a pod's
// name went to another node, as it does in an outage of the API server.
func (c *Cluster) restartControlPlane(t *testing.T) {
	t.Helper()
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		c.Daemon(t, "start", name)
	}
}

// Daemon does the same to a daemon of the node: containerd or kubelet.
func (n *Node) Daemon(t *testing.T, action, name string) {
	t.Helper()
	n.cluster.output(t, "hack/cluster/daemon.sh", action, name, n.Name)
}

// Stop pulls the node's plug.
func (n *Node) Stop(t *testing.T) {
	t.Helper()
	n.cluster.output(t, "hack/cluster/node-stop.sh", n.Name)
}

// Start boots the node, unless it runs.
func (n *Node) Start(t *testing.T) {
	t.Helper()
	n.cluster.output(t, "hack/cluster/node-start.sh", n.Name)
}

// Leader returns the node whose operator leads.
func (c *Cluster) Leader(t *testing.T) *Node {
	t.Helper()
	var leader *Node
	Eventually(t, 30*time.Second, "a leader of the operators", func(ctx context.Context) error {
		holder, err := c.leaseHolder(ctx)
		if err != nil {
			return err
		}
		for _, node := range c.Nodes {
			// The identity is the pod's host, which is the node, and a random part.
			if strings.HasPrefix(holder, node.Name+"_") {
				leader = node
				return nil
			}
		}
		return fmt.Errorf("the lease is held by %q, which is on no node", holder)
	})
	return leader
}

func (c *Cluster) leaseHolder(ctx context.Context) (string, error) {
	var lease coordinationv1.Lease
	if err := c.Get(ctx, client.ObjectKey{Namespace: "kube-system", Name: Operator}, &lease); err != nil {
		return "", err
	}
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return "", errors.New("nobody holds the lease")
	}
	renewed := lease.Spec.RenewTime
	if renewed == nil || time.Since(renewed.Time) > time.Duration(*lease.Spec.LeaseDurationSeconds)*time.Second {
		return "", fmt.Errorf("the lease of %s has run out", *lease.Spec.HolderIdentity)
	}
	return *lease.Spec.HolderIdentity, nil
}

// Holder is the identity of the leading operator, empty when there is none.
func (c *Cluster) Holder(t *testing.T) string {
	t.Helper()
	holder, err := c.leaseHolder(t.Context())
	if err != nil {
		return ""
	}
	return holder
}

// RestartAgents rolls the DaemonSet, as kubectl rollout restart does, and returns when it is done.
func (c *Cluster) RestartAgents(t *testing.T) {
	t.Helper()
	var ds appsv1.DaemonSet
	key := client.ObjectKey{Namespace: "kube-system", Name: "cilium"}
	if err := c.Get(t.Context(), key, &ds); err != nil {
		t.Fatal(err)
	}
	patch := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`,
		time.Now().Format(time.RFC3339Nano))
	if err := c.Patch(t.Context(), &ds, client.RawPatch("application/strategic-merge-patch+json", patch)); err != nil {
		t.Fatal(err)
	}
	Eventually(t, 3*time.Minute, "the DaemonSet's roll", func(ctx context.Context) error { return c.agentsServe(ctx) })
}
