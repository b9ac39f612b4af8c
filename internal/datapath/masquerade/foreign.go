// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package masquerade

import (
	"fmt"

	"github.com/google/nftables"
)

// ForeignServices says by whom Services are translated with netfilter on this node, empty if by nobody. kube-proxy is
// known by its nft table, or by its chain, which the iptables of today makes an nft chain as well.
func ForeignServices() (string, error) {
	conn, err := nftables.New()
	if err != nil {
		return "", fmt.Errorf("open nftables socket: %w", err)
	}
	chains, err := conn.ListChains()
	if lacksNftables(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("list nft chains: %w", err)
	}
	return findServices(chains), nil
}

func findServices(chains []*nftables.Chain) string {
	for _, chain := range chains {
		if chain.Table.Name == "kube-proxy" {
			return "kube-proxy (nft table kube-proxy)"
		}
		if chain.Name == "KUBE-SERVICES" {
			return fmt.Sprintf("kube-proxy (chain KUBE-SERVICES of table %s)", chain.Table.Name)
		}
	}
	return ""
}
