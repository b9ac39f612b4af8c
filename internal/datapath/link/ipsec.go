// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// policyGroup are the news of IPsec policies (XFRMNLGRP_POLICY of linux/xfrm.h).
const policyGroup = 4

// Encrypts reports whether an IPsec policy is there for what the node sends: only packets that cross the network stack
// obey it.
func (l *Links) Encrypts() (bool, error) {
	if !l.nl.SupportsNetlinkFamily(unix.NETLINK_XFRM) {
		return false, nil
	}
	policies, err := l.nl.XfrmPolicyList(unix.AF_UNSPEC)
	if err != nil {
		return false, fmt.Errorf("list IPsec policies: %w", err)
	}
	return slices.ContainsFunc(policies, func(p netlink.XfrmPolicy) bool { return p.Dir == netlink.XFRM_DIR_OUT }), nil
}
