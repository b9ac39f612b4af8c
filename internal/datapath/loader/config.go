// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loader

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Config is what is fixed when programs are loaded. Every field is a constant of bpf/lib/config.h.
type Config struct {
	// TunnelPort is the UDP port of VXLAN.
	TunnelPort uint16
	// Native selects native routing instead of the tunnel.
	Native bool
	// StackForwarding lets every packet cross the host's stack.
	StackForwarding bool
}

// constants names the fields as C does.
func (c Config) constants() map[string]any {
	return map[string]any{
		"tunnel_port":      c.TunnelPort,
		"native":           c.Native,
		"stack_forwarding": c.StackForwarding,
	}
}

// apply writes the constants into an object.
func (c Config) apply(spec *ebpf.CollectionSpec) error {
	for name, value := range c.constants() {
		v := spec.Variables[name]
		if v == nil {
			return fmt.Errorf("object has no constant %s", name)
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("set constant %s: %w", name, err)
		}
	}
	return nil
}
