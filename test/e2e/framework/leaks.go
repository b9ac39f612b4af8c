// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/datapath"
)

// leakTime covers the 30 s of grace after which an agent ends an endpoint whose pod went without a DEL.
const leakTime = 75 * time.Second

// NoLeaks waits until the cluster is healthy and objects, pods, devices and maps agree on every node: nothing is held for
// what is gone, and nothing is missing for what is there.
func (c *Cluster) NoLeaks(t *testing.T) {
	t.Helper()
	c.Settle(t)
	took := Eventually(t, leakTime, "objects, devices and maps that agree", c.leaks)
	t.Logf("no leaks: objects, pods, devices and maps agree (after %s)", took.Round(100*time.Millisecond))
}

// NoLeaksButHeld is NoLeaks for a test whose endpoints were deleted while their pods live: the pods are deleted first.
func (c *Cluster) NoLeaksButHeld(t *testing.T) {
	t.Helper()
	c.sweep(t)
	c.NoLeaks(t)
}

// state is what the API server says.
type state struct {
	endpoints  []v1alpha1.CiliumEndpoint
	nodes      []v1alpha1.CiliumNode
	identities map[uint32]bool
	pods       []corev1.Pod
}

func (c *Cluster) state(ctx context.Context) (state, error) {
	var s state
	var endpoints v1alpha1.CiliumEndpointList
	var nodes v1alpha1.CiliumNodeList
	var identities v1alpha1.CiliumIdentityList
	pods, podsErr := c.pods(ctx, "")
	err := errors.Join(podsErr, c.List(ctx, &endpoints), c.List(ctx, &nodes), c.List(ctx, &identities))
	s.endpoints, s.nodes, s.pods, s.identities = endpoints.Items, nodes.Items, pods, map[uint32]bool{}
	for _, identity := range identities.Items {
		var number uint32
		if _, scanErr := fmt.Sscan(identity.Name, &number); scanErr != nil {
			err = errors.Join(err, scanErr)
		}
		s.identities[number] = true
	}
	return s, err
}

func (c *Cluster) leaks(ctx context.Context) error {
	s, err := c.state(ctx)
	if err != nil {
		return err
	}
	errs := []error{s.podsMatch(), s.addressesAreUnique()}
	for _, n := range c.Nodes {
		kernel, err := n.Kernel()
		if err != nil {
			return err
		}
		tombstones, err := n.Tombstones()
		if err != nil {
			return err
		}
		errs = append(errs, s.devicesMatch(n, kernel), s.tablesMatch(n, kernel), s.buriedAreGone(n, tombstones))
	}
	return errors.Join(errs...)
}

// podsMatch: every endpoint has its live pod, every running pod that is not on the host's network its ready endpoint.
func (s state) podsMatch() error {
	want, have := map[string]bool{}, map[string]bool{}
	for _, p := range s.pods {
		over := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if !p.Spec.HostNetwork && !over && p.Status.PodIP != "" {
			want[p.Namespace+"/"+p.Name+" "+string(p.UID)] = true
		}
	}
	for _, ep := range s.endpoints {
		ready := slices.ContainsFunc(ep.Status.Conditions, func(c metav1.Condition) bool { return c.Type == "Ready" && c.Status == "True" })
		if ready && ep.DeletionTimestamp == nil {
			have[ep.Namespace+"/"+ep.Name+" "+ep.Spec.PodUID] = true
		} else {
			have[ep.Namespace+"/"+ep.Name+" that is not ready or deleted"] = true
		}
	}
	return differ("endpoints", "pods", have, want)
}

func (s state) addressesAreUnique() error {
	holders := map[string]string{}
	for _, ep := range s.endpoints {
		for _, a := range ep.Status.Addresses {
			name := ep.Namespace + "/" + ep.Name
			if other := holders[a.IP]; other != "" {
				return fmt.Errorf("%s and %s both have %s", other, name, a.IP)
			}
			holders[a.IP] = name
		}
	}
	return nil
}

// devicesMatch: the node has the device, its two programs and its map entries for each of its endpoints, and no others.
func (s state) devicesMatch(n *Node, k Kernel) error {
	want, have := map[string]bool{}, map[string]bool{}
	entries, interfaces := map[string]bool{}, map[int]bool{}
	for _, ep := range s.endpoints {
		if ep.Spec.NodeName != n.Name {
			continue
		}
		name := datapath.HostIfName(ep.Spec.ContainerID, ep.Spec.IfName)
		want[fmt.Sprintf("%s of %s, up true, programs 2", name, ep.UID)] = true
		interfaces[k.Devices[name].Index] = true
		for _, a := range ep.Status.Addresses {
			entries[fmt.Sprintf("%s at %d", a.IP, k.Devices[name].Index)] = true
		}
	}
	for name, d := range k.Devices {
		have[fmt.Sprintf("%s of %s, up %t, programs %d", name, d.Owner, d.Up, len(d.Programs))] = true
	}
	held := map[string]bool{}
	for address, index := range k.Endpoints {
		held[fmt.Sprintf("%s at %d", address, index)] = true
	}
	return errors.Join(
		differ("devices of "+n.Name, "endpoints", have, want),
		differ("entries of map endpoints of "+n.Name, "endpoints", held, entries),
		differ("entries of map endpoint_ifs of "+n.Name, "devices", k.Interfaces, interfaces),
	)
}

// tablesMatch: the node knows the identity of every endpoint of the cluster, and no other address of a pod range but the
// routers'.
func (s state) tablesMatch(n *Node, k Kernel) error {
	var ranges []netip.Prefix
	for _, node := range s.nodes {
		for _, cidr := range node.Spec.IPAM.PodCIDRs {
			prefix, err := netip.ParsePrefix(cidr)
			if err != nil {
				return err
			}
			ranges = append(ranges, prefix)
		}
	}
	want, have := map[string]bool{}, map[string]bool{}
	for _, ep := range s.endpoints {
		for _, a := range ep.Status.Addresses {
			if ep.Status.Identity != nil {
				want[fmt.Sprintf("%s is %d", a.IP, ep.Status.Identity.Number)] = true
			}
		}
	}
	const firstOfPods = 256
	for address, identity := range k.Addresses {
		inRange := slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Contains(address) })
		if inRange && identity >= firstOfPods {
			have[fmt.Sprintf("%s is %d", address, identity)] = true
		}
	}
	return errors.Join(
		differ("entries of map ipcache of "+n.Name, "endpoints", have, want),
		differ("entries of map identities of "+n.Name, "identities", k.Identities, s.identities),
	)
}

// buriedAreGone: no endpoint is of a sandbox that has a tombstone.
func (s state) buriedAreGone(n *Node, tombstones []string) error {
	for _, ep := range s.endpoints {
		if ep.Spec.NodeName == n.Name && slices.Contains(tombstones, ep.Spec.ContainerID+"-"+ep.Spec.IfName) {
			return fmt.Errorf("%s/%s on %s has a tombstone", ep.Namespace, ep.Name, n.Name)
		}
	}
	return nil
}

// differ says which members one set has and the other lacks.
func differ[K comparable](what, owners string, have, want map[K]bool) error {
	var extra, missing []string
	for member := range maps.Keys(have) {
		if !want[member] {
			extra = append(extra, fmt.Sprint(member))
		}
	}
	for member := range maps.Keys(want) {
		if !have[member] {
			missing = append(missing, fmt.Sprint(member))
		}
	}
	if len(extra)+len(missing) == 0 {
		return nil
	}
	slices.Sort(extra)
	slices.Sort(missing)
	return fmt.Errorf("%s do not match the %s: too many: %q, missing: %q", what, owners, extra, missing)
}
