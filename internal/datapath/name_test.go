// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package datapath_test

import (
	"testing"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

func TestHostIfName(t *testing.T) {
	name := datapath.HostIfName("0123456789abcdef", "eth0")
	if len(name) != 15 || !datapath.IsHostIfName(name) {
		t.Errorf("HostIfName = %q, want lxc and 12 hex digits", name)
	}
	if again := datapath.HostIfName("0123456789abcdef", "eth0"); again != name {
		t.Errorf("the name of one attachment changed from %q to %q", name, again)
	}
	if other := datapath.HostIfName("0123456789abcdef", "net1"); other == name {
		t.Errorf("two interfaces of a sandbox share the name %q", name)
	}
}

func TestIsHostIfName(t *testing.T) {
	tests := map[string]struct {
		name string
		want bool
	}{
		"a name of ours":            {name: "lxc0123456789ab", want: true},
		"a container of LXC":        {name: "lxcbr0"},
		"letters that are no digit": {name: "lxc0123456789xy"},
		"another prefix":            {name: "eth0123456789ab"},
		"capital digits":            {name: "lxc0123456789AB"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := datapath.IsHostIfName(tt.name); got != tt.want {
				t.Errorf("IsHostIfName(%q) = %v, want %v", tt.name, got, tt.want)
			}
		})
	}
}
