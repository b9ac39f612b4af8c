// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

// Needs root: it makes network namespaces and nft tables in them.
package netfilter_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ciliate-io/ciliate/internal/datapath/lab"
	"github.com/ciliate-io/ciliate/internal/datapath/netfilter"
)

func TestRemoveOldTable(t *testing.T) {
	node := lab.Enter(t)
	node.Script(t, "nft add table inet ciliate", "nft add table ip ciliate", "nft add table inet other")
	for range 2 {
		if err := netfilter.RemoveOldTable(); err != nil {
			t.Fatal(err)
		}
	}
	left := node.Run(t, "nft", "list", "tables")
	if strings.Contains(left, "inet ciliate") || !strings.Contains(left, "ip ciliate") || !strings.Contains(left, "inet other") {
		t.Errorf("left behind, where only our table should have gone:\n%s", left)
	}
}

func TestUntracked(t *testing.T) {
	node := lab.Enter(t)
	rules := func() string { return node.Run(t, "nft", "list", "ruleset") }
	for _, port := range []uint16{8472, 8472, 4789} {
		if err := netfilter.EnsureUntracked(port); err != nil {
			t.Fatal(err)
		}
		if got, rule := rules(), fmt.Sprintf("udp dport %d notrack", port); strings.Count(got, rule) != 2 || strings.Count(got, "notrack") != 2 {
			t.Errorf("want %q once for what comes and once for what goes, got:\n%s", rule, got)
		}
	}
	for range 2 {
		if err := netfilter.RemoveUntracked(); err != nil {
			t.Fatal(err)
		}
	}
	if left := rules(); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}

func TestUntrackedIsRepaired(t *testing.T) {
	node := lab.Enter(t)
	for _, broken := range []string{"nft flush chain inet ciliate_tunnel in", "nft delete chain inet ciliate_tunnel out"} {
		if err := netfilter.EnsureUntracked(8472); err != nil {
			t.Fatal(err)
		}
		whole := node.Run(t, "nft", "list", "ruleset")
		node.Script(t, "nft flush chain inet ciliate_tunnel out", broken)
		if err := netfilter.EnsureUntracked(8472); err != nil {
			t.Fatal(err)
		}
		if got := node.Run(t, "nft", "list", "ruleset"); len(got) != len(whole) {
			t.Errorf("after %q:\n%s", broken, got)
		}
	}
}

func TestForeignServices(t *testing.T) {
	tests := map[string]struct {
		script []string
		want   bool
	}{
		"an empty node":          {},
		"kube-proxy with nft":    {script: []string{"nft add table ip6 kube-proxy", "nft add chain ip6 kube-proxy services"}, want: true},
		"kube-proxy by iptables": {script: []string{"nft add table ip nat", "nft add chain ip nat KUBE-SERVICES"}, want: true},
		"somebody else's nat":    {script: []string{"nft add table ip nat", "nft add chain ip nat DOCKER"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			node := lab.Enter(t)
			node.Script(t, tt.script...)
			found, err := netfilter.ForeignServices()
			if err != nil {
				t.Fatal(err)
			}
			if (found != "") != tt.want {
				t.Errorf("ForeignServices = %q, want some: %v", found, tt.want)
			}
		})
	}
}
