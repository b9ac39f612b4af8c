// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package fake_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/contract"
	"github.com/ciliate-io/ciliate/internal/datapath/fake"
)

var _ contract.Datapath = &fake.Datapath{}

func TestContract(t *testing.T) {
	contract.Test(t, func(*testing.T) contract.Node {
		d := fake.New()
		made := 0
		return contract.Node{
			Datapath: d,
			Want:     datapath.Node{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
			MTU:      1500,
			Sandbox: func() string {
				made++
				path := fmt.Sprintf("/run/netns/%d", made)
				d.AddSandbox(path)
				return path
			},
			CloseSandbox: d.CloseSandbox,
			OwnNetns:     "/proc/1/ns/net",
			NoNetns:      "/tmp",
		}
	})
}

func TestFail(t *testing.T) {
	d := fake.New()
	broken := errors.New("broken")
	d.Fail("PutIdentity", 2, broken)
	var got []error
	for id := range datapath.Identity(3) {
		got = append(got, d.PutIdentity(id))
	}
	if got[0] != nil || !errors.Is(got[1], broken) || got[2] != nil {
		t.Errorf("errors = %v, want the second to be %v alone", got, broken)
	}
	if diff := cmp.Diff([]datapath.Identity{0, 2}, d.Identities()); diff != "" {
		t.Errorf("a call that failed did something (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"PutIdentity", "PutIdentity", "PutIdentity"}, d.Calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}
