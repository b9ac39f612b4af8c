// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package netfilter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Before nft, iptables kept its tables elsewhere in the kernel, and old ones still do. What is asked for with these
// numbers of linux/netfilter_ipv4/ip_tables.h is the same for IPv6.
const (
	getInfo     = 64
	getEntries  = 65
	nameBytes   = 32
	infoBytes   = 84 // struct ipt_getinfo; its last word is the size of the entries
	headerBytes = 40 // struct ipt_get_entries before its entries
)

// legacy is one family of such tables. Its list of tables is read first, since asking for a table makes one.
type legacy struct {
	family, level int
	list          string
}

func legacies() []legacy {
	return []legacy{
		{unix.AF_INET, unix.IPPROTO_IP, "/proc/thread-self/net/ip_tables_names"},
		{unix.AF_INET6, unix.IPPROTO_IPV6, "/proc/thread-self/net/ip6_tables_names"},
	}
}

// hasChain reports whether a table has a chain of that name.
func (l legacy) hasChain(table, chain string) (bool, error) {
	tables, err := os.ReadFile(l.list)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("list tables of iptables: %w", err)
	}
	if !slices.Contains(strings.Fields(string(tables)), table) {
		return false, nil
	}
	entries, err := l.entries(table)
	if err != nil {
		return false, fmt.Errorf("read table %s of iptables: %w", table, err)
	}
	return namesChain(entries, chain), nil
}

// namesChain looks for the name itself: a chain begins with an entry that holds it, ended by a zero byte.
func namesChain(entries []byte, chain string) bool {
	return bytes.Contains(entries, append([]byte("\x00"+chain), 0))
}

// entries reads a table. It is asked for again when it changed between its size and itself.
func (l legacy) entries(table string) ([]byte, error) {
	socket, err := unix.Socket(l.family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	defer func() { _ = unix.Close(socket) }()
	const attempts = 10
	for range attempts {
		info := make([]byte, infoBytes)
		copy(info, table)
		if err := getsockopt(socket, l.level, getInfo, info); err != nil {
			return nil, err
		}
		size := binary.NativeEndian.Uint32(info[infoBytes-4:])
		answer := make([]byte, headerBytes+int(size))
		copy(answer, table)
		binary.NativeEndian.PutUint32(answer[nameBytes:], size)
		if err = getsockopt(socket, l.level, getEntries, answer); err == nil {
			return answer[headerBytes:], nil
		}
		if !errors.Is(err, unix.EAGAIN) {
			break
		}
	}
	return nil, err
}

// getsockopt asks with the value that the kernel then overwrites, which x/sys cannot do.
func getsockopt(socket, level, option int, value []byte) error {
	size := uint32(len(value))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(socket), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&value[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
