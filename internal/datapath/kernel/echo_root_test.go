// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

package kernel_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// flood sends echo requests on every path between two until the returned function is called, which wants no loss. Each
// request waits for the reply to the one before, so no machine is too slow for it, and none is under way at the end. (A
// ping that is stopped counts replies as lost that it had no time to read.)
func (c *cluster) flood(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for _, path := range c.paths()[1:] {
		for _, to := range path.to {
			pinger := newPinger(t, path, to)
			all.Go(func() {
				if err := pinger.repeat(ctx); err != nil {
					t.Error(err)
				}
			})
		}
	}
	const warmUp = 500 * time.Millisecond
	time.Sleep(warmUp)
	return func() {
		t.Helper()
		time.Sleep(warmUp)
		cancel()
		all.Wait()
		if t.Failed() {
			t.Log(c.drops(t))
		}
	}
}

// pinger asks one address from one place.
type pinger struct {
	name           string
	conn           *net.IPConn
	request, reply byte
}

func newPinger(t *testing.T, p path, to netip.Addr) *pinger {
	t.Helper()
	e, network := &pinger{name: p.name + ": " + to.String(), request: 8, reply: 0}, "ip4:1"
	if to.Is6() {
		e.request, e.reply, network = 128, 129, "ip6:58"
	}
	p.from.Do(t, func() {
		var err error
		if e.conn, err = net.DialIP(network, nil, &net.IPAddr{IP: to.AsSlice()}); err != nil {
			t.Fatalf("open a socket for echo requests: %v", err)
		}
	})
	t.Cleanup(func() { _ = e.conn.Close() })
	return e
}

// repeat asks until ctx ends, and says which requests were lost.
func (p *pinger) repeat(ctx context.Context) error {
	const pause = time.Millisecond
	var lost []uint16
	number := uint16(0)
	for ; ctx.Err() == nil; number++ {
		if err := p.once(number); err != nil {
			lost = append(lost, number)
		}
		time.Sleep(pause)
	}
	if len(lost) > 0 {
		return fmt.Errorf("%s: of %d echo requests lost: %v", p.name, number, lost)
	}
	return nil
}

// once sends one request and waits for its reply.
func (p *pinger) once(number uint16) error {
	message := make([]byte, 64)
	message[0] = p.request
	binary.BigEndian.PutUint16(message[6:], number)
	// All else is zero, so that the sum is that of two words. For IPv6 the kernel makes it.
	sum := uint32(p.request)<<8 + uint32(number)
	binary.BigEndian.PutUint16(message[2:], ^uint16(sum+sum>>16))
	if err := p.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := p.conn.Write(message); err != nil {
		return err
	}
	answer := make([]byte, 128) // with the IPv4 header, which ReadFromIP cuts off
	for {
		n, _, err := p.conn.ReadFromIP(answer)
		if err != nil {
			return err
		}
		if n == len(message) && answer[0] == p.reply && binary.BigEndian.Uint16(answer[6:]) == number {
			return nil
		}
	}
}
