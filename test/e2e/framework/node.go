// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Node is one node of the cluster, seen from the machine that plays it.
type Node struct {
	Name string
	// Addrs are its addresses, IPv4 first.
	Addrs   []string
	cluster *Cluster
}

func (c *Cluster) findNodes(t *testing.T) {
	t.Helper()
	var nodes corev1.NodeList
	if err := c.List(t.Context(), &nodes); err != nil {
		t.Fatalf("reach the cluster (make demo brings it up): %v", err)
	}
	for _, node := range nodes.Items {
		n := &Node{Name: node.Name, cluster: c}
		for _, address := range node.Status.Addresses {
			if address.Type == corev1.NodeInternalIP {
				n.Addrs = append(n.Addrs, address.Address)
			}
		}
		c.Nodes = append(c.Nodes, n)
	}
	if len(c.Nodes) < 2 {
		t.Fatalf("the tests need two nodes, the cluster has %d", len(c.Nodes))
	}
}

// Node returns the node of that name.
func (c *Cluster) Node(t *testing.T, name string) *Node {
	t.Helper()
	for _, n := range c.Nodes {
		if n.Name == name {
			return n
		}
	}
	t.Fatalf("no node %q", name)
	return nil
}

// Other returns a node that is not n.
func (c *Cluster) Other(n *Node) *Node {
	return c.Nodes[(slices.Index(c.Nodes, n)+1)%len(c.Nodes)]
}

// Command prepares a command that runs as a process of the node.
func (n *Node) Command(ctx context.Context, command ...string) *exec.Cmd {
	script := filepath.Join(n.cluster.repo, "hack/cluster/exec.sh")
	cmd := exec.CommandContext(ctx, script, append([]string{n.Name}, command...)...)
	cmd.WaitDelay = time.Second
	return cmd
}

// Run runs a command as a process of the node and returns what it printed.
func (n *Node) Run(ctx context.Context, command ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := n.Command(ctx, command...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %s: %w: %s", n.Name, strings.Join(command, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// MustRun is Run that ends the test on an error.
func (n *Node) MustRun(t *testing.T, command ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := n.Run(ctx, command...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// init returns the process ID of the node's first process, as the machine sees it.
func (n *Node) init() (int, error) {
	record, err := os.ReadFile(filepath.Join(n.cluster.run, "pids", n.Name))
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", n.Name, err)
	}
	outer, _, _ := strings.Cut(string(record), " ")
	children, err := os.ReadFile(filepath.Join("/proc", outer, "task", outer, "children"))
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", n.Name, err)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(children)), " ")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return 0, fmt.Errorf("find the first process of %s: %w", n.Name, err)
	}
	return pid, nil
}

// Path is where the machine sees a file of the node.
func (n *Node) Path(path string) (string, error) {
	pid, err := n.init()
	if err != nil {
		return "", err
	}
	return filepath.Join("/proc", strconv.Itoa(pid), "root", path), nil
}

// NetnsPath is the path of the node's network namespace.
func (n *Node) NetnsPath() string { return "/run/netns/" + prefix() + n.Name }

// processes returns the node's processes of that name whose environment contains every one of the words. All that we look
// for are in the node's own network namespace.
func (n *Node) processes(name string, environment ...string) ([]int, error) {
	return processes(n.NetnsPath(), name, environment...)
}

// processes returns the processes of that name in a network namespace.
func processes(namespace, name string, environment ...string) ([]int, error) {
	home, err := os.Stat(namespace)
	if err != nil {
		return nil, fmt.Errorf("find processes %s: %w", name, err)
	}
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, folder := range folders {
		comm, err := os.ReadFile(filepath.Join(folder, "comm"))
		if err != nil || strings.TrimSpace(string(comm)) != name {
			continue
		}
		if ns, err := os.Stat(filepath.Join(folder, "ns/net")); err != nil || !os.SameFile(ns, home) {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join(folder, "environ"))
		if !slices.ContainsFunc(environment, func(word string) bool { return !bytes.Contains(environ, []byte(word)) }) {
			pid, _ := strconv.Atoi(filepath.Base(folder))
			found = append(found, pid)
		}
	}
	return found, nil
}

// signal sends a signal to the node's only process of that name and environment, and returns its ID.
func (n *Node) signal(signal unix.Signal, name string, environment ...string) (int, error) {
	pids, err := n.processes(name, environment...)
	if err != nil {
		return 0, err
	}
	if len(pids) != 1 {
		return 0, fmt.Errorf("%s has %d processes %s, want one", n.Name, len(pids), name)
	}
	// A process descriptor: the number may be someone else's by now.
	fd, err := unix.PidfdOpen(pids[0], 0)
	if err != nil {
		return 0, fmt.Errorf("signal %s on %s: %w", name, n.Name, err)
	}
	defer unix.Close(fd)
	if again, err := n.processes(name, environment...); err != nil || !slices.Equal(pids, again) {
		return 0, errors.Join(fmt.Errorf("signal %s on %s: it ended meanwhile", name, n.Name), err)
	}
	if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil {
		return 0, fmt.Errorf("signal %s on %s: %w", name, n.Name, err)
	}
	return pids[0], nil
}

// ticksPerSecond is the unit of times in /proc, the same on every Linux.
const ticksPerSecond = 100

// Started is when the node's only process of that name was executed.
func (n *Node) Started(name string) (time.Time, error) {
	pids, err := n.processes(name)
	if err != nil || len(pids) != 1 {
		return time.Time{}, errors.Join(fmt.Errorf("%s has %d processes %s, want one", n.Name, len(pids), name), err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pids[0]))
	if err != nil {
		return time.Time{}, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const startTime = 19 // behind the name
	ticks, err := strconv.ParseInt(fields[startTime], 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return time.Time{}, err
	}
	sinceBoot := time.Duration(ticks) * time.Second / ticksPerSecond
	return time.Now().Add(sinceBoot - time.Duration(now.Nano())), nil
}
