// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/cnibin/fake"
)

// populate stores three pods of this node and one of another.
func populate(w *world) {
	for _, p := range []struct{ namespace, name, node, container string }{
		{"default", "a", "node1", "ca"},
		{"default", "b", "node1", "cb"},
		{"other", "a", "node1", "cc"},
		{"default", "far", "node2", "cd"},
	} {
		ep := w.own()
		ep.Namespace, ep.Name, ep.Spec.NodeName, ep.Spec.ContainerID = p.namespace, p.name, p.node, p.container
		w.store(ep)
	}
}

// deleted lists the pods of populate whose object is marked as deleted.
func (w *world) deleted() []string {
	var names []string
	for _, p := range [][2]string{{"default", "a"}, {"default", "b"}, {"other", "a"}, {"default", "far"}} {
		ep, _ := w.Get(p[0], p[1])
		if ep.DeletionTimestamp != nil {
			names = append(names, p[0]+"/"+p[1])
		}
	}
	return names
}

func TestGC(t *testing.T) {
	type list = []map[string]string
	all := []string{"default/a", "default/b", "other/a"}
	allStones := []string{"ca-eth0", "cb-eth0", "cc-eth0"}
	cases := map[string]struct {
		valid          any
		arrange        func(w *world)
		wantCode       uint
		wantDeletes    int
		wantDeleted    []string
		wantTombstones []string
	}{
		"keeps what is listed": {
			valid:          list{{"containerID": "ca", "ifname": "eth0"}, {"containerID": "cc", "ifname": "eth0"}},
			wantDeletes:    1,
			wantDeleted:    []string{"default/b"},
			wantTombstones: []string{"cb-eth0"},
		},
		"compares the interface too": {
			valid: list{
				{"containerID": "ca", "ifname": "net1"},
				{"containerID": "cb", "ifname": "eth0"},
				{"containerID": "cc", "ifname": "eth0"},
			},
			wantDeletes:    1,
			wantDeleted:    []string{"default/a"},
			wantTombstones: []string{"ca-eth0"},
		},
		"deletes all of this node, and no other's, when the list is empty": {
			valid: list{}, wantDeletes: 3, wantDeleted: all, wantTombstones: allStones,
		},
		"does not ask twice for what is being deleted": {
			valid:       list{},
			arrange:     func(w *world) { w.Delete("default", "a") },
			wantDeletes: 2, wantDeleted: all, wantTombstones: allStones,
		},
		"outlives a stumbling apiserver": {
			valid: list{},
			arrange: func(w *world) {
				w.Fail("list", fake.Drop(), fake.Garbage(http.StatusBadGateway))
				w.Fail("delete", fake.Drop())
			},
			wantDeletes: 4, wantDeleted: all, wantTombstones: allStones,
		},
		"goes on after a refusal and reports it": {
			valid: list{},
			arrange: func(w *world) {
				w.Fail("delete", fake.Refuse(http.StatusForbidden, metav1.StatusReasonForbidden, "no"))
			},
			wantCode: 11, wantDeletes: 3, wantDeleted: all[1:], wantTombstones: allStones,
		},
		"deletes nothing without a tombstone": {
			valid:    list{},
			arrange:  func(w *world) { w.writeFile("deletes", nil) },
			wantCode: 11,
		},
		"fails when the list of endpoints is refused": {
			valid: list{},
			arrange: func(w *world) {
				w.Fail("list", fake.Refuse(http.StatusForbidden, metav1.StatusReasonForbidden, "no"))
			},
			wantCode: 111,
		},
		"fails when the kubeconfig is missing": {
			valid: list{},
			arrange: func(w *world) {
				if err := os.Remove(filepath.Join(w.runDir, "cni.kubeconfig")); err != nil {
					w.t.Fatal(err)
				}
			},
			wantCode: 11,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			populate(w)
			w.conf["cni.dev/valid-attachments"] = tc.valid
			apply(w, tc.arrange)
			wantError(t, w.run(w.plugin.gc), tc.wantCode)
			wantEqual(t, tc.wantDeletes, w.count("delete"))
			wantEqual(t, tc.wantDeleted, w.deleted())
			wantEqual(t, tc.wantTombstones, w.stones())
		})
	}
}

func apply(w *world, arrange func(*world)) {
	if arrange != nil {
		arrange(w)
	}
}

// stones are the tombstones, none if there is no folder for them.
func (w *world) stones() []string {
	info, err := os.Stat(filepath.Join(w.runDir, "deletes"))
	if err != nil || !info.IsDir() {
		return nil
	}
	return w.tombstones()
}

func TestGCNeverReadsAMissingListAsAnEmptyOne(t *testing.T) {
	cases := map[string]func(conf map[string]any){
		"missing":                        func(map[string]any) {},
		"null":                           func(conf map[string]any) { conf["cni.dev/valid-attachments"] = nil },
		"under the name of an old draft": func(conf map[string]any) { conf["cni.dev/attachments"] = []string{} },
		"no list":                        func(conf map[string]any) { conf["cni.dev/valid-attachments"] = "all" },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			populate(w)
			change(w.conf)
			wantError(t, w.run(w.plugin.gc), 7)
			wantEqual(t, []string(nil), w.Requests())
			wantEqual(t, []string(nil), w.deleted())
		})
	}
}

func TestGCDoesNotDeleteWhoTookTheName(t *testing.T) {
	w := newWorld(t)
	w.store(w.own())
	w.conf["cni.dev/valid-attachments"] = []string{}
	w.Fail("delete", followedBy(vanish(w), func() { w.Create(w.older(func(*v1alpha1.CiliumEndpoint) {})) }))
	wantError(t, w.run(w.plugin.gc), 0)
	got, _ := w.Get("default", "web")
	wantEqual(t, "01d", got.Spec.ContainerID)
	wantEqual(t, true, got.DeletionTimestamp == nil)
}

// The apiserver selects by node already; should it not, the plugin does.
func TestStaleIsOnlyWhatIsOnThisNode(t *testing.T) {
	near := endpoint{Spec: spec{NodeName: "node1", ContainerID: "a", IfName: "eth0"}}
	far := endpoint{Spec: spec{NodeName: "node2", ContainerID: "b", IfName: "eth0"}}
	wantEqual(t, []*endpoint{&near}, stale([]endpoint{near, far}, nil, "node1"))
}
