// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package netfilter

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// oldTable masqueraded before the programs on the cards did. It can go from here when no node is upgraded from a version
// that made it.
const oldTable = "ciliate"

// RemoveOldTable removes it if it is there. The connections that it translated end: what follows of them leaves under
// another port, and is refused by the other end.
func RemoveOldTable() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables socket: %w", err)
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if lacksNftables(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list nft tables: %w", err)
	}
	if !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == oldTable }) {
		return nil
	}
	conn.DelTable(&nftables.Table{Name: oldTable, Family: nftables.TableFamilyINet})
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("remove nft table %s: %w", oldTable, err)
	}
	return nil
}

// lacksNftables reports whether the kernel does not know nftables: it then calls every question invalid.
func lacksNftables(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT)
}
