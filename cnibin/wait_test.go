// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"net/http"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/cnibin/fake"
)

func TestAddOutlivesItsWatch(t *testing.T) {
	cases := map[string]func(w *world){
		"a watch that ends at once":           func(w *world) { w.Fail("watch", fake.EndWatch(), fake.EndWatch()) },
		"a watch that breaks in an event":     func(w *world) { w.Fail("watch", fake.BreakWatch()) },
		"a watch that is never answered":      func(w *world) { w.Fail("watch", fake.Hang()) },
		"a watch that falls silent":           func(w *world) { w.Fail("watch", fake.SilentWatch()) },
		"a connection that is closed":         func(w *world) { w.Fail("watch", fake.Drop()) },
		"an answer of 410":                    func(w *world) { w.Fail("watch", expired()) },
		"an ERROR event of 410":               func(w *world) { w.Fail("watch", fake.WatchError(http.StatusGone, "Expired")) },
		"an ERROR event of 500":               func(w *world) { w.Fail("watch", fake.WatchError(500, "InternalError")) },
		"a compacted revision":                func(w *world) { w.Fail("watch", compact(w)) },
		"an answer of 504":                    func(w *world) { w.Fail("watch", fake.Garbage(http.StatusGatewayTimeout)) },
		"an answer of 429":                    func(w *world) { w.Fail("watch", fake.Garbage(http.StatusTooManyRequests)) },
		"the GET after it fails too":          func(w *world) { w.Fail("watch", fake.EndWatch()); w.Fail("get", fake.Drop()) },
		"the token is renewed in the middle":  func(w *world) { w.Fail("watch", rotate(w)) },
		"the token is renewed before its GET": func(w *world) { w.Fail("watch", fake.EndWatch()); w.Fail("get", rotate(w)) },
	}
	for name, arrange := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			arrange(w)
			// The agent answers only once the first watch is over: the fault cannot be outrun.
			w.serveAfter("watch", 2)
			wantError(t, w.run(w.plugin.add), 0)
			wantEqual(t, 1, w.count("create"))
			wantEqual(t, 0, w.count("delete"))
		})
	}
}

func expired() fake.Fault {
	return fake.Refuse(http.StatusGone, metav1.StatusReasonExpired, "too old")
}

func compact(w *world) fake.Fault {
	return func(rw http.ResponseWriter, _ *http.Request, serve func(http.ResponseWriter)) {
		w.Compact()
		serve(rw)
	}
}

// rotate lets the agent renew the credential: the old token is refused from now on, the new one stands in the file.
func rotate(w *world) fake.Fault {
	return func(rw http.ResponseWriter, _ *http.Request, serve func(http.ResponseWriter)) {
		w.Rotate("token-2")
		w.writeKubeconfig("token-2")
		serve(rw)
	}
}

// serveAfter lets the agent answer when the nth request of a verb arrives.
func (w *world) serveAfter(verb string, n int) {
	var once sync.Once
	w.OnRequest(func(asked string) {
		if asked == verb && w.count(verb) >= n {
			once.Do(func() {
				w.serve()
				w.poke()
			})
		}
	})
}

func TestAddQuotesWhatNeverPasses(t *testing.T) {
	cases := map[string]uint{
		v1alpha1.ReasonSandboxGone:  100,
		v1alpha1.ReasonInvalidNetns: 101,
		v1alpha1.ReasonPodMismatch:  102,
		v1alpha1.ReasonHostNetwork:  103,
	}
	for _, reason := range v1alpha1.TerminalReasons() {
		t.Run(reason, func(t *testing.T) {
			w := newWorld(t)
			w.serveAs(reason, "What the agent found.")
			wantError(t, w.run(w.plugin.add), cases[reason], reason, "What the agent found.", "default/web")
			got, found := w.Get("default", "web")
			wantEqual(t, true, found && got.DeletionTimestamp == nil)
		})
	}
}

func TestAddSaysAtItsDeadlineWhatItWaitedFor(t *testing.T) {
	cases := map[string]struct {
		status    func(v1alpha1.CiliumEndpoint) v1alpha1.CiliumEndpointStatus
		wantTexts []string
	}{
		"an agent that is not there": {
			status:    func(v1alpha1.CiliumEndpoint) v1alpha1.CiliumEndpointStatus { return v1alpha1.CiliumEndpointStatus{} },
			wantTexts: []string{"not Ready after", "agent of node node1 has not acted"},
		},
		"a pool without addresses": {
			status: func(ep v1alpha1.CiliumEndpoint) v1alpha1.CiliumEndpointStatus {
				return fake.NotReady(ep, v1alpha1.ReasonPoolExhausted, "Every address of 10.1.2.0/24 is in use.")
			},
			wantTexts: []string{"PoolExhausted", "10.1.2.0/24"},
		},
		"a Ready of another container": {
			status: func(ep v1alpha1.CiliumEndpoint) v1alpha1.CiliumEndpointStatus {
				ep.Spec.ContainerID = "01d"
				return fake.Ready(ep)
			},
			wantTexts: []string{"Ready for container 01d"},
		},
		"a Ready of another pod": {
			status: func(ep v1alpha1.CiliumEndpoint) v1alpha1.CiliumEndpointStatus {
				ep.Spec.PodUID = "pod-0"
				return fake.Ready(ep)
			},
			wantTexts: []string{"pod UID pod-0"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.hurry()
			w.OnChange(func(ep v1alpha1.CiliumEndpoint) {
				if ep.ResourceVersion == "101" {
					w.SetStatus("default", "web", tc.status(ep))
				}
			})
			wantError(t, w.run(w.plugin.add), 11, tc.wantTexts...)
			wantEqual(t, 0, w.count("delete"))
		})
	}
}

func TestAddCreatesNothingAfterItsObjectVanished(t *testing.T) {
	unseen := 1 // a GET finds out
	cases := map[string]struct {
		arrange  func(w *world)
		wantGets int
	}{
		"deleted before the eyes of the watch": {
			arrange: func(w *world) { w.Fail("watch", vanish(w)) },
		},
		"deleted while no watch was open": {
			arrange:  func(w *world) { w.Fail("watch", vanishUnseen(w)) },
			wantGets: unseen,
		},
		"replaced before the eyes of the watch": {
			arrange: func(w *world) {
				w.Fail("watch", followedBy(vanish(w), func() { w.Create(w.older(func(*v1alpha1.CiliumEndpoint) {})) }))
			},
		},
		"replaced, and the watch shows only the next": {
			arrange: func(w *world) {
				next := w.own()
				next.UID = "another"
				next.Status = fake.Ready(next)
				w.Fail("watch", fake.WatchEvent("MODIFIED", next))
			},
		},
		"replaced while no watch was open": {
			arrange: func(w *world) {
				w.Fail("watch", followedBy(vanishUnseen(w), func() { w.Create(w.own()) }))
			},
			wantGets: unseen,
		},
		"replaced by one that is Ready": {
			arrange: func(w *world) {
				w.Fail("watch", followedBy(vanishUnseen(w), func() {
					ep, _ := w.Create(w.own())
					w.SetStatus("default", "web", fake.Ready(ep))
				}))
			},
			wantGets: unseen,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tc.arrange(w)
			wantError(t, w.run(w.plugin.add), 11, "vanished")
			wantEqual(t, 1, w.count("create"))
			wantEqual(t, tc.wantGets, w.count("get"))
			wantEqual(t, 0, w.count("delete"))
			wantEqual(t, []string(nil), w.tombstones())
		})
	}
}

// vanish lets someone else remove the object, finalizer and all, just before a watch is served.
func vanish(w *world) fake.Fault {
	return func(rw http.ResponseWriter, _ *http.Request, serve func(http.ResponseWriter)) {
		w.Delete("default", "web")
		w.Release("default", "web")
		serve(rw)
	}
}

// vanishUnseen does the same, and the watch shows nothing of it.
func vanishUnseen(w *world) fake.Fault {
	return func(rw http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) {
		vanish(w)(rw, r, func(http.ResponseWriter) {})
	}
}

// followedBy lets something happen between the object's end and what the watch shows of it.
func followedBy(fault fake.Fault, next func()) fake.Fault {
	return func(rw http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter)) {
		served := func(http.ResponseWriter) {}
		fault(rw, r, func(http.ResponseWriter) { served = serve })
		next()
		served(rw)
	}
}

func TestAddGoesOnWhenItsObjectIsDeletedButHeld(t *testing.T) {
	w := newWorld(t)
	w.Fail("watch", func(rw http.ResponseWriter, _ *http.Request, serve func(http.ResponseWriter)) {
		w.Delete("default", "web") // kubectl delete; the sandbox lives, so the agent serves it all the same
		ep, _ := w.Get("default", "web")
		w.SetStatus("default", "web", fake.Ready(ep))
		serve(rw)
	})
	wantError(t, w.run(w.plugin.add), 0)
}
