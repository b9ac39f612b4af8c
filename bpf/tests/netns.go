//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath/loader"
)

// namespace is a network namespace that lives as long as its test.
type namespace struct {
	handle netns.NsHandle
	// link configures it.
	link *netlink.Handle
}

// newNamespace makes an empty namespace with its loopback up.
func newNamespace(t testing.TB) *namespace {
	t.Helper()
	n := &namespace{}
	apart(t, func() error {
		handle, err := netns.New()
		if err != nil {
			return err
		}
		n.handle = handle
		// Tests lie about addresses on purpose, and pods' routes lead back through the device they came from.
		for file, value := range map[string]string{
			"ipv4/ip_forward": "1", "ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0",
			"ipv6/conf/all/forwarding": "1", "ipv6/conf/default/accept_dad": "0", "ipv6/conf/default/accept_ra": "0",
		} {
			if err := os.WriteFile("/proc/sys/net/"+file, []byte(value), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
	var err error
	if n.link, err = netlink.NewHandleAt(n.handle, unix.NETLINK_ROUTE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.link.Close(); n.handle.Close() })
	lo, err := n.link.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.link.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	return n
}

// awaitLocal waits until the kernel takes the address for its own. An IPv6 address becomes so in the background, once its
// device has a carrier, even where nothing is asked of the neighbours.
func (n *namespace) awaitLocal(t testing.TB, a netip.Addr) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		routes, err := n.link.RouteGet(a.AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return
		}
	}
	t.Fatalf("%s did not become usable", a)
}

// do runs f inside the namespace.
func (n *namespace) do(t testing.TB, f func() error) {
	t.Helper()
	apart(t, func() error {
		if err := netns.Set(n.handle); err != nil {
			return err
		}
		return f()
	})
}

// cookie is the number under which programs know the namespace.
func (n *namespace) cookie(t testing.TB) (cookie uint64) {
	t.Helper()
	n.do(t, func() (err error) {
		cookie, err = loader.NetnsCookie()
		return err
	})
	return cookie
}

// apart runs f on a thread that is thrown away afterwards, whatever f made of it.
func apart(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
