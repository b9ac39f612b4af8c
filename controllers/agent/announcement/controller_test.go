// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package announcement

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

func TestNothingBeforeSync(t *testing.T) {
	w := newWorld(t)
	w.synced.Store(false)
	w.run()
	w.pass(time.Minute)
	w.announces(false)
}

func TestNodeTakesFreeLease(t *testing.T) {
	w := newWorld(t)
	if wait := w.run().RequeueAfter; wait != turn("n1", name) {
		t.Errorf("it looks again after %s, want its turn, %s", wait, turn("n1", name))
	}
	w.announces(false)
	if wait := w.pass(spread).RequeueAfter; wait != renewEvery {
		t.Errorf("it looks again after %s, want %s", wait, renewEvery)
	}
	w.announces(true)
	lease := w.lease()
	if holderOf(lease) != "n1" || *lease.Spec.LeaseDurationSeconds != 15 || *lease.Spec.LeaseTransitions != 0 ||
		lease.Labels[v1alpha1.AnnouncementNamespaceLabel] != "ns" || lease.Labels[v1alpha1.AnnouncementServiceLabel] != "web" {
		t.Errorf("the Lease is %+v", lease)
	}
}

func TestHolderRenews(t *testing.T) {
	w := newWorld(t)
	w.take()
	first := *w.lease().Spec.RenewTime
	w.pass(renewEvery - time.Second)
	if w.writes != 1 {
		t.Errorf("%d writes, want one until it is time", w.writes)
	}
	w.pass(time.Second)
	if got := w.lease().Spec; !got.RenewTime.After(first.Time) || *got.LeaseTransitions != 0 || w.writes != 2 {
		t.Errorf("the Lease is %+v after %d writes", got, w.writes)
	}
}

func TestNodeFollowsSilentHolder(t *testing.T) {
	w := newWorld(t, newLease(name, "n2", time.Unix(1_600_000_000, 0))) // Its clock is far behind.
	w.run()
	w.pass(leaseDuration - time.Second)
	w.heldBy("n2")
	w.run()
	w.pass(leaseDuration - time.Millisecond)
	w.announces(false)
	w.pass(spread)
	w.announces(true)
	if got := w.lease().Spec; *got.HolderIdentity != "n1" || *got.LeaseTransitions != 1 {
		t.Errorf("the Lease is %+v", got)
	}
}

func TestHolderThatLostTheLeaseIsSilent(t *testing.T) {
	w := newWorld(t)
	w.take()
	w.heldBy("n2")
	w.pass(renewEvery)
	w.announces(false)
	w.run()
	w.announces(false)
}

func TestRestartedAgentGoesOn(t *testing.T) {
	w := newWorld(t, newLease(name, "n1", time.Unix(1_700_000_000, 0)))
	w.run()
	w.announces(true)
	if got := *w.lease().Spec.LeaseTransitions; got != 0 {
		t.Errorf("%d transitions, want none", got)
	}
}

func TestSyncWithdrawsWhatIsStale(t *testing.T) {
	w := newWorld(t, newLease(name, "n1", time.Unix(1_700_000_000, 0)))
	stale := dp.Announcement{Addr: netip.MustParseAddr("192.0.2.99"), Device: "eth0"}
	wanted := dp.Announcement{Addr: netip.MustParseAddr("192.0.2.200"), Device: "eth0"}
	if err := w.datapath.Announce([]dp.Announcement{stale, wanted}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := w.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := w.datapath.Announcements(); err != nil || len(got) != 1 || got[0] != wanted {
		t.Errorf("announcements = %v, %v, want %v alone", got, err, wanted)
	}
}

func TestSyncWithdrawsWhatIsAnothers(t *testing.T) {
	w := newWorld(t, newLease(name, "n2", time.Unix(1_700_000_000, 0)))
	if err := w.datapath.Announce([]dp.Announcement{{Addr: netip.MustParseAddr("192.0.2.200"), Device: "eth0"}}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := w.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.announces(false)
}

func TestNodeLeavesWhatItMayNotAnnounce(t *testing.T) {
	tests := map[string]struct {
		change     func(w *world) error
		wantHolder string
	}{
		"the policy is gone": {change: func(w *world) error { return w.api.Delete(w.t.Context(), policy()) }},
		"the Service has no addresses any more": {change: func(w *world) error {
			svc := web()
			if err := w.api.Get(w.t.Context(), name, svc); err != nil {
				return err
			}
			svc.Status.LoadBalancer.Ingress = nil
			return w.api.Status().Update(w.t.Context(), svc)
		}},
		"it wants backends of the node, and there is none": {change: func(w *world) error {
			svc := web()
			if err := w.api.Get(w.t.Context(), name, svc); err != nil {
				return err
			}
			svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
			return w.api.Update(w.t.Context(), svc)
		}},
		// The Lease is the operator's to delete.
		"the Service is gone": {change: func(w *world) error { return w.api.Delete(w.t.Context(), web()) }, wantHolder: "n1"},
	}
	for title, tt := range tests {
		t.Run(title, func(t *testing.T) {
			w := newWorld(t)
			w.take()
			if err := tt.change(w); err != nil {
				t.Fatal(err)
			}
			w.run()
			w.announces(false)
			if got := holderOf(w.lease()); got != tt.wantHolder {
				t.Errorf("the holder is %q, want %q", got, tt.wantHolder)
			}
		})
	}
}

func TestLocalBackendIsEnough(t *testing.T) {
	node := "n1"
	w := newWorld(t, &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		Endpoints:  []discoveryv1.Endpoint{{NodeName: &node, Addresses: []string{"10.0.1.1"}}},
	})
	svc := web()
	if err := w.api.Get(t.Context(), name, svc); err != nil {
		t.Fatal(err)
	}
	svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	if err := w.api.Update(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	w.take()
}

// TestAnswersEndBeforeOthersHoldTheLease: whatever the agent does last, its kernel is silent when others may begin.
func TestAnswersEndBeforeOthersHoldTheLease(t *testing.T) {
	w := newWorld(t)
	w.take()
	for since := time.Duration(0); since <= leaseDuration; since += time.Second {
		w.datapath.long = 0
		if err := w.tenures.beat(w.clock.Now()); err != nil {
			t.Fatal(err)
		}
		if w.datapath.long > max(0, leaseDuration-margin-since) {
			t.Errorf("%s after renewing it answers for another %s", since, w.datapath.long)
		}
		w.clock.Step(time.Second)
	}
}

// TestAnswersGoOnWithoutTheAPIServer: nobody else can hold the Lease meanwhile.
func TestAnswersGoOnWithoutTheAPIServer(t *testing.T) {
	w := newWorld(t)
	w.take()
	w.down = errors.New("connection refused")
	for range 60 {
		w.pass(again)
		w.datapath.long = 0
		if err := w.tenures.beat(w.clock.Now()); err != nil {
			t.Fatal(err)
		}
		if w.datapath.long < beatEvery {
			t.Fatalf("it answers for another %s", w.datapath.long)
		}
	}
	w.announces(true)
	w.down = nil
	w.pass(again)
	w.announces(true)
	if got := *w.lease().Spec.LeaseTransitions; got != 0 {
		t.Errorf("%d transitions, want none", got)
	}
}

// TestSilenceOfTheAPIServerIsNotTheHolders: a node that cannot write counts anew.
func TestSilenceOfTheAPIServerIsNotTheHolders(t *testing.T) {
	w := newWorld(t, newLease(name, "n2", time.Unix(1_700_000_000, 0)))
	w.run()
	w.down = errors.New("connection refused")
	w.clock.Step(leaseDuration + spread)
	if _, err := w.Reconcile(t.Context(), request()); !errors.Is(err, w.down) {
		t.Errorf("err = %v, want %v", err, w.down)
	}
	w.down = nil
	w.pass(leaseDuration - time.Second)
	w.announces(false)
	w.pass(time.Second + spread)
	w.announces(true)
}

// TestSharedAddressStaysWhileOneAnnouncesIt: Services may have one external address.
func TestSharedAddressStaysWhileOneAnnouncesIt(t *testing.T) {
	w := newWorld(t)
	w.take()
	other := name
	other.Name = "other"
	shared, own := dp.Announcement{Addr: netip.MustParseAddr("192.0.2.200"), Device: "eth0"}, dp.Announcement{Addr: netip.MustParseAddr("192.0.2.201"), Device: "eth0"}
	of := tenure{lease: w.lease(), renewed: w.clock.Now(), announced: []dp.Announcement{shared, own}}
	if err := errors.Join(w.tenures.put(other, of, w.clock.Now()), w.tenures.end(other)); err != nil {
		t.Fatal(err)
	}
	w.announces(true)
}
