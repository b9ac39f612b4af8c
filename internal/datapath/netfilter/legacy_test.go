// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package netfilter

import "testing"

func TestNamesChain(t *testing.T) {
	tests := map[string]struct {
		entries string
		want    bool
	}{
		"the chain itself":           {entries: "\x00\x1eERROR\x00\x00KUBE-SERVICES\x00\x00", want: true},
		"a longer name":              {entries: "\x00KUBE-SERVICES-2\x00"},
		"a name that ends like that": {entries: "\x00OLD-KUBE-SERVICES\x00"},
		"an empty table":             {},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := namesChain([]byte(tt.entries), serviceChain); got != tt.want {
				t.Errorf("namesChain = %v, want %v", got, tt.want)
			}
		})
	}
}
