// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package apiserver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	content := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c}}]\n" +
		"clusters: [{name: c, cluster: {server: \"https://192.0.2.1:6443\"}}]\n"
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		env      map[string]string
		wantHost string
		wantErr  string
	}{
		"a kubeconfig":            {env: map[string]string{"KUBECONFIG": kubeconfig}, wantHost: "https://192.0.2.1:6443"},
		"a kubeconfig that isn't": {env: map[string]string{"KUBECONFIG": kubeconfig + "x"}, wantErr: "no such file"},
		"no address":              {env: map[string]string{"KUBERNETES_SERVICE_PORT": "6443"}, wantErr: "ConfigMap cilium-apiserver"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			host, message := "", ""
			cfg, err := Config(func(k string) string { return tt.env[k] })
			if err != nil {
				message = err.Error()
			} else {
				host = cfg.Host
			}
			if host != tt.wantHost {
				t.Errorf("host = %q, want %q", host, tt.wantHost)
			}
			if (message == "") != (tt.wantErr == "") || !strings.Contains(message, tt.wantErr) {
				t.Errorf("err = %q, want one about %q", message, tt.wantErr)
			}
		})
	}
}
