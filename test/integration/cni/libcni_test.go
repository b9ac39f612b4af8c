// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package cni

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// throughLibcni drives the plugin with the library that containerd has, from a conflist as the agent writes it.
func throughLibcni(t *testing.T, n *node) {
	n.startAgent(t, n.runDir)
	n.conf["nodeName"] = "node-of-libcni"
	list := n.conflist(t)
	runtime := libcni.NewCNIConfigWithCacheDir([]string{filepath.Dir(n.binary)}, t.TempDir(), nil)
	pod := &libcni.RuntimeConf{
		ContainerID: "lib1", NetNS: "/var/run/netns/lib1", IfName: "eth0",
		Args: [][2]string{
			{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", "lib"}, {"K8S_POD_UID", "u1"},
		},
	}

	if err := runtime.GetStatusNetworkList(t.Context(), list); err == nil {
		t.Error("STATUS before the agent ever served: no error")
	}
	n.beat(t)
	if err := runtime.GetStatusNetworkList(t.Context(), list); err != nil {
		t.Errorf("STATUS: %v", err)
	}
	result, err := runtime.AddNetworkList(t.Context(), list, pod)
	if err != nil {
		t.Fatalf("ADD: %v", err)
	}
	converted, err := types100.NewResultFromResult(result)
	if err != nil || len(converted.IPs) != 2 || converted.Interfaces[1].Sandbox != pod.NetNS {
		t.Errorf("result %v, %v", converted, err)
	}
	// Without arguments libcni leaves the list of valid attachments out: that must not read as "none is valid".
	if err := runtime.GCNetworkList(t.Context(), withoutCache(list), nil); err == nil {
		t.Error("GC without a list: no error")
	}
	n.eventually(t, "lib", ready)
	keep := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{{ContainerID: "lib1", IfName: "eth0"}}}
	if err := runtime.GCNetworkList(t.Context(), list, keep); err != nil {
		t.Errorf("GC: %v", err)
	}
	n.eventually(t, "lib", ready)
	if err := runtime.DelNetworkList(t.Context(), list, pod); err != nil {
		t.Errorf("DEL: %v", err)
	}
	n.eventually(t, "lib", gone)
}

// conflist is the configuration file as the agent writes it.
func (n *node) conflist(t *testing.T) *libcni.NetworkConfigList {
	t.Helper()
	data, err := json.Marshal(map[string]any{
		"cniVersion": "1.1.0", "name": "cilium",
		"plugins": []map[string]any{{
			"type": "cilium-cni", "kubeconfig": n.conf["kubeconfig"], "nodeName": n.conf["nodeName"], "runDir": n.conf["runDir"],
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := libcni.NetworkConfFromBytes(data)
	if err != nil {
		t.Fatalf("parse the conflist: %v", err)
	}
	return list
}

// withoutCache is the same network under another name, so that libcni finds no attachment of its own to delete first.
func withoutCache(list *libcni.NetworkConfigList) *libcni.NetworkConfigList {
	other := *list
	other.Name = "other"
	return &other
}

// beat writes the agent's heartbeat.
func (n *node) beat(t *testing.T) {
	t.Helper()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	data, err := json.Marshal(map[string]any{
		"bootID": string(boot[:len(boot)-1]), "servingSince": now, "lastServed": now, "tokenExpires": now.Add(time.Hour), "serving": true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.runDir, "agent-status.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}
