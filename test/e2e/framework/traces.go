// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// Traces lists what Ciliate has left on the node: devices, rules, routes, filters, pins, files.
func (n *Node) Traces(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(n.MustRun(t, "sh", "-c", `
		ip -o link | grep -oE '(lxc|cilium)[^:@]*'
		ip route show table all | grep -E 'lxc|cilium'
		ip -6 route show table all | grep -E 'lxc|cilium'
		nft list tables | grep -iE 'cili'
		for d in $(ls /sys/class/net); do tc filter show dev $d ingress; tc filter show dev $d egress; done 2>/dev/null | grep bpf
		ls -d /sys/fs/bpf/cili* /etc/cni/net.d/*cilium* /opt/cni/bin/cilium-cni /run/cilium/deletes 2>/dev/null
		true`))
}

// TryKill is Kill that accepts that no such process is there, or that there are several: then it kills one.
func (n *Node) TryKill(t *testing.T, name string) {
	t.Helper()
	pids, err := n.processes(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(pids) > 0 {
		n.killPID(t, pids[0])
	}
}

// AllRun is nil when every one of the pods runs with an address.
func (c *Cluster) AllRun(ctx context.Context, pods []*corev1.Pod) error {
	now, err := c.byUID(ctx)
	if err != nil {
		return err
	}
	waiting := []string{}
	for _, pod := range pods {
		if p := now[string(pod.UID)]; p == nil || p.Status.Phase != corev1.PodRunning || p.Status.PodIP == "" {
			waiting = append(waiting, pod.Name)
		}
	}
	if len(waiting) > 0 {
		return fmt.Errorf("%d do not run: %v%s", len(waiting), waiting, c.complaints(ctx, now[string(find(pods, waiting[0]).UID)]))
	}
	return nil
}

func find(pods []*corev1.Pod, name string) *corev1.Pod {
	for _, pod := range pods {
		if pod.Name == name {
			return pod
		}
	}
	return &corev1.Pod{}
}

func (c *Cluster) byUID(ctx context.Context) (map[string]*corev1.Pod, error) {
	pods, err := c.pods(ctx, Namespace)
	found := make(map[string]*corev1.Pod, len(pods))
	for i := range pods {
		found[string(pods[i].UID)] = &pods[i]
	}
	return found, err
}

// AllGone is a try that succeeds when none of the pods and none of their endpoints is left.
func (c *Cluster) AllGone(pods []*corev1.Pod) func(context.Context) error {
	return func(ctx context.Context) error {
		now, err := c.byUID(ctx)
		if err != nil {
			return err
		}
		var endpoints v1alpha1.CiliumEndpointList
		if err := c.List(ctx, &endpoints, client.InNamespace(Namespace)); err != nil {
			return err
		}
		var left []string
		for _, pod := range pods {
			if now[string(pod.UID)] != nil {
				left = append(left, pod.Name)
			}
			for _, ep := range endpoints.Items {
				if ep.Spec.PodUID == string(pod.UID) {
					left = append(left, "endpoint "+ep.Name)
				}
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("%d are left: %v", len(left), left)
		}
		return nil
	}
}

// NothingRemembered makes all tombstones old, and waits until they are gone and the agents' own books say that no address
// is in use that no endpoint has. The books are written once a minute, and the runtime may still repeat a DEL.
func (c *Cluster) NothingRemembered(t *testing.T) {
	t.Helper()
	seen := map[string]bool{}
	took := Eventually(t, 3*time.Minute, "empty books", func(ctx context.Context) error {
		for _, n := range c.Nodes {
			if err := n.ageTombstones(seen); err != nil {
				return err
			}
		}
		return c.books(ctx)
	})
	t.Logf("%d tombstones and every unused address were forgotten after %s", len(seen), took.Round(time.Second))
}

// ageTombstones makes the node's tombstones ten minutes old, and notes their names.
func (n *Node) ageTombstones(seen map[string]bool) error {
	names, err := n.Tombstones()
	if err != nil {
		return err
	}
	old := time.Now().Add(-10 * time.Minute)
	for _, name := range names {
		path, err := n.Path(filepath.Join("/run/cilium/deletes", name))
		if err != nil {
			return err
		}
		if err := os.Chtimes(path, old, old); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		seen[name] = true
	}
	return nil
}

func (c *Cluster) books(ctx context.Context) error {
	s, err := c.state(ctx)
	if err != nil {
		return err
	}
	for _, node := range s.nodes {
		endpoints := int64(0)
		for _, ep := range s.endpoints {
			if ep.Spec.NodeName == node.Name {
				endpoints++
			}
		}
		for _, pool := range node.Status.Pools {
			if pool.Used != endpoints {
				return fmt.Errorf("%s has %d endpoints, but %d addresses of %s are in use", node.Name, endpoints, pool.Used, pool.CIDR)
			}
		}
	}
	for _, n := range c.Nodes {
		if names, err := n.Tombstones(); err != nil || len(names) > 0 {
			return errors.Join(err, fmt.Errorf("%s has %d tombstones", n.Name, len(names)))
		}
	}
	return nil
}
