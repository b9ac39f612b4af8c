// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/ciliate-io/ciliate/test/e2e/report"
)

// lostAfter is how long an answer may take: long enough for a machine that is busy with other things.
const lostAfter = 3 * time.Second

// echo is the family's way to say it.
type echo struct {
	network, any   string
	request, reply byte
	sumByHand      bool
}

func echoOf(ip net.IP) echo {
	if ip.To4() != nil {
		return echo{network: "ip4:icmp", any: "0.0.0.0", request: 8, reply: 0, sumByHand: true}
	}
	return echo{network: "ip6:ipv6-icmp", any: "::", request: 128, reply: 129}
}

// open holds the requests that were not answered yet.
type open struct {
	mu   sync.Mutex
	sent map[uint16]time.Time
}

// flood starts to send echo requests to address, in the background and for ever.
func (t *target) flood(address string) error {
	ip := net.ParseIP(address)
	if ip == nil {
		return fmt.Errorf("%q is no address", address)
	}
	e := echoOf(ip)
	conn, err := net.ListenPacket(e.network, e.any)
	if err != nil {
		return fmt.Errorf("open a socket for echo requests: %w", err)
	}
	waiting := &open{sent: map[uint16]time.Time{}}
	go t.receive(conn, e, ip, waiting)
	go t.send(conn, e, ip, waiting)
	return nil
}

func (t *target) send(conn net.PacketConn, e echo, ip net.IP, waiting *open) {
	for number := uint16(1); ; number++ {
		lost := waiting.add(number)
		_, err := conn.WriteTo(request(e, number), &net.IPAddr{IP: ip})
		t.update(func(told *report.Target) {
			told.Sent++
			told.Lost += lost
		})
		if err != nil {
			t.problem(err)
		}
		time.Sleep(every)
	}
}

// add remembers a request and returns how many older ones are lost.
func (o *open) add(number uint16) (lost uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	for old, at := range o.sent {
		if now.Sub(at) > lostAfter {
			delete(o.sent, old)
			lost++
		}
	}
	o.sent[number] = now
	return lost
}

func (o *open) answered(number uint16) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, known := o.sent[number]
	delete(o.sent, number)
	return known
}

func (t *target) receive(conn net.PacketConn, e echo, ip net.IP, waiting *open) {
	buffer := make([]byte, 128)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			t.problem(err)
			return
		}
		ours := n >= 8 && buffer[0] == e.reply && binary.BigEndian.Uint16(buffer[4:]) == identifier() && from.String() == ip.String()
		if ours && waiting.answered(binary.BigEndian.Uint16(buffer[6:])) {
			t.update(func(told *report.Target) { told.Received++ })
		}
	}
}

func identifier() uint16 { return uint16(os.Getpid()) }

func request(e echo, number uint16) []byte {
	message := make([]byte, 64)
	message[0] = e.request
	binary.BigEndian.PutUint16(message[4:], identifier())
	binary.BigEndian.PutUint16(message[6:], number)
	if e.sumByHand {
		binary.BigEndian.PutUint16(message[2:], checksum(message))
	}
	return message
}

// checksum is the Internet's.
func checksum(data []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
