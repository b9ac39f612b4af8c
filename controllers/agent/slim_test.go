// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package agent

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func TestServed(t *testing.T) {
	tests := map[string]struct {
		labels labels.Set
		want   bool
	}{
		"without labels":                    {want: true},
		"with labels that say nothing":      {labels: labels.Set{"app": "web"}, want: true},
		"another proxy's":                   {labels: labels.Set{serviceProxyName: "other"}},
		"another proxy's that has no name":  {labels: labels.Set{serviceProxyName: ""}},
		"headless because somebody says so": {labels: labels.Set{corev1.IsHeadlessService: ""}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := served().Matches(tt.labels); got != tt.want {
				t.Errorf("served = %t, want %t", got, tt.want)
			}
		})
	}
}
