// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package operator

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/operator"
	"github.com/ciliate-io/ciliate/internal/ipam"
	"github.com/ciliate-io/ciliate/test/build"
)

// elected makes operators elect a leader, in times that fit a test, and leaves the Lease behind when one ends, as a kill
// does.
func elected(o *manager.Options) {
	lease, renew, retry := 3*time.Second, 2*time.Second, 200*time.Millisecond
	o.LeaderElection, o.LeaderElectionReleaseOnCancel = true, false
	o.LeaseDuration, o.RenewDeadline, o.RetryPeriod = &lease, &renew, &retry
}

func (c *cluster) lease() *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: operator.LeaseName}}
}

func TestAnotherLeaderTakesOver(t *testing.T) {
	c := newCluster(t)
	c.check(client.IgnoreNotFound(c.Delete(t.Context(), c.lease())))
	c.make(build.Config(24, "10.77.0.0/16"))
	killFirst := c.operator(elected)
	held := c.lease()
	c.eventually("the first leads", func() error { return c.get(held) })
	first := *held.Spec.HolderIdentity
	c.operator(elected)

	node := func(i int) string { return fmt.Sprint("n", i) }
	for i := range 30 {
		c.make(build.Node(node(i)).Address(fmt.Sprint("192.0.2.", i+1)).Obj())
		c.pod(build.Pod(c.name(fmt.Sprint("p", i))).Label("app", fmt.Sprint(i%10)))
		if i == 10 {
			killFirst() // In the middle of things.
		}
	}
	var all []netip.Prefix
	for i := range 30 {
		ranges := c.pooled(node(i), metav1.ConditionTrue, v1alpha1.ReasonAssigned)
		if len(ranges) != 1 {
			t.Fatalf("node %s has the ranges %v", node(i), ranges)
		}
		all = append(all, netip.MustParsePrefix(ranges[0]))
	}
	if a, b, found := ipam.Overlaps(all); found {
		t.Errorf("%s overlaps %s", a, b)
	}
	for i := range 10 {
		c.one(fmt.Sprint(i))
	}
	c.check(c.get(held))
	if *held.Spec.HolderIdentity == first {
		t.Errorf("the Lease is still held by %s", first)
	}
}

// counting counts what is asked of the API server.
type counting struct {
	http.RoundTripper
	asked *atomic.Int64
}

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.asked.Add(1)
	return c.RoundTripper.RoundTrip(r)
}

// Every pod and endpoint is sent to who watches them: the replica that waits is ready, and watches nothing.
func TestWaitingReplicaWatchesNothing(t *testing.T) {
	c := newCluster(t)
	c.check(client.IgnoreNotFound(c.Delete(t.Context(), c.lease())))
	killFirst := c.operator(elected)
	c.eventually("the first leads", func() error { return c.get(c.lease()) })
	var asked atomic.Int64
	health := freePort(t)
	c.operator(elected, func(o *manager.Options) {
		o.HealthProbeBindAddress = health
		o.NewCache = func(rc *rest.Config, co cache.Options) (cache.Cache, error) {
			co.HTTPClient = &http.Client{Transport: counting{co.HTTPClient.Transport, &asked}}
			return cache.New(rc, co)
		}
	})
	c.eventually("the second is ready", func() error {
		if code := readyz(health); code != http.StatusOK {
			return fmt.Errorf("readyz says %d", code)
		}
		return nil
	})
	c.always("the second's cache asks for nothing", func() error {
		if n := asked.Load(); n > 0 {
			return fmt.Errorf("it sent %d requests", n)
		}
		return nil
	})
	killFirst()
	c.make(build.Node("n1").Address("192.0.2.1").Obj())
	c.eventually("the second works", func() error { return c.get(build.CiliumNode("n1")) })
}

func TestStoppedLeaderGivesTheLeaseBack(t *testing.T) {
	c := newCluster(t)
	c.check(client.IgnoreNotFound(c.Delete(t.Context(), c.lease())))
	stop := c.operator(func(o *manager.Options) { o.LeaderElection = true })
	held := c.lease()
	c.eventually("it leads", func() error { return c.get(held) })
	stop()
	c.check(c.get(held))
	if holder := held.Spec.HolderIdentity; holder != nil && *holder != "" {
		t.Errorf("the Lease is held by %q", *holder)
	}
	if got := *held.Spec.LeaseDurationSeconds; got > 15 {
		t.Errorf("the Lease is for %d s, want at most 15", got)
	}
}

// label sets or, with an empty value, removes the schema label of a CRD.
func (c *cluster) label(crd, value string) {
	c.t.Helper()
	obj := &metav1.PartialObjectMetadata{}
	obj.SetGroupVersionKind(schema.GroupVersionKind{
		Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition",
	})
	c.check(c.Get(context.WithoutCancel(c.t.Context()), client.ObjectKey{Name: crd}, obj))
	patch := client.MergeFrom(obj.DeepCopy())
	obj.Labels = map[string]string{v1alpha1.SchemaLabel: value}
	if value == "" {
		obj.Labels = nil
	}
	c.check(c.Patch(context.WithoutCancel(c.t.Context()), obj, patch))
}

// freePort is an address on loopback on which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// readyz is the status of an operator's answer, zero when there is none.
func readyz(health string) int {
	response, err := http.Get("http://" + health + "/readyz")
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

func TestOperatorLeavesForeignCRDsAlone(t *testing.T) {
	const crd = "ciliumendpoints.cilium.io"
	tests := map[string]struct{ label string }{
		"without our label": {},
		"older than needed": {label: "0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			now := fmt.Sprint(v1alpha1.SchemaVersion)
			t.Cleanup(func() { c.label(crd, now) })
			c.label(crd, tt.label)
			health := freePort(t)
			c.operator(func(o *manager.Options) { o.HealthProbeBindAddress = health })
			c.make(build.Node("n1").Address("192.0.2.1").Obj())
			c.eventually("it is not ready", func() error {
				if code := readyz(health); code != http.StatusInternalServerError {
					return fmt.Errorf("readyz says %d", code)
				}
				return nil
			})
			c.always("it does nothing", func() error { return c.gone(build.CiliumNode("n1")) })
			c.label(crd, now)
			c.eventually("it starts once the CRDs are well", func() error { return c.get(build.CiliumNode("n1")) })
			if code := readyz(health); code != http.StatusOK {
				t.Errorf("readyz says %d", code)
			}
		})
	}
}
