// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package service

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	services  = 1000
	endpoints = 10
	// changed is how many of them change at once.
	changed = 200
	// patience is for the API server of a busy machine.
	patience = 2 * time.Minute
)

// TestChurn: what is written is exact, and no more than must be.
func TestChurn(t *testing.T) {
	c := start(t)
	inParallel(services, func(i int) { c.create(t, i, endpoints) })
	c.settled(t) // before Sync nothing is written
	must(t, c.reconciler.Sync(t.Context()))
	c.settle(t)
	if !c.datapath.SocketsAttached() {
		t.Error("the maps are full, and no socket follows them")
	}
	c.datapath.written()

	t.Run("a restart writes nothing", func(t *testing.T) {
		must(t, c.newReconciler().Sync(t.Context()))
		wantWritten(t, c, 0, 0)
	})
	t.Run("one endpoint less: a slot, a count, a deletion", func(t *testing.T) {
		inParallel(changed, func(i int) {
			c.change(t, i, func(s *discoveryv1.EndpointSlice) { s.Endpoints = s.Endpoints[1:] })
		})
		c.settle(t)
		wantWritten(t, c, 2*changed, changed)
	})
	t.Run("an endpoint for another: a slot", func(t *testing.T) {
		inParallel(changed, func(i int) {
			c.change(t, services/2+i, func(s *discoveryv1.EndpointSlice) { s.Endpoints[3].Addresses[0] = endpointAddr(services/2+i, 99) })
		})
		c.settle(t)
		wantWritten(t, c, changed, 0)
	})
	t.Run("labels and annotations: nothing", func(t *testing.T) {
		inParallel(changed, func(i int) {
			c.change(t, i, func(s *discoveryv1.EndpointSlice) { s.Labels["rolled"] = "yes" })
		})
		c.settle(t)
		wantWritten(t, c, 0, 0)
	})
	t.Run("Services deleted: their entries alone", func(t *testing.T) {
		const from = services - changed
		inParallel(changed, func(i int) {
			meta := metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("svc-", from+i)}
			must(t, c.client.Delete(t.Context(), &corev1.Service{ObjectMeta: meta}))
			must(t, c.client.Delete(t.Context(), &discoveryv1.EndpointSlice{ObjectMeta: meta}))
		})
		c.settle(t)
		_, deleted, calls := c.datapath.written()
		if deleted < changed*(endpoints+1) {
			t.Errorf("%d entries deleted, want at least %d", deleted, changed*(endpoints+1))
		}
		t.Logf("%d deletions in %d calls", deleted, calls)
	})
	t.Run("a slice of nobody is nobody's", func(t *testing.T) {
		port := int32(1)
		must(t, c.client.Create(t.Context(), &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: "stray", Labels: map[string]string{discoveryv1.LabelServiceName: "no-such-service"},
			},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Port: &port}},
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.9.9.9"}}},
		}))
		c.create(t, services, 1)
		c.settle(t)
		// The new Service's backend and frontend, and that again if the Service was seen before its slice.
		if put, deleted, _ := c.datapath.written(); put > 3 || deleted != 0 {
			t.Errorf("%d entries put and %d deleted, want those of one Service", put, deleted)
		}
	})
}

// settle waits until the tables are what the API server's objects say.
func (c *cluster) settle(t *testing.T) {
	t.Helper()
	want := c.wanted(t)
	eventually(t, "the tables to be right", patience, func() string {
		return cmp.Diff(want, c.state(t), cmpopts.EquateEmpty())
	})
	c.settled(t)
}

// settled waits until the cache has seen what the API server has, and the reconciler what the cache has.
func (c *cluster) settled(t *testing.T) {
	t.Helper()
	eventually(t, "the cache to be complete", patience, func() string {
		live, cached := &discoveryv1.EndpointSliceList{}, &discoveryv1.EndpointSliceList{}
		must(t, c.client.List(t.Context(), live))
		must(t, c.cached.List(t.Context(), cached))
		seen := map[string]string{}
		for _, s := range cached.Items {
			seen[s.Name] = s.ResourceVersion
		}
		for _, s := range live.Items {
			if seen[s.Name] != s.ResourceVersion {
				return s.Name + " is old"
			}
		}
		return ""
	})
}

// wantWritten compares entries since the last call.
func wantWritten(t *testing.T, c *cluster, put, deleted int) {
	t.Helper()
	gotPut, gotDeleted, calls := c.datapath.written()
	if gotPut != put || gotDeleted != deleted {
		t.Errorf("%d entries put and %d deleted in %d calls, want %d and %d", gotPut, gotDeleted, calls, put, deleted)
	}
	t.Logf("%d entries put and %d deleted in %d calls", gotPut, gotDeleted, calls)
}

// inParallel calls the deed for each number, a few at a time.
func inParallel(n int, deed func(int)) {
	const workers = 8
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				deed(i)
			}
		})
	}
	wg.Wait()
}
