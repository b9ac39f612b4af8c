// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

// Needs root: it makes network namespaces and nft tables in them.
package masquerade_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ciliate-io/ciliate/internal/datapath/lab"
	"github.com/ciliate-io/ciliate/internal/datapath/masquerade"
)

func tunnelConfig() masquerade.Config {
	return masquerade.Config{
		Pods:    []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("fd00:1::/64")},
		Stay:    []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("fd00::/16")},
		Sources: []masquerade.Source{{Device: "eth0", Addr: netip.MustParseAddr("192.0.2.1")}},
	}
}

func TestEnsureReplacesOnlyWhatDiffers(t *testing.T) {
	native := tunnelConfig()
	native.Nodes = []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")}
	tests := map[string]struct {
		between  string
		then     masquerade.Config
		replaced bool
	}{
		"the same again is left alone": {then: tunnelConfig()},
		"another configuration":        {then: native, replaced: true},
		"rules that somebody removed":  {between: "nft flush chain inet ciliate postrouting", then: tunnelConfig(), replaced: true},
		"a rule that somebody added":   {between: "nft add rule inet ciliate postrouting counter", then: tunnelConfig(), replaced: true},
		"an element that somebody added": {
			between: "nft add element inet ciliate nodes4 { 198.51.100.1 }", then: tunnelConfig(), replaced: true,
		},
		"a table that somebody removed": {between: "nft delete table inet ciliate", then: tunnelConfig(), replaced: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			node := lab.Enter(t)
			ensure(t, tunnelConfig())
			before := generation(t, node)
			if tt.between != "" {
				node.Script(t, tt.between)
				before = generation(t, node)
			}
			ensure(t, tt.then)
			if replaced := generation(t, node) != before; replaced != tt.replaced {
				t.Errorf("replaced = %v, want %v", replaced, tt.replaced)
			}
			before = generation(t, node)
			ensure(t, tt.then)
			if after := generation(t, node); after != before {
				t.Errorf("the second Ensure changed the table again:\n%s", node.Run(t, "nft", "list", "ruleset"))
			}
		})
	}
}

func TestRemove(t *testing.T) {
	node := lab.Enter(t)
	ensure(t, tunnelConfig())
	for range 2 {
		if err := masquerade.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if left := node.Run(t, "nft", "list", "ruleset"); left != "" {
		t.Errorf("left behind:\n%s", left)
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
			ensure(t, tunnelConfig())
			node.Script(t, tt.script...)
			found, err := masquerade.ForeignServices()
			if err != nil {
				t.Fatal(err)
			}
			if (found != "") != tt.want {
				t.Errorf("ForeignServices = %q, want some: %v", found, tt.want)
			}
		})
	}
}

func ensure(t *testing.T, cfg masquerade.Config) {
	t.Helper()
	if err := masquerade.Ensure(cfg); err != nil {
		t.Fatal(err)
	}
}

// generation changes with each transaction: handles are never used twice.
func generation(t *testing.T, node *lab.Netns) string {
	t.Helper()
	out := node.Run(t, "nft", "-a", "list", "ruleset")
	if !strings.Contains(out, "handle") && out != "" {
		t.Fatalf("no handles in %q", out)
	}
	return out
}
