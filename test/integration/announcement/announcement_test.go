// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package announcement

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// soon is for what a watch brings about; over is for when a Lease ends, on a machine that does other things too.
const (
	soon = 10 * time.Second
	over = 25 * time.Second
)

func policy(change ...func(*v1alpha1.CiliumL2AnnouncementPolicySpec)) *v1alpha1.CiliumL2AnnouncementPolicy {
	p := &v1alpha1.CiliumL2AnnouncementPolicy{ObjectMeta: metav1.ObjectMeta{Name: "policy"}}
	p.Spec.LoadBalancerIPs = true
	for _, c := range change {
		c(&p.Spec)
	}
	return p
}

func other(node string) string {
	if node == "n1" {
		return "n2"
	}
	return "n1"
}

func TestAnnouncements(t *testing.T) {
	c := start(t)
	web := c.service("web", "192.0.2.200")
	time.Sleep(time.Second)
	c.announcedBy(web, soon, "")
	c.make(policy())
	first := c.announcedBy(web, soon, "n1", "n2")

	// Its label says that a node may.
	c.check(c.Delete(t.Context(), policy()))
	c.announcedBy(web, soon, "")
	c.make(policy(func(s *v1alpha1.CiliumL2AnnouncementPolicySpec) {
		s.NodeSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"edge": "yes"}}
	}))
	c.labelNode(other(first), "yes")
	c.announcedBy(web, soon, other(first))
	c.labelNode(first, "yes")
	c.labelNode(other(first), "no")
	c.announcedBy(web, soon, first)
	c.labelNode(other(first), "yes")

	// The node goes, without a word.
	c.nodes[first].stop()
	begin := time.Now()
	for c.holder("web") == first {
		if time.Since(begin) > over {
			t.Fatalf("%s holds the Lease after %s", first, over)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if early := 9 * time.Second; time.Since(begin) < early {
		t.Errorf("the Lease was taken after %s: its holder may have been alive", time.Since(begin))
	}
	// A new agent there finds out that the address is another's.
	c.run(first)
	c.announcedBy(web, soon, other(first))

	c.check(c.Delete(t.Context(), web))
	c.announcedBy(web, soon, "")
}

func (c *cluster) labelNode(name, edge string) {
	c.t.Helper()
	node := &corev1.Node{}
	c.check(c.Get(c.t.Context(), client.ObjectKey{Name: name}, node))
	patch := client.MergeFrom(node.DeepCopy())
	if node.Labels == nil {
		node.Labels = map[string]string{}
	}
	node.Labels["edge"] = edge
	c.check(c.Patch(c.t.Context(), node, patch))
}

// TestLocalServiceFollowsItsBackends: with externalTrafficPolicy Local only a node with a backend could serve it.
func TestLocalServiceFollowsItsBackends(t *testing.T) {
	c := start(t)
	c.make(policy())
	web := c.service("web", "192.0.2.200", func(svc *corev1.Service) {
		svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	})
	time.Sleep(time.Second)
	c.announcedBy(web, soon, "")
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.0.2.1"}, NodeName: new("n2")}},
	}
	c.make(slice)
	c.announcedBy(web, soon, "n2")
	slice.Endpoints[0] = discoveryv1.Endpoint{Addresses: []string{"10.0.1.1"}, NodeName: new("n1")}
	c.check(c.Update(t.Context(), slice))
	c.announcedBy(web, soon, "n1")
	slice.Endpoints = nil
	c.check(c.Update(t.Context(), slice))
	c.announcedBy(web, soon, "")
}

// TestServicesSpreadOverNodes: not all by the node that is fastest.
func TestServicesSpreadOverNodes(t *testing.T) {
	c := start(t)
	c.make(policy())
	count := map[string]int{}
	var all []*corev1.Service
	for i := range 16 {
		all = append(all, c.service(fmt.Sprint("web-", i), fmt.Sprint("192.0.2.", 200+i)))
	}
	for _, svc := range all {
		count[c.announcedBy(svc, soon, "n1", "n2")]++
	}
	if count["n1"] == 0 || count["n2"] == 0 {
		t.Errorf("they are announced by %v, want both nodes", count)
	}
}
