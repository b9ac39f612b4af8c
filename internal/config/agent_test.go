// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLoadAgent(t *testing.T) {
	defaults := Agent{
		NodeName: "n1", MetricsAddr: ":9962", HealthAddr: "127.0.0.1:9879", LogLevel: "info", RunDir: "/run/cilium",
		NetnsDir: "/run/netns", CNIConfDir: "/host/etc/cni/net.d", CNIBinDir: "/host/opt/cni/bin", BPFFS: "/sys/fs/bpf/ciliate",
		ProcSysNet: "/host/proc/sys/net", Cgroup: "/host/sys/fs/cgroup", BootIDFile: "/host/proc/sys/kernel/random/boot_id",
		TokenFile: "/var/run/secrets/kubernetes.io/serviceaccount/token",
	}
	moved := defaults
	moved.RunDir, moved.LogLevel = "/var/run/other", "debug"
	tests := map[string]struct {
		file     string
		nodeName string
		want     Agent
		wantErr  string
	}{
		"an empty file leaves the defaults":     {nodeName: "n1", want: defaults},
		"what the file says wins":               {nodeName: "n1", file: "runDir: /var/run/other\nlogLevel: debug\n", want: moved},
		"an unknown key is an error":            {nodeName: "n1", file: "runDri: /x\n", wantErr: "runDri"},
		"the node's name is not for the file":   {nodeName: "n1", file: "nodeName: n2\n", wantErr: "nodeName"},
		"no name of the node is an error":       {wantErr: "NODE_NAME"},
		"a path must be absolute":               {nodeName: "n1", file: "bpffs: sys/fs/bpf\n", wantErr: `bpffs "sys/fs/bpf" is no absolute path`},
		"an empty path is none":                 {nodeName: "n1", file: "tokenFile: \"\"\n", wantErr: "tokenFile"},
		"an unknown log level is an error":      {nodeName: "n1", file: "logLevel: loud\n", wantErr: "none of debug, info, error"},
		"every mistake is named, in one answer": {file: "logLevel: loud\n", wantErr: "NODE_NAME"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "agent.yaml")
			if err := os.WriteFile(path, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := LoadAgent(path, func(key string) string { return map[string]string{"NODE_NAME": tt.nodeName}[key] })
			message := ""
			if err != nil {
				message, got = err.Error(), Agent{}
			}
			if (message == "") != (tt.wantErr == "") || !strings.Contains(message, tt.wantErr) {
				t.Errorf("err = %q, want one about %q", message, tt.wantErr)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadAgentWithoutAFile(t *testing.T) {
	env := func(string) string { return "n1" }
	if _, err := LoadAgent("", env); err != nil {
		t.Errorf("no path means the defaults, not %v", err)
	}
	if _, err := LoadAgent(filepath.Join(t.TempDir(), "none"), env); err == nil {
		t.Error("a file that is named must be there")
	}
}
