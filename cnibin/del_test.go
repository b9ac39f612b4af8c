// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// DEL never needs the apiserver, and never asks it.
func TestDelLeavesATombstone(t *testing.T) {
	cases := map[string]func(w *world){
		"of a sandbox that has an object": func(*world) {},
		"of a sandbox that has none":      func(w *world) { w.Delete("default", "web"); w.Release("default", "web") },
		"without CNI_NETNS":               func(w *world) { w.args.Netns = "" },
		"without CNI_ARGS":                func(w *world) { w.args.Args = "" },
		"with malformed CNI_ARGS":         func(w *world) { w.args.Args = "K8S_POD_NAME" },
		"without the pod's UID":           func(w *world) { w.args.Args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web" },
		"without nodeName":                func(w *world) { delete(w.conf, "nodeName") },
		"without kubeconfig":              func(w *world) { delete(w.conf, "kubeconfig") },
		"with a missing kubeconfig":       func(w *world) { w.conf["kubeconfig"] = "/nowhere/cni.kubeconfig" },
		"with an apiserver that is away":  func(w *world) { w.Stop() },
		"a second time":                   func(w *world) { wantError(t, w.run(w.plugin.del), 0) },
		"before the folder of tombstones was made": func(w *world) {
			if err := os.RemoveAll(filepath.Join(w.runDir, "deletes")); err != nil {
				t.Error(err)
			}
		},
	}
	for name, arrange := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.store(w.own())
			arrange(w)
			wantError(t, w.run(w.plugin.del), 0)
			wantEqual(t, []string{"c0ffee-eth0"}, w.tombstones())
			wantEqual(t, []string(nil), w.Requests())
			wantEqual(t, "", w.stdout.String())
		})
	}
}

func TestDelSaysInTheTombstoneWhoseItIs(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)
	w.plugin.now = func() time.Time { return now }
	wantError(t, w.run(w.plugin.del), 0)
	data, err := os.ReadFile(filepath.Join(w.runDir, "deletes", "c0ffee-eth0"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, map[string]any{
		"containerID": "c0ffee", "ifName": "eth0", "namespace": "default", "name": "web", "podUID": "pod-1",
		"netns": thisNetns, "writtenAt": "2026-11-22T16:00:00Z",
	}, got)
}

func TestDelWithoutARoomForTombstones(t *testing.T) {
	w := newWorld(t)
	w.writeFile("deletes", nil) // a file where the folder should be
	wantError(t, w.run(w.plugin.del), 5, "deletes")
}

func TestDelNeedsAtLeastRunDir(t *testing.T) {
	w := newWorld(t)
	delete(w.conf, "runDir")
	wantError(t, w.run(w.plugin.del), 7, "runDir")
}
