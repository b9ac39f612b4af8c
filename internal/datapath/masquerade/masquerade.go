// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package masquerade

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

const (
	tableName = "ciliate"
	chainName = "postrouting"
)

// Config says which packets get another source address, and which one.
type Config struct {
	// Pods are the ranges whose packets are meant.
	Pods []netip.Prefix
	// Stay are destinations to which they go as they are.
	Stay []netip.Prefix
	// Nodes are single such destinations: the nodes' addresses in native routing.
	Nodes []netip.Addr
	// Sources are the addresses to give by the device that sends; by another device, the kernel chooses.
	Sources []Source
}

// Source is a node address and the device on which it sits.
type Source struct {
	Device string
	Addr   netip.Addr
}

// Ensure makes the table so, in one transaction, and does nothing if it is so already.
func Ensure(cfg Config) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables socket: %w", err)
	}
	want := compose(cfg)
	same, err := want.isThere(conn)
	if err != nil || same {
		return err
	}
	if err := want.replace(conn); err != nil {
		return fmt.Errorf("replace nft table %s: %w", tableName, err)
	}
	return nil
}

// Remove removes the table if there is one.
func Remove() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables socket: %w", err)
	}
	there, err := exists(conn)
	if err != nil || !there {
		return err
	}
	conn.DelTable(table())
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("remove nft table %s: %w", tableName, err)
	}
	return nil
}

// exists reports whether our table is there. A kernel without nftables has none.
func exists(conn *nftables.Conn) (bool, error) {
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if lacksNftables(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("list nft tables: %w", err)
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == tableName }), nil
}

// lacksNftables reports whether the kernel does not know nftables: it then calls every question invalid.
func lacksNftables(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT)
}

func table() *nftables.Table {
	return &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
}

// ruleset is the whole table.
type ruleset struct {
	table *nftables.Table
	chain *nftables.Chain
	nodes []nodeSet
	rules []*nftables.Rule
}

// nodeSet is a set of single addresses of one family.
type nodeSet struct {
	set      *nftables.Set
	elements []nftables.SetElement
}

// isThere compares with what the kernel has, rule by rule: somebody may have changed them.
func (r ruleset) isThere(conn *nftables.Conn) (bool, error) {
	there, err := exists(conn)
	if err != nil || !there {
		return false, err
	}
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, fmt.Errorf("list nft chains: %w", err)
	}
	if !slices.ContainsFunc(chains, r.isChain) {
		return false, nil
	}
	rules, err := conn.GetRules(r.table, r.chain)
	if err != nil {
		return false, fmt.Errorf("list nft rules: %w", err)
	}
	if !slices.EqualFunc(r.rules, rules, sameRule) {
		return false, nil
	}
	return r.hasNodes(conn)
}

func (r ruleset) isChain(c *nftables.Chain) bool {
	return c.Table.Name == tableName && c.Name == chainName && c.Hooknum != nil && *c.Hooknum == *r.chain.Hooknum &&
		*c.Priority == *r.chain.Priority && c.Type == r.chain.Type
}

func sameRule(a, b *nftables.Rule) bool { return reflect.DeepEqual(a.Exprs, b.Exprs) }

func (r ruleset) hasNodes(conn *nftables.Conn) (bool, error) {
	for _, nodes := range r.nodes {
		have, err := conn.GetSetElements(nodes.set)
		if err != nil {
			return false, fmt.Errorf("list nft set %s: %w", nodes.set.Name, err)
		}
		if !slices.Equal(keys(have), keys(nodes.elements)) {
			return false, nil
		}
	}
	return true, nil
}

func keys(elements []nftables.SetElement) []string {
	sorted := make([]string, 0, len(elements))
	for _, element := range elements {
		sorted = append(sorted, string(element.Key))
	}
	slices.Sort(sorted)
	return sorted
}

// replace deletes and adds in one transaction: no packet leaves between the two. The first AddTable lets DelTable
// succeed where there is none.
func (r ruleset) replace(conn *nftables.Conn) error {
	conn.AddTable(r.table)
	conn.DelTable(r.table)
	conn.AddTable(r.table)
	for _, nodes := range r.nodes {
		if err := conn.AddSet(nodes.set, nodes.elements); err != nil {
			return fmt.Errorf("add set %s: %w", nodes.set.Name, err)
		}
	}
	conn.AddChain(r.chain)
	for _, rule := range r.rules {
		conn.AddRule(rule)
	}
	return conn.Flush()
}
