// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package netfilter

import (
	"fmt"

	"github.com/google/nftables"
)

// serviceChain is where kube-proxy begins, with iptables of either kind.
const serviceChain = "KUBE-SERVICES"

// ForeignServices says by whom Services are translated with netfilter on this node, empty if by nobody. kube-proxy is
// known by its nft table or by its chain, which the iptables of today makes an nft chain as well.
func ForeignServices() (string, error) {
	conn, err := nftables.New()
	if err != nil {
		return "", fmt.Errorf("open nftables socket: %w", err)
	}
	chains, err := conn.ListChains()
	if err != nil && !lacksNftables(err) {
		return "", fmt.Errorf("list nft chains: %w", err)
	}
	if who := findServices(chains); who != "" {
		return who, nil
	}
	for _, tables := range legacies() {
		found, err := tables.hasChain("nat", serviceChain)
		if err != nil {
			return "", err
		}
		if found {
			return fmt.Sprintf("kube-proxy (chain %s of legacy iptables)", serviceChain), nil
		}
	}
	return "", nil
}

func findServices(chains []*nftables.Chain) string {
	for _, chain := range chains {
		if chain.Table.Name == "kube-proxy" {
			return "kube-proxy (nft table kube-proxy)"
		}
		if chain.Name == serviceChain {
			return fmt.Sprintf("kube-proxy (chain %s of table %s)", serviceChain, chain.Table.Name)
		}
	}
	return ""
}
