// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/test/e2e/framework"
	"github.com/ciliate-io/ciliate/test/e2e/report"
)

// TestNoPacketBeforePolicy: a process in the sandbox calls another pod every millisecond from before ADD on, and the
// kernel's own record says in what order the pod's device came to be: both programs are on before the device goes up.
func TestNoPacketBeforePolicy(t *testing.T) {
	c := framework.Open(t)
	node := c.Nodes[0]
	server := c.StartPods(t, framework.ServerPod("order-server", node))[0]
	pod := c.CreatePod(t, framework.Pod{Name: "order", Node: node, Held: true})
	s := node.NewSandbox(t, pod)
	record := recordDevices(t, node)

	file := c.ReportPath("order")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	caller := s.Command(ctx, c.Program("probe"), "call", file, framework.EchoPort, server.Status.PodIP)
	if err := caller.Start(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if added := s.Call(t, "ADD"); added.Err != nil {
		t.Fatal(added.Err)
	}
	ended := time.Now()
	framework.Eventually(t, 10*time.Second, "an answer to the caller", func(context.Context) error {
		_, err := report.Read(file)
		return err
	})
	answered, err := report.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	events := record(s.HostDevice())
	t.Logf("ADD took %s; first answer after %s; the kernel's record: %v",
		ended.Sub(start).Round(time.Millisecond), answered.Answered.Sub(start).Round(time.Millisecond), events)
	up := slices.Index(events, "up")
	if up < 0 {
		t.Fatal("the device never went up")
	}
	if before := events[:up]; countOf(before, "filter") != 2 {
		t.Errorf("before the device went up it had %d programs, want 2", countOf(before, "filter"))
	}
	if deleted := s.Call(t, "DEL"); deleted.Err != nil {
		t.Error(deleted.Err)
	}
	cancel()
	_ = caller.Wait() // it was killed
}

func countOf(events []string, word string) int {
	n := 0
	for _, e := range events {
		if e == word {
			n++
		}
	}
	return n
}

// change is a message of the kernel about a device.
type change struct {
	index int
	name  string
	what  string
}

// recordDevices notes what the kernel tells of devices and filters of the node, in order, until the function it returns
// is called; that returns what happened to one device.
func recordDevices(t *testing.T, node *framework.Node) func(device string) []string {
	t.Helper()
	there, err := netns.GetFromPath(node.NetnsPath())
	if err != nil {
		t.Fatal(err)
	}
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { there.Close(); here.Close() })
	socket, err := nl.SubscribeAt(there, here, unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_TC)
	if err != nil {
		t.Fatal(err)
	}
	var changes []change
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			messages, _, err := socket.Receive()
			if err != nil {
				return // closed
			}
			for _, m := range messages {
				changes = append(changes, parseChange(m.Header.Type, m.Data))
			}
		}
	}()
	return func(device string) []string {
		socket.Close()
		<-done
		return about(device, changes)
	}
}

func parseChange(kind uint16, data []byte) change {
	c := change{index: int(binary.NativeEndian.Uint32(data[4:]))}
	switch kind {
	case unix.RTM_NEWTFILTER:
		c.what = "filter"
	case unix.RTM_NEWLINK:
		c.what = "down"
		if binary.NativeEndian.Uint32(data[8:])&unix.IFF_UP != 0 {
			c.what = "up"
		}
		attributes, err := nl.ParseRouteAttr(data[unix.SizeofIfInfomsg:])
		if err != nil {
			return c
		}
		for _, a := range attributes {
			if a.Attr.Type == unix.IFLA_IFNAME {
				c.name = unix.ByteSliceToString(a.Value)
			}
		}
	}
	return c
}

// about is what happened to the device of that name.
func about(device string, changes []change) []string {
	i := slices.IndexFunc(changes, func(c change) bool { return c.name == device })
	if i < 0 {
		return nil
	}
	var words []string
	for _, c := range changes {
		if c.index == changes[i].index && c.what != "" {
			words = append(words, c.what)
		}
	}
	return words
}
