// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package agent

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"

	"github.com/ciliate-io/ciliate/controllers/agent"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// trouble is what happens at one call of a method of the datapath, or at one write to an endpoint.
type trouble struct {
	// Method is the datapath's, or statusWrite or release.
	Method string `json:"method"`
	// Call is which one, the first being 1.
	Call int `json:"call"`
	// Kind is what happens.
	Kind kind `json:"kind"`
}

type kind string

const (
	fails      kind = "fails"      // the call fails and does nothing
	diesBefore kind = "diesBefore" // the agent is killed before the call
	diesAfter  kind = "diesAfter"  // the agent is killed after the call
)

// The agent's writes to an endpoint.
const (
	statusWrite = "statusWrite"
	release     = "release"
)

// troubled is a datapath with troubles, and a client with troubles.
type troubled struct {
	agent.Datapath
	troubles []trouble

	mu    sync.Mutex
	calls map[string]int
}

// transport is a http.RoundTripper.
type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// writes puts troubles into the agent's writes to endpoints.
func (d *troubled) writes(next http.RoundTripper) http.RoundTripper {
	return transport(func(r *http.Request) (answer *http.Response, err error) {
		if !strings.Contains(r.URL.Path, "/ciliumendpoints/") {
			return next.RoundTrip(r)
		}
		var method string
		switch status := strings.HasSuffix(r.URL.Path, "/status"); {
		case status && r.Method == http.MethodPut:
			method = statusWrite
		case !status && r.Method == http.MethodPatch:
			method = release
		default:
			return next.RoundTrip(r)
		}
		err = d.in(method, func() error { answer, err = next.RoundTrip(r); return err })
		return answer, err
	})
}

var errTrouble = errors.New("the test ordered trouble")

// in runs a call of a method, with its trouble.
func (d *troubled) in(method string, call func() error) error {
	d.mu.Lock()
	if d.calls == nil {
		d.calls = map[string]int{}
	}
	d.calls[method]++
	now := d.calls[method]
	d.mu.Unlock()
	happens := map[kind]bool{}
	for _, t := range d.troubles {
		if t.Method == method && t.Call == now {
			happens[t.Kind] = true
		}
	}
	if happens[fails] {
		return errTrouble
	}
	if happens[diesBefore] {
		die()
	}
	err := call()
	if happens[diesAfter] {
		die()
	}
	return err
}

// die is as sudden as a death can be.
func die() {
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {}
}

func (d *troubled) EnsureNode(ctx context.Context, n dp.Node) (state dp.NodeState, err error) {
	err = d.in("EnsureNode", func() error { state, err = d.Datapath.EnsureNode(ctx, n); return err })
	return state, err
}

func (d *troubled) EnsureInterface(ctx context.Context, ep dp.Endpoint) (ifc dp.Interface, err error) {
	err = d.in("EnsureInterface", func() error { ifc, err = d.Datapath.EnsureInterface(ctx, ep); return err })
	return ifc, err
}

func (d *troubled) EnsureEndpoint(ctx context.Context, ep dp.Endpoint, ifc dp.Interface) error {
	return d.in("EnsureEndpoint", func() error { return d.Datapath.EnsureEndpoint(ctx, ep, ifc) })
}

func (d *troubled) RemoveEndpoint(ctx context.Context, ep dp.Endpoint) error {
	return d.in("RemoveEndpoint", func() error { return d.Datapath.RemoveEndpoint(ctx, ep) })
}

func (d *troubled) DeleteInterface(ctx context.Context, name string) error {
	return d.in("DeleteInterface", func() error { return d.Datapath.DeleteInterface(ctx, name) })
}

func (d *troubled) Endpoints(ctx context.Context) (all []dp.Observed, err error) {
	err = d.in("Endpoints", func() error { all, err = d.Datapath.Endpoints(ctx); return err })
	return all, err
}

func (d *troubled) SyncRoutes(routes []dp.Route) error {
	return d.in("SyncRoutes", func() error { return d.Datapath.SyncRoutes(routes) })
}

func (d *troubled) PutRoutes(routes []dp.Route) error {
	return d.in("PutRoutes", func() error { return d.Datapath.PutRoutes(routes) })
}

func (d *troubled) DeleteRoutes(prefixes []netip.Prefix) error {
	return d.in("DeleteRoutes", func() error { return d.Datapath.DeleteRoutes(prefixes) })
}

func (d *troubled) SyncIdentities(ids []dp.Identity) error {
	return d.in("SyncIdentities", func() error { return d.Datapath.SyncIdentities(ids) })
}
