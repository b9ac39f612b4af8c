// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	clientfake "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	"github.com/ciliate-io/ciliate/internal/datapath/fake"
	"github.com/ciliate-io/ciliate/internal/service"
)

// world is a reconciler between an API and a datapath that only remember.
type world struct {
	*Reconciler
	api      client.Client
	datapath *fake.Datapath
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{datapath: fake.New()}
	w.api = clientfake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithIndex(&discoveryv1.EndpointSlice{}, index.EndpointSliceService, index.EndpointSliceServiceOf).Build()
	w.Reconciler = New(Options{
		Client: w.api, Datapath: w.datapath, Clock: clock.RealClock{}, NodeName: "node1", Changed: func() {},
	})
	return w
}

func node(addr string) *v1alpha1.CiliumNode {
	n := &v1alpha1.CiliumNode{ObjectMeta: metav1.ObjectMeta{Name: "node1"}}
	n.Spec.Addresses = []v1alpha1.NodeAddress{{Type: "InternalIP", IP: addr}}
	return n
}

func webService(vip string) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"}}
	svc.Spec = corev1.ServiceSpec{
		Type: corev1.ServiceTypeNodePort, ClusterIP: vip, ClusterIPs: []string{vip},
		IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
		Ports:      []corev1.ServicePort{{Port: 80, NodePort: 30080, Protocol: corev1.ProtocolTCP}},
	}
	return svc
}

func webSlice(addrs ...string) *discoveryv1.EndpointSlice {
	name, protocol, port := "", corev1.ProtocolTCP, int32(8080)
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "ns", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &port}},
	}
	for _, a := range addrs {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	return s
}

// want compares the frontends and, in order, what is behind each.
func (w *world) want(t *testing.T, want map[string][]string) {
	t.Helper()
	state, err := w.datapath.Services()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for frontend, entry := range state.Frontends {
		behind := []string{}
		for i := range entry.Count {
			behind = append(behind, state.Backends[service.Slot{ID: entry.ID, Index: i}].String())
		}
		slices.Sort(behind)
		got[frontend.Addr.String()] = behind
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("frontends (-want +got):\n%s", diff)
	}
}

func (w *world) reconcile(t *testing.T) error {
	t.Helper()
	_, err := w.Reconcile(t.Context(), ctrl.Request{})
	return err
}

// both is what a ClusterIP and a node port lead to.
func both(vip, nodeAddr string, behind ...string) map[string][]string {
	return map[string][]string{vip + ":80": behind, nodeAddr + ":30080": behind}
}

func TestNothingBeforeSync(t *testing.T) {
	w := newWorld(t, node("172.18.0.11"), webService("10.96.0.7"), webSlice("10.0.1.1"))
	w.serviceChanged(t.Context(), webService("10.96.0.7"))
	if err := w.reconcile(t); err != nil {
		t.Fatal(err)
	}
	w.want(t, nil)
	if w.datapath.SocketsAttached() {
		t.Error("sockets follow maps that are not filled")
	}
	if err := w.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.want(t, both("10.96.0.7", "172.18.0.11", "10.0.1.1:8080"))
	if !w.datapath.SocketsAttached() {
		t.Error("the maps are filled, and no socket follows them")
	}
}

func TestChanges(t *testing.T) {
	tests := map[string]struct {
		change func(t *testing.T, w *world)
		want   map[string][]string
	}{
		"a slice has other endpoints": {
			change: func(t *testing.T, w *world) {
				w.update(t, webSlice("10.0.1.2", "10.0.1.3"))
				w.sliceChanged(t.Context(), webSlice())
			},
			want: both("10.96.0.7", "172.18.0.11", "10.0.1.2:8080", "10.0.1.3:8080"),
		},
		"the Service has another address": {
			change: func(t *testing.T, w *world) {
				w.update(t, webService("10.96.0.8"))
				w.serviceChanged(t.Context(), webService(""))
			},
			want: both("10.96.0.8", "172.18.0.11", "10.0.1.1:8080"),
		},
		"the node has another address": {
			change: func(t *testing.T, w *world) {
				w.update(t, node("172.18.0.12"))
				w.nodeChanged(t.Context(), node(""))
			},
			want: both("10.96.0.7", "172.18.0.12", "10.0.1.1:8080"),
		},
		"the slice is gone": {
			change: func(t *testing.T, w *world) {
				w.delete(t, webSlice())
				w.sliceChanged(t.Context(), webSlice())
			},
			want: both("10.96.0.7", "172.18.0.11"),
		},
		"the Service is gone": {
			change: func(t *testing.T, w *world) {
				w.delete(t, webService(""))
				w.serviceChanged(t.Context(), webService(""))
			},
		},
		"the kernel refuses at first": {
			change: func(t *testing.T, w *world) {
				w.update(t, webSlice("10.0.1.2"))
				w.sliceChanged(t.Context(), webSlice())
				broken := errors.New("broken")
				w.datapath.Fail("WriteServices", 1, broken)
				if err := w.reconcile(t); !errors.Is(err, broken) {
					t.Errorf("error = %v, want %v", err, broken)
				}
			},
			want: both("10.96.0.7", "172.18.0.11", "10.0.1.2:8080"),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, node("172.18.0.11"), webService("10.96.0.7"), webSlice("10.0.1.1"))
			if err := w.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			tt.change(t, w)
			if err := w.reconcile(t); err != nil {
				t.Fatal(err)
			}
			w.want(t, tt.want)
		})
	}
}

func TestHostPortsFollowTheirPod(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"}}
	pod.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 8080, HostPort: 80, HostIP: "127.0.0.1"}}}}
	w := newWorld(t, node("172.18.0.11"), pod)
	if err := w.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	follow := func(want map[string][]string) {
		t.Helper()
		w.podChanged(t.Context(), pod)
		if err := w.reconcile(t); err != nil {
			t.Fatal(err)
		}
		w.want(t, want)
	}
	follow(nil)
	if err := w.api.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
		t.Fatal(err)
	}
	pod.Status.PodIPs = []corev1.PodIP{{IP: "10.0.1.9"}}
	if err := w.api.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	follow(map[string][]string{"127.0.0.1:80": {"10.0.1.9:8080"}})
	w.delete(t, pod)
	follow(nil)
}

func TestSocketsToGoneBackendsEnd(t *testing.T) {
	w := newWorld(t, node("172.18.0.11"), webService("10.96.0.7"), webSlice("10.0.1.1"))
	if err := w.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.update(t, webSlice("10.0.1.2"))
	w.sliceChanged(t.Context(), webSlice())
	if err := w.reconcile(t); err != nil {
		t.Fatal(err)
	}
	calls := w.datapath.Calls()
	if wrote, ended := slices.Index(calls, "WriteServices"), slices.Index(calls, "DestroySockets"); ended < wrote || ended < 0 {
		t.Errorf("calls = %v, want sockets ended after the maps lead elsewhere", calls)
	}
	if diff := cmp.Diff(View{Services: 1, Backends: 2}, w.View()); diff != "" {
		t.Errorf("view (-want +got):\n%s", diff)
	}
}

// smallMaps have room for that many entries.
type smallMaps struct {
	*fake.Datapath
	capacity service.Capacity
}

func (d smallMaps) ServiceCapacity() service.Capacity { return d.capacity }

// TestMoreBackendsThanRoom: the Service that lacks room is named, and counted, until there is some. The others go on.
func TestMoreBackendsThanRoom(t *testing.T) {
	late := webService("10.96.0.9")
	late.Name, late.Spec.Type, late.Spec.Ports[0].NodePort = "late", corev1.ServiceTypeClusterIP, 0
	slice := webSlice("10.0.2.1", "10.0.2.2", "10.0.2.3")
	slice.Name, slice.Labels[discoveryv1.LabelServiceName] = "late-1", "late"
	first := webService("10.96.0.7")
	first.Spec.Type, first.Spec.Ports[0].NodePort = corev1.ServiceTypeClusterIP, 0
	told := 0
	w := newWorld(t, node("172.18.0.11"), first, webSlice("10.0.1.1", "10.0.1.2"))
	w.Datapath, w.Changed = smallMaps{w.datapath, service.Capacity{Frontends: 9, Backends: 4}}, func() { told++ }
	registry := prometheus.NewPedanticRegistry()
	if err := w.RegisterMetrics(registry); err != nil {
		t.Fatal(err)
	}
	if err := w.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, o := range []client.Object{late, slice} {
		if err := w.api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	w.serviceChanged(t.Context(), late)
	if err := w.reconcile(t); err != nil {
		t.Fatal(err)
	}
	w.want(t, map[string][]string{"10.96.0.7:80": {"10.0.1.1:8080", "10.0.1.2:8080"}, "10.96.0.9:80": {"10.0.2.1:8080", "10.0.2.2:8080"}})
	wantShort(t, w, registry, "ns/late")

	w.update(t, webSlice("10.0.1.3"))
	w.sliceChanged(t.Context(), webSlice())
	for range 2 { // room is made by the first, and taken by the second
		if err := w.reconcile(t); err != nil {
			t.Fatal(err)
		}
	}
	w.want(t, map[string][]string{"10.96.0.7:80": {"10.0.1.3:8080"}, "10.96.0.9:80": {"10.0.2.1:8080", "10.0.2.2:8080", "10.0.2.3:8080"}})
	wantShort(t, w, registry)
	if told != 2 {
		t.Errorf("told %d times, want one for the lack and one for its end", told)
	}
}

// wantShort compares the Services that lack room, and what the metric says of them.
func wantShort(t *testing.T, w *world, registry prometheus.Gatherer, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, w.View().Short, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("short of room (-want +got):\n%s", diff)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if got := f.GetMetric()[0].GetGauge().GetValue(); f.GetName() == "ciliate_services_short" && got != float64(len(want)) {
			t.Errorf("%s = %v, want %d", f.GetName(), got, len(want))
		}
	}
}

// TestOneNodePortForTwo: the older one keeps it, and the other, which goes on at its ClusterIP, is named.
func TestOneNodePortForTwo(t *testing.T) {
	other := webService("10.96.0.9")
	other.Name = "zeta"
	w := newWorld(t, node("172.18.0.11"), webService("10.96.0.7"), other, webSlice("10.0.1.1"))
	if err := w.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.want(t, map[string][]string{"10.96.0.7:80": {"10.0.1.1:8080"}, "172.18.0.11:30080": {"10.0.1.1:8080"}, "10.96.0.9:80": nil})
	if diff := cmp.Diff([]string{"ns/zeta (ns/web has 172.18.0.11:30080)"}, w.View().Contested); diff != "" {
		t.Errorf("contested (-want +got):\n%s", diff)
	}
}

// TestProblemIsTold: as long as it lasts.
func TestProblemIsTold(t *testing.T) {
	w := newWorld(t, node("172.18.0.11"), webService("10.96.0.7"), webSlice("10.0.1.1"))
	if err := w.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.datapath.Fail("WriteServices", 1, errors.New("broken"))
	w.update(t, webSlice("10.0.1.2"))
	w.sliceChanged(t.Context(), webSlice())
	if err := w.reconcile(t); err == nil || w.View().Problem != err.Error() {
		t.Errorf("problem = %q, want %v", w.View().Problem, err)
	}
	if err := w.reconcile(t); err != nil || w.View().Problem != "" {
		t.Errorf("problem = %q, error %v", w.View().Problem, err)
	}
	w.datapath.Fail("DestroySockets", 1, errors.New("sockets stay"))
	w.update(t, webSlice("10.0.1.3"))
	w.sliceChanged(t.Context(), webSlice())
	if err := w.reconcile(t); err != nil || w.View().Problem != "sockets stay" {
		t.Errorf("problem = %q, error %v", w.View().Problem, err)
	}
}

// TestHealthPortOfAnother: who has it is told of, until the port is free.
func TestHealthPortOfAnother(t *testing.T) {
	svc := webService("10.96.0.7")
	svc.Spec.Type, svc.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
	svc.Spec.HealthCheckNodePort = 32000
	w := newWorld(t, node("172.18.0.11"), svc, webSlice("10.0.1.1"))
	free := &loopback{at: map[uint16]string{}, fail: errors.New("in use")}
	w.health.listen = free.listen
	if err := w.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.View().Services != 1 {
		t.Error("the Service waits for the port")
	}
	result, err := w.Reconcile(t.Context(), ctrl.Request{})
	if err != nil || result.RequeueAfter != portAgain || !strings.Contains(w.View().Problem, "Service ns/web: in use") {
		t.Errorf("result = %v, %v; problem = %q", result, err, w.View().Problem)
	}
	free.fail = nil
	result, err = w.Reconcile(t.Context(), ctrl.Request{})
	if err != nil || result.RequeueAfter != 0 || w.View().Problem != "" {
		t.Errorf("with the port free: result = %v, %v; problem = %q", result, err, w.View().Problem)
	}
}

func TestRepair(t *testing.T) {
	w := newWorld(t, node("172.18.0.11"), webService("10.96.0.7"), webSlice("10.0.1.1"))
	if err := w.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	state, err := w.datapath.Services()
	if err != nil {
		t.Fatal(err)
	}
	for frontend := range state.Frontends {
		if err := w.datapath.WriteServices(service.Diff{DeleteFrontends: []service.Frontend{frontend}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.want(t, both("10.96.0.7", "172.18.0.11", "10.0.1.1:8080"))
}

// update writes over the object of that name.
func (w *world) update(t *testing.T, o client.Object) {
	t.Helper()
	have := o.DeepCopyObject().(client.Object)
	if err := w.api.Get(t.Context(), client.ObjectKeyFromObject(o), have); err != nil {
		t.Fatal(err)
	}
	o.SetResourceVersion(have.GetResourceVersion())
	if err := w.api.Update(t.Context(), o); err != nil {
		t.Fatal(fmt.Errorf("update %T: %w", o, err))
	}
}

func (w *world) delete(t *testing.T, o client.Object) {
	t.Helper()
	if err := w.api.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}
