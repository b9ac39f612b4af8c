// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Sysctls is the folder in which the kernel shows /proc/sys/net. What it shows is that of the calling thread's network
// namespace.
type Sysctls string

// DefaultSysctls is where that folder is outside a container.
const DefaultSysctls Sysctls = "/proc/sys/net"

// Read returns a value without its line end.
func (s Sysctls) Read(key ...string) (string, error) {
	value, err := os.ReadFile(s.path(key))
	if err != nil {
		return "", fmt.Errorf("read sysctl: %w", err)
	}
	return strings.TrimSpace(string(value)), nil
}

// Ensure writes a value unless it is there already: the file system may be read-only where nothing is to be changed.
func (s Sysctls) Ensure(value string, key ...string) error {
	have, err := s.Read(key...)
	if err != nil || have == value {
		return err
	}
	if err := os.WriteFile(s.path(key), []byte(value), 0o644); err != nil {
		return fmt.Errorf("set sysctl to %s: %w", value, err)
	}
	return nil
}

// ensureIfThere is Ensure for keys that a kernel without IPv6, or a device that vanishes, does not have.
func (s Sysctls) ensureIfThere(value string, key ...string) error {
	if err := s.Ensure(value, key...); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// LocalPorts is the range from which the kernel gives sockets their ports.
func (l *Links) LocalPorts() (first, last uint16, err error) {
	text, err := l.sysctls.Read("ipv4", "ip_local_port_range")
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscan(text, &first, &last); err != nil {
		return 0, 0, fmt.Errorf("read ip_local_port_range %q: %w", text, err)
	}
	return first, last, nil
}

// ReservePorts keeps the kernel from giving these ports to sockets, beside those that others have reserved.
func (l *Links) ReservePorts(first, last uint16) error {
	key := []string{"ipv4", "ip_local_reserved_ports"}
	have, err := l.sysctls.Read(key...)
	if err != nil {
		return err
	}
	want := fmt.Sprintf("%d-%d", first, last)
	if slices.Contains(strings.Split(have, ","), want) {
		return nil
	}
	return l.sysctls.Ensure(strings.TrimPrefix(have+","+want, ","), key...)
}

// ensurePlain makes a device of ours take what routing brings: what comes in is forwarded whatever the node's default
// for new devices, no reverse path filter (a reply may leave by another device than its packet came from), nothing learnt
// from router advertisements.
func (s Sysctls) ensurePlain(device string) error {
	return errors.Join(
		s.ensureIfThere("1", "ipv4", "conf", device, "forwarding"),
		s.ensureIfThere("0", "ipv4", "conf", device, "rp_filter"),
		s.ensureIfThere("1", "ipv6", "conf", device, "forwarding"),
		s.ensureIfThere("0", "ipv6", "conf", device, "accept_ra"))
}

func (s Sysctls) path(key []string) string {
	return filepath.Join(append([]string{string(s)}, key...)...)
}
