//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"testing"
	"time"

	"github.com/ciliate-io/ciliate/internal/datapath/loader"
)

// TestPodsOnOneNodePing needs root: it makes three namespaces.
func TestPodsOnOneNodePing(t *testing.T) {
	n := newNode(t, 1, loader.Config{TunnelPort: 8472})
	a, b := n.addPod(t, 1001, 1450), n.addPod(t, 1002, 1450)
	for i, to := range b.endpoint.Addrs {
		a.do(t, func() error { return ping(echo{to: to, bytes: 84, within: 2 * time.Second}) })
		a.do(t, func() error { return ping(echo{to: n.routers[i], bytes: 84, within: 2 * time.Second}) })
		n.do(t, func() error { return ping(echo{to: to, bytes: 84, within: 2 * time.Second}) })
	}
	counts, err := n.maps.Counts()
	must(t, err)
	t.Log(counts)
}
