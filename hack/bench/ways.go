// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/hack/bench/load"
)

// What runs inside the node: programs at control groups see a connection only when a process of the node makes it.

const (
	// serviceRound is how long each way to a Service sends in its turn: there are many ways, and a thousand connections in it.
	serviceRound = 80 * time.Millisecond
	// probeEvery is how often a changed Service is tried.
	probeEvery = 200 * time.Microsecond

	overClusterIP = "ClusterIP, from a pod"
)

// trial is a Service and who is behind it, and a client.
type trial struct {
	// Client and Server are addresses of pods on the node.
	Client, Server netip.Addr
	// VIP and NodePort are where the Service is, on the node itself.
	VIP, NodePort netip.AddrPort
	// Kubeconfig works in the node.
	Kubeconfig string
	// Changes is how often its endpoints are to be changed.
	Changes int
}

// compared is a way to the server and what was sent, against the direct way.
type compared struct {
	Way, What string
	comparison
}

// serviceWay is one way to the server, and the direct one from the same client.
type serviceWay struct {
	name         string
	direct, over load.Path
}

// ways opens the namespaces of client and server.
func (t trial) ways() ([]serviceWay, error) {
	client, err := t.end(t.Client)
	if err != nil {
		return nil, err
	}
	server, err := t.end(t.Server)
	if err != nil {
		return nil, err
	}
	own, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("open the node's network namespace: %w", err)
	}
	// Not to the same port: to who forwards packets, the direct connections and those over the Service would be one another's
	// afterlife.
	pod := load.Path{Client: client, Server: server}
	node := load.Path{Client: load.End{Netns: own, Addr: t.NodePort.Addr()}, Server: server}
	overVIP, overNodePort := pod, node
	overVIP.Via, overVIP.Port = t.VIP, targetPort
	overNodePort.Via, overNodePort.Port = t.NodePort, targetPort
	return []serviceWay{{overClusterIP, pod, overVIP}, {"NodePort, from its node", node, overNodePort}}, nil
}

// end finds the network namespace that has a pod's address, among those that the container runtime made.
func (t trial) end(addr netip.Addr) (load.End, error) {
	paths, err := filepath.Glob("/run/netns/*")
	if err != nil {
		return load.End{}, err
	}
	for _, path := range paths {
		ns, err := netns.GetFromPath(path)
		if err != nil {
			continue // it may have ended meanwhile
		}
		has, err := hasAddr(ns, addr)
		if err != nil {
			return load.End{}, err
		}
		if has {
			return load.End{Netns: ns, Addr: addr}, nil
		}
		if err := ns.Close(); err != nil {
			return load.End{}, err
		}
	}
	return load.End{}, fmt.Errorf("no network namespace of the node has address %s", addr)
}

func hasAddr(ns netns.NsHandle, addr netip.Addr) (bool, error) {
	link, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return false, fmt.Errorf("open netlink in a pod: %w", err)
	}
	defer link.Close()
	addrs, err := link.AddrList(nil, netlink.FAMILY_V4)
	return slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IP.Equal(addr.AsSlice()) }), err
}

// compareWays compares each way to the Service with the direct one.
func compareWays(ctx context.Context, t trial) ([]compared, error) {
	debug.SetGCPercent(-1) // as for the paths: it would wait for threads that wait for packets
	runtime.GOMAXPROCS(8)
	ways, err := t.ways()
	if err != nil {
		return nil, err
	}
	var all []compared
	for _, w := range ways {
		for _, k := range serviceKinds() {
			c, err := compare(ctx, k.run, serviceRound, w.direct, w.over)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", w.name, k.name, err)
			}
			all = append(all, compared{w.name, k.name, c})
		}
	}
	return all, nil
}

// serviceKinds are those of the path's that a Service could slow down: at the start, and each packet.
func serviceKinds() []kind {
	return slices.DeleteFunc(kinds(), func(k kind) bool { return k.name != newConnections && k.name != roundTrips })
}

// delay is how long it took from a change of endpoints until a client met it.
type delay struct {
	// Asked is from sending the change to the API server, Told from its answer.
	Asked, Told time.Duration
}

// changeEndpoints takes the Service's endpoint away and gives it back, again and again, and returns how long it took until
// a connection got through.
func changeEndpoints(ctx context.Context, t trial) ([]delay, error) {
	ways, err := t.ways()
	if err != nil {
		return nil, err
	}
	api, err := newClient(t.Kubeconfig)
	if err != nil {
		return nil, err
	}
	slice := &discoveryv1.EndpointSlice{}
	if err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: measured}, slice); err != nil {
		return nil, err
	}
	full, path := slice.Endpoints, ways[0].over
	delays := make([]delay, t.Changes)
	return delays, path.Listening(func() error {
		for i := range delays {
			slice.Endpoints = nil
			if err := errors.Join(api.Update(ctx, slice), await(ctx, path, load.Refused)); err != nil {
				return err
			}
			slice.Endpoints = full
			asked := time.Now()
			if err := api.Update(ctx, slice); err != nil {
				return err
			}
			told := time.Now()
			if err := await(ctx, path, load.Accepted); err != nil {
				return err
			}
			delays[i] = delay{time.Since(asked), time.Since(told)}
		}
		return nil
	})
}

// awaitService returns when the Service first led to its server.
func awaitService(ctx context.Context, t trial) (time.Time, error) {
	ways, err := t.ways()
	if err != nil {
		return time.Time{}, err
	}
	path := ways[0].over
	err = path.Listening(func() error { return await(ctx, path, load.Accepted) })
	return time.Now(), err
}

// forgetConnections makes the node's netfilter forget all that it tracks.
func forgetConnections(context.Context, struct{}) (struct{}, error) {
	if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		return struct{}{}, fmt.Errorf("flush the connections of netfilter: %w", err)
	}
	return struct{}{}, nil
}

// await tries until that is the answer. Others mean that it is too early.
func await(ctx context.Context, path load.Path, want load.Answer) error {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		got, err := path.Try()
		if got == want || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waited in vain for %s to be %s, it is %s", path.Via, want, got), ctx.Err())
		case <-tick.C:
		}
	}
}
