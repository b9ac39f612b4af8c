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

func TestLoadOperator(t *testing.T) {
	defaults := Operator{
		MetricsAddr: ":9963", HealthAddr: "127.0.0.1:9234", LogLevel: "info", LeaderElectionNamespace: "kube-system",
	}
	debug := defaults
	debug.LogLevel = "debug"
	tests := map[string]struct {
		file    string
		want    Operator
		wantErr string
	}{
		"an empty file leaves the defaults":      {want: defaults},
		"what the file says wins":                {file: "logLevel: debug\n", want: debug},
		"an unknown key is an error":             {file: "logLevle: debug\n", wantErr: "logLevle"},
		"an unknown log level is an error":       {file: "logLevel: loud\n", wantErr: "none of debug, info, error"},
		"no namespace for the Lease is an error": {file: "leaderElectionNamespace: \"\"\n", wantErr: "leaderElectionNamespace"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "operator.yaml")
			if err := os.WriteFile(path, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := LoadOperator(path)
			message := ""
			if err != nil {
				message, got = err.Error(), Operator{}
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
