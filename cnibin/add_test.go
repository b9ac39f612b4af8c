// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/cnibin/fake"
)

func TestAddCreatesTheObjectAndPrintsItsResult(t *testing.T) {
	w := newWorld(t)
	w.serve()
	wantError(t, w.run(w.plugin.add), 0)
	wantEqual(t, []string{"create", "watch"}, w.Requests())
	got, _ := w.Get("default", "web")
	want := w.own()
	wantEqual(t, want.Spec, got.Spec)
	wantEqual(t, want.Finalizers, got.Finalizers)
	wantEqual(t, 0, len(got.OwnerReferences))
	wantEqual(t, `{
    "cniVersion": "1.1.0",
    "interfaces": [
        {
            "mac": "02:00:00:00:00:02",
            "mtu": 1450,
            "name": "lxc0123456789a"
        },
        {
            "mac": "02:00:00:00:00:01",
            "mtu": 1450,
            "name": "eth0",
            "sandbox": "/var/run/netns/cni-1"
        }
    ],
    "ips": [
        {
            "address": "10.1.2.3/32",
            "gateway": "10.1.2.1",
            "interface": 1
        },
        {
            "address": "fd00:1::3/128",
            "gateway": "fd00:1::1",
            "interface": 1
        }
    ],
    "routes": [
        {
            "dst": "0.0.0.0/0",
            "gw": "10.1.2.1"
        },
        {
            "dst": "::/0",
            "gw": "fd00:1::1"
        }
    ]
}`, w.stdout.String())
}

func TestAddSucceeds(t *testing.T) {
	cases := map[string]struct {
		arrange        func(w *world)
		wantCreates    int
		wantTombstones []string
	}{
		"when an earlier attempt of this sandbox has created the object": {
			arrange:     func(w *world) { w.store(w.own()) },
			wantCreates: 1,
		},
		"when the object is there and already Ready": {
			arrange: func(w *world) {
				w.SetStatus("default", "web", fake.Ready(w.store(w.own())))
			},
			wantCreates: 1,
		},
		"when the answer to the POST is lost": {
			arrange:     func(w *world) { w.Fail("create", fake.Lose()) },
			wantCreates: 2,
		},
		"when the POST itself is lost": {
			arrange:     func(w *world) { w.Fail("create", fake.Drop(), fake.Drop()) },
			wantCreates: 3,
		},
		"when the apiserver does not answer the POST": {
			arrange:     func(w *world) { w.Fail("create", fake.Hang()) },
			wantCreates: 2,
		},
		"when the apiserver is overloaded": {
			arrange: func(w *world) {
				w.Fail("create",
					fake.Refuse(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "later"),
					fake.Refuse(http.StatusInternalServerError, metav1.StatusReasonInternalError, "etcd"),
					fake.Refuse(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "starting"),
					fake.Garbage(http.StatusBadGateway))
			},
			wantCreates: 5,
		},
		"when the GET of what has the name fails at first": {
			arrange: func(w *world) {
				w.store(w.own())
				w.Fail("get", fake.Drop(), fake.Garbage(http.StatusGatewayTimeout))
			},
			wantCreates: 1,
		},
		"when what had the name is gone by the time of the GET": {
			arrange: func(w *world) {
				w.Fail("create", fake.Refuse(http.StatusConflict, metav1.StatusReasonAlreadyExists, "exists"))
			},
			wantCreates: 2,
		},
		"when a tombstone of its own is left from an earlier life": {
			arrange:     func(w *world) { w.bury(thisContainer, "eth0") },
			wantCreates: 1,
		},
		"when the agent has not yet ended its own earlier life": {
			arrange: func(w *world) {
				w.SetStatus("default", "web", fake.Ready(w.store(w.own())))
				w.bury(thisContainer, "eth0")
			},
			wantCreates: 1,
		},
		"when another sandbox has the name and its own has a tombstone": {
			arrange: func(w *world) {
				w.store(w.older(func(*v1alpha1.CiliumEndpoint) {}))
				w.bury(thisContainer, "eth0")
			},
			wantCreates:    2,
			wantTombstones: []string{"01d-eth0"},
		},
		"when the old sandbox of the pod has to be replaced": {
			arrange: func(w *world) {
				w.store(w.older(func(*v1alpha1.CiliumEndpoint) {}))
			},
			wantCreates:    2,
			wantTombstones: []string{"01d-eth0"},
		},
		"when the old sandbox of the pod is already being deleted": {
			arrange: func(w *world) {
				w.store(w.older(func(*v1alpha1.CiliumEndpoint) {}))
				w.Delete("default", "web")
			},
			wantCreates:    2,
			wantTombstones: []string{"01d-eth0"},
		},
		"when its own object is being deleted, by a new one": {
			arrange: func(w *world) {
				w.SetStatus("default", "web", fake.Ready(w.store(w.own())))
				w.Delete("default", "web")
			},
			wantCreates: 2,
		},
		"when the object of another pod UID goes in time": {
			arrange: func(w *world) {
				w.store(w.older(func(ep *v1alpha1.CiliumEndpoint) { ep.Spec.PodUID = "pod-0" }))
				w.Delete("default", "web")
				time.AfterFunc(50*time.Millisecond, func() { w.Release("default", "web") })
			},
			wantCreates: 2,
		},
		"when the object of another node goes in time": {
			arrange: func(w *world) {
				w.store(w.older(func(ep *v1alpha1.CiliumEndpoint) { ep.Spec.NodeName = "node2" }))
				w.Delete("default", "web")
				time.AfterFunc(50*time.Millisecond, func() { w.Release("default", "web") })
			},
			wantCreates: 2,
		},
		"when the token is renewed while the old one is refused": {
			arrange: func(w *world) {
				w.Rotate("token-2")
				time.AfterFunc(50*time.Millisecond, func() { w.writeKubeconfig("token-2") })
				w.Fail("create", fake.Refuse(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized"))
			},
			wantCreates: -1,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tc.arrange(w)
			w.serve()
			w.poke()
			wantError(t, w.run(w.plugin.add), 0)
			got, _ := w.Get("default", "web")
			wantEqual(t, w.own().Spec, got.Spec)
			wantEqual(t, true, got.DeletionTimestamp == nil)
			wantEqual(t, tc.wantTombstones, w.tombstones())
			wantEqual(t, true, tc.wantCreates < 0 || tc.wantCreates == w.count("create"))
		})
	}
}

// poke lets an agent that starts now see the object that was there before it.
func (w *world) poke() {
	ep, found := w.Get("default", "web")
	if found {
		w.SetStatus("default", "web", ep.Status)
	}
}

func TestAddFails(t *testing.T) {
	cases := map[string]struct {
		arrange   func(w *world)
		wantCode  uint
		wantTexts []string
	}{
		"with PreviousInstance while another pod UID has the name": {
			arrange: func(w *world) {
				w.hurry()
				w.store(w.older(func(ep *v1alpha1.CiliumEndpoint) { ep.Spec.PodUID = "pod-0" }))
			},
			wantCode:  11,
			wantTexts: []string{"PreviousInstance", "pod-0", "node1", "01d"},
		},
		"with PreviousInstance while another node has the name": {
			arrange: func(w *world) {
				w.hurry()
				w.store(w.older(func(ep *v1alpha1.CiliumEndpoint) { ep.Spec.NodeName = "node2" }))
			},
			wantCode:  11,
			wantTexts: []string{"PreviousInstance", "node2"},
		},
		"for a second interface of the sandbox, by name": {
			arrange: func(w *world) {
				ep := w.own()
				ep.Spec.IfName = "net1"
				w.store(ep)
			},
			wantCode:  110,
			wantTexts: []string{`"net1"`, `"eth0"`, thisContainer},
		},
		"when the netns is not one of a runtime": {
			arrange:   func(w *world) { w.args.Netns = "/proc/1/ns/net" },
			wantCode:  111,
			wantTexts: []string{"422", "spec.netns"},
		},
		"when the namespace or the CRD does not exist": {
			arrange: func(w *world) {
				w.Fail("create", fake.Refuse(http.StatusNotFound, metav1.StatusReasonNotFound, `namespaces "default" not found`))
			},
			wantCode:  11,
			wantTexts: []string{"namespaces"},
		},
		"when the apiserver is away until the deadline": {
			arrange: func(w *world) {
				w.hurry()
				w.Stop()
			},
			wantCode:  11,
			wantTexts: []string{"connection refused"},
		},
		"when the token stays refused": {
			arrange: func(w *world) {
				w.hurry()
				w.Rotate("token-2")
			},
			wantCode:  11,
			wantTexts: []string{"401"},
		},
		"when the agent has written no kubeconfig": {
			arrange: func(w *world) {
				if err := os.Remove(filepath.Join(w.runDir, "cni.kubeconfig")); err != nil {
					w.t.Fatal(err)
				}
			},
			wantCode:  11,
			wantTexts: []string{"cni.kubeconfig", "no such file"},
		},
		"when the kubeconfig is not JSON": {
			arrange:   func(w *world) { w.writeFile("cni.kubeconfig", []byte("apiVersion: v1\n")) },
			wantCode:  11,
			wantTexts: []string{"cni.kubeconfig", "JSON"},
		},
		"when the apiserver is another than the kubeconfig's": {
			arrange: func(w *world) {
				w.hurry()
				w.writeFile("cni.kubeconfig", fake.Kubeconfig(w.t, w.URL(), otherCA(w.t), "token-1"))
			},
			wantCode:  11,
			wantTexts: []string{"certificate"},
		},
		"without CNI_ARGS": {
			arrange:   func(w *world) { w.args.Args = "" },
			wantCode:  4,
			wantTexts: []string{"K8S_POD_NAMESPACE, K8S_POD_NAME, K8S_POD_UID missing"},
		},
		"without the pod's UID": {
			arrange:   func(w *world) { w.args.Args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web" },
			wantCode:  4,
			wantTexts: []string{"K8S_POD_UID missing"},
		},
		"when the folder of tombstones cannot be read": {
			arrange:   func(w *world) { w.writeFile("deletes", nil) },
			wantCode:  5,
			wantTexts: []string{"tombstone"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tc.arrange(w)
			wantError(t, w.run(w.plugin.add), tc.wantCode, tc.wantTexts...)
			wantEqual(t, 0, w.count("delete"))
			wantEqual(t, "", w.stdout.String())
		})
	}
}

func TestAddReplacesAtMostOnce(t *testing.T) {
	w := newWorld(t)
	w.store(w.older(func(*v1alpha1.CiliumEndpoint) {}))
	var again atomic.Bool
	w.OnChange(func(ep v1alpha1.CiliumEndpoint) {
		if ep.DeletionTimestamp != nil && again.CompareAndSwap(false, true) {
			w.Release("default", "web")
			w.Create(w.older(func(ep *v1alpha1.CiliumEndpoint) { ep.Spec.ContainerID = "0ther" }))
		}
	})
	wantError(t, w.run(w.plugin.add), 11, "another sandbox", "0ther")
	wantEqual(t, 1, w.count("delete"))
}

func TestAddWritesTheOldSandboxsTombstoneBeforeItDeletes(t *testing.T) {
	w := newWorld(t)
	w.store(w.older(func(*v1alpha1.CiliumEndpoint) {}))
	var early atomic.Bool
	w.OnChange(func(ep v1alpha1.CiliumEndpoint) {
		early.Store(early.Load() || ep.DeletionTimestamp != nil && !fake.Buried(w.runDir, ep))
	})
	w.serve()
	wantError(t, w.run(w.plugin.add), 0)
	wantEqual(t, false, early.Load())
}

func TestAddDoesNotDeleteWhoTookTheOldSandboxsName(t *testing.T) {
	w := newWorld(t)
	w.hurry()
	w.store(w.older(func(*v1alpha1.CiliumEndpoint) {}))
	// Between the GET and the DELETE another node's pod takes the name.
	w.Fail("delete", func(rw http.ResponseWriter, _ *http.Request, serve func(http.ResponseWriter)) {
		w.Delete("default", "web")
		w.Release("default", "web")
		w.Create(w.older(func(ep *v1alpha1.CiliumEndpoint) { ep.Spec.NodeName = "node2" }))
		serve(rw)
	})
	wantError(t, w.run(w.plugin.add), 11, "PreviousInstance", "node2")
	got, _ := w.Get("default", "web")
	wantEqual(t, "node2", got.Spec.NodeName)
	wantEqual(t, true, got.DeletionTimestamp == nil)
}
