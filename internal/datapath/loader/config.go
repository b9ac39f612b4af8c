// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loader

import (
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Config is what is fixed when programs are loaded. Every field is a constant of bpf/lib/config.h.
type Config struct {
	// TunnelPort is the UDP port of VXLAN.
	TunnelPort uint16
	// Native selects native routing instead of the tunnel.
	Native bool
	// StackForwarding lets every packet cross the host's stack.
	StackForwarding bool
	// DirectReturn lets pods of other nodes answer clients of Services directly, with native routing.
	DirectReturn bool
	// HostNetns is the cookie of the node's network namespace: frontends at loopback addresses are for its sockets alone.
	HostNetns uint64
}

// constants names the fields as C does.
func (c Config) constants() map[string]any {
	return map[string]any{
		"tunnel_port":      c.TunnelPort,
		"native":           c.Native,
		"stack_forwarding": c.StackForwarding,
		"direct_return":    c.DirectReturn,
		"host_netns":       c.HostNetns,
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

// NetnsCookie is the number under which programs know the network namespace of the calling thread.
func NetnsCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("ask for the cookie of the network namespace: %w", err)
	}
	return cookie, nil
}
