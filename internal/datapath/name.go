// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package datapath

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	hostIfPrefix = "lxc"
	hostIfDigits = 12 // with the prefix 15 letters, the most that a device name may have
)

// HostIfName is the name of a pod's device on the node. It depends on nothing but the attachment, so that a device can
// be found, and removed, by one who knows only the tombstone.
func HostIfName(containerID, ifName string) string {
	sum := sha256.Sum256([]byte(containerID + "/" + ifName))
	return hostIfPrefix + hex.EncodeToString(sum[:])[:hostIfDigits]
}

// IsHostIfName reports whether HostIfName could have made the name.
func IsHostIfName(name string) bool {
	digits, found := strings.CutPrefix(name, hostIfPrefix)
	if !found || len(digits) != hostIfDigits {
		return false
	}
	return strings.Trim(digits, "0123456789abcdef") == ""
}
