// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/ciliate-io/ciliate/test/e2e/report"
)

// EchoPort is where ServerPod echoes TCP.
const EchoPort = "7000"

// ServerPod echoes what watching pods send.
func ServerPod(name string, node *Node) Pod {
	return Pod{Name: name, Node: node, Labels: map[string]string{"app": name}, Probe: []string{"serve", EchoPort}}
}

// Watch is a pod that keeps a TCP connection and a flood of echo requests to every address of some pods.
type Watch struct {
	cluster *Cluster
	name    string
	before  map[string]report.Target
}

// StartWatch starts a watching pod on node and returns when every target has answered.
func (c *Cluster) StartWatch(t *testing.T, name string, node *Node, targets ...*corev1.Pod) *Watch {
	t.Helper()
	w := &Watch{cluster: c, name: name}
	addresses := addressesOf(targets)
	c.startReporter(t, name, node, "watch", append([]string{EchoPort}, addresses...)...)
	Eventually(t, 30*time.Second, "answers to "+name, func(context.Context) error { return w.answered(len(addresses)) })
	w.before = w.read(t)
	return w
}

func addressesOf(pods []*corev1.Pod) []string {
	var addresses []string
	for _, pod := range pods {
		for _, ip := range pod.Status.PodIPs {
			addresses = append(addresses, ip.IP)
		}
	}
	return addresses
}

// EchoOf is where pods echo, for who takes targets.
func EchoOf(pods ...*corev1.Pod) []string {
	targets := addressesOf(pods)
	for i, address := range targets {
		targets[i] = net.JoinHostPort(address, EchoPort)
	}
	return targets
}

// startReporter starts a probe that writes the report of that name: in a pod of the node, or as a process of the world.
func (c *Cluster) startReporter(t *testing.T, name string, node *Node, verb string, args ...string) {
	t.Helper()
	if err := os.Remove(c.report(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if node.Name == world {
		c.startInWorld(t, append([]string{verb, c.report(name)}, args...))
		return
	}
	probe := append([]string{verb, c.reportInPod(name)}, args...)
	c.StartPods(t, Pod{Name: name, Node: node, Labels: map[string]string{"app": "watch"}, Probe: probe})
}

// startInWorld runs a probe outside until the test ends.
func (c *Cluster) startInWorld(t *testing.T, probe []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := c.World().Command(ctx, append([]string{c.Program("probe")}, probe...)...)
	// The script that enters the world has a child, which a signal to the script alone would leave behind.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
}

func (w *Watch) answered(wanted int) error {
	r, err := report.Read(w.cluster.report(w.name))
	if err != nil {
		return err
	}
	if len(r.Targets) < wanted {
		return fmt.Errorf("%d of %d targets are known", len(r.Targets), wanted)
	}
	for address, target := range r.Targets {
		if target.Messages < 10 || target.Received < 10 {
			return fmt.Errorf("%s: %+v", address, target)
		}
	}
	return nil
}

func (w *Watch) read(t *testing.T) map[string]report.Target {
	t.Helper()
	return w.cluster.targets(t, w.name)
}

// targets is what the report of that name says now.
func (c *Cluster) targets(t *testing.T, name string) map[string]report.Target {
	t.Helper()
	r, err := report.Read(c.report(name))
	if err != nil {
		t.Fatal(err)
	}
	return r.Targets
}

// Total is what happened to all targets since the watch began.
func (w *Watch) Total(t *testing.T) report.Target {
	t.Helper()
	var sum report.Target
	for address, now := range w.read(t) {
		was := w.before[address]
		sum.Sent += now.Sent - was.Sent
		sum.Received += now.Received - was.Received
		sum.Lost += now.Lost - was.Lost
		sum.Messages += now.Messages - was.Messages
		sum.Breaks += now.Breaks - was.Breaks
		sum.Retransmits += now.Retransmits - was.Retransmits
		sum.LongestGap = max(sum.LongestGap, now.LongestGap)
		if now.Problem != "" {
			sum.Problem += address + ": " + now.Problem + "; "
		}
	}
	return sum
}

// NothingLost checks that no echo request went unanswered and no connection broke, and says what it measured.
func (w *Watch) NothingLost(t *testing.T) {
	t.Helper()
	// What was sent a moment ago is not lost yet, and must be given the time to be.
	time.Sleep(4 * time.Second)
	sum := w.Total(t)
	t.Logf("%s: %d echo requests, %d lost; %d messages on TCP, %d retransmits, %d breaks, longest gap %s",
		w.name, sum.Sent, sum.Lost, sum.Messages, sum.Retransmits, sum.Breaks, sum.LongestGap.Round(time.Millisecond))
	if sum.Sent == 0 || sum.Messages == 0 {
		t.Errorf("%s sent nothing: the test proves nothing", w.name)
	}
	if sum.Lost > 0 || sum.Breaks > 0 {
		t.Errorf("%s lost %d packets and %d connections: %s", w.name, sum.Lost, sum.Breaks, sum.Problem)
	}
}

// ReportPath is where the machine, and the nodes, see the report of that name.
func (c *Cluster) ReportPath(name string) string { return c.report(name) }

// Program is the path of a program of the tests, on the machine and on the nodes.
func (c *Cluster) Program(name string) string { return filepath.Join(c.dir, name) }

// Listening makes the pod count the UDP datagrams that it gets on the port of forgeries.
func (c *Cluster) Listening(t *testing.T, p Pod) Pod {
	t.Helper()
	if err := os.Remove(c.report(p.Name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	p.Probe = []string{"listen", c.reportInPod(p.Name), "7001"}
	return p
}

// world is the name of what is outside, for the scripts.
const world = "world"

// World is outside the cluster, with nothing but a route to it. It can only run commands.
func (c *Cluster) World() *Node { return &Node{Name: world, cluster: c} }

// Fabric forwards between nodes and world. It can only run commands.
func (c *Cluster) Fabric() *Node { return &Node{Name: "fabric", cluster: c} }

// ControlPlane is the namespace of the API server, which is on the nodes' network and no part of the pods'.
func (c *Cluster) ControlPlane() *Node { return &Node{Name: "cp", cluster: c} }
