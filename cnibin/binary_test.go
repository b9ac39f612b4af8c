// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
)

// maxSize is what the executed file may weigh: it is read again for each pod.
const maxSize = 8_000_000

// build makes the binary as the image has it.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cilium-cni")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// execute runs the binary as a container runtime does.
func (w *world) execute(binary, command string) (stdout string, exitCode int) {
	w.t.Helper()
	stdin, err := json.Marshal(w.conf)
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(w.t.Context(), binary)
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = []string{
		"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + w.args.ContainerID, "CNI_NETNS=" + w.args.Netns,
		"CNI_IFNAME=" + w.args.IfName, "CNI_ARGS=" + w.args.Args, "CNI_PATH=" + filepath.Dir(binary),
	}
	out, err := cmd.Output()
	if cmd.ProcessState == nil {
		w.t.Fatalf("execute: %v", err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestBinary(t *testing.T) {
	binary := build(t)
	t.Run("is small", func(t *testing.T) {
		info, err := os.Stat(binary)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d bytes", info.Size())
		wantEqual(t, true, info.Size() <= maxSize)
	})
	t.Run("tells the versions it speaks", func(t *testing.T) {
		out, code := newWorld(t).execute(binary, "VERSION")
		wantEqual(t, 0, code)
		got := map[string]any{}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, map[string]any{
			"cniVersion":        "1.1.0",
			"supportedVersions": []any{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"},
		}, got)
	})
	t.Run("lives a pod's life", func(t *testing.T) {
		w := newWorld(t)
		w.serve()
		out, code := w.execute(binary, "ADD")
		wantEqual(t, 0, code)
		result := map[string]any{}
		if err := json.Unmarshal([]byte(out), &result); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		wantEqual(t, 2, len(result["ips"].([]any)))
		out, code = w.execute(binary, "DEL")
		wantEqual(t, 0, code)
		wantEqual(t, "", out)
		wantEqual(t, []string{"c0ffee-eth0"}, w.tombstones())
		w.conf["cni.dev/valid-attachments"] = []string{}
		_, code = w.execute(binary, "GC")
		wantEqual(t, 0, code)
	})
}

func TestBinaryTellsErrorsInTheWordsOfCNI(t *testing.T) {
	binary := build(t)
	cases := map[string]struct {
		command  string
		arrange  func(w *world)
		wantCode uint
	}{
		"a version of CNI that does not exist": {
			command: "ADD", arrange: func(w *world) { w.conf["cniVersion"] = "9.9.9" }, wantCode: 1,
		},
		"a GC before there was one": {
			command: "GC", arrange: func(w *world) { w.conf["cniVersion"] = "1.0.0" }, wantCode: 1,
		},
		"no container ID": {command: "ADD", arrange: func(w *world) { w.args.ContainerID = "" }, wantCode: 4},
		"a container ID that would leave the folder": {
			command: "DEL", arrange: func(w *world) { w.args.ContainerID = "../x" }, wantCode: 4,
		},
		"an interface name that would leave the folder": {
			command: "DEL", arrange: func(w *world) { w.args.IfName = "a/b" }, wantCode: 4,
		},
		"no pod":           {command: "ADD", arrange: func(w *world) { w.args.Args = "" }, wantCode: 4},
		"no node name":     {command: "ADD", arrange: func(w *world) { delete(w.conf, "nodeName") }, wantCode: 7},
		"no network name":  {command: "ADD", arrange: func(w *world) { delete(w.conf, "name") }, wantCode: 7},
		"no list for GC":   {command: "GC", arrange: func(*world) {}, wantCode: 7},
		"no agent so far":  {command: "STATUS", arrange: func(*world) {}, wantCode: 50},
		"no such command":  {command: "PING", arrange: func(*world) {}, wantCode: 4},
		"no kubeconfig":    {command: "ADD", arrange: func(w *world) { w.conf["kubeconfig"] = "/nowhere" }, wantCode: 11},
		"no prevResult":    {command: "CHECK", arrange: func(*world) {}, wantCode: 7},
		"no such endpoint": {command: "CHECK", arrange: func(w *world) { w.conf["prevResult"] = map[string]any{"cniVersion": "1.1.0"} }, wantCode: 3},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tc.arrange(w)
			out, code := w.execute(binary, tc.command)
			wantEqual(t, 1, code)
			got := types.Error{}
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			wantEqual(t, tc.wantCode, got.Code)
			wantEqual(t, true, got.Msg != "")
		})
	}
}
