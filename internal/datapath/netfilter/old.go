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
func RemoveOldTable() error { return removeTable(oldTable) }

func removeTable(name string) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables socket: %w", err)
	}
	table, err := findTable(conn, name)
	if table == nil || err != nil {
		return err
	}
	conn.DelTable(table)
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("remove nft table %s: %w", name, err)
	}
	return nil
}

// findTable returns one of both families, nil if there is none.
func findTable(conn *nftables.Conn, name string) (*nftables.Table, error) {
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if lacksNftables(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list nft tables: %w", err)
	}
	i := slices.IndexFunc(tables, func(t *nftables.Table) bool { return t.Name == name })
	if i < 0 {
		return nil, nil
	}
	return tables[i], nil
}

// lacksNftables reports whether the kernel does not know nftables: it then calls every question invalid.
func lacksNftables(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT)
}
