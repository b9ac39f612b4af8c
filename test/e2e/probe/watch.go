// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/test/e2e/report"
)

const (
	every       = 10 * time.Millisecond  // between two messages, and between two echo requests
	reportEvery = 100 * time.Millisecond // between two reports
	patience    = 20 * time.Second       // with a connection that does not answer, before it counts as broken
)

// target is one address under watch.
type target struct {
	mu   sync.Mutex
	told report.Target
}

func (t *target) update(change func(*report.Target)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.told)
}

func (t *target) problem(err error) {
	t.update(func(told *report.Target) { told.Problem = fmt.Sprintf("%s: %v", time.Now().Format(time.TimeOnly), err) })
}

// watch never ends: the test reads the report whenever it wants to.
func watch(file, port string, addresses []string) error {
	targets := map[string]*target{}
	for _, address := range addresses {
		t := &target{}
		targets[address] = t
		go t.stream(net.JoinHostPort(address, port), every)
		if err := t.flood(address); err != nil {
			return err
		}
	}
	return tell(file, targets)
}

// tell writes the report again and again.
func tell(file string, targets map[string]*target) error {
	for range time.Tick(reportEvery) {
		r := report.Report{Targets: map[string]report.Target{}}
		for address, t := range targets {
			t.update(func(told *report.Target) { r.Targets[address] = *told })
		}
		if err := r.Write(file); err != nil {
			return err
		}
	}
	return nil
}

// stream sends numbers and waits for each to come back. The first connection may take any number of attempts; each
// further one counts as a break.
func (t *target) stream(address string, pace time.Duration) {
	for opened := false; ; {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			t.problem(err)
			time.Sleep(every)
			continue
		}
		if opened {
			t.update(func(told *report.Target) { told.Breaks++ })
		}
		opened = true
		t.problem(t.exchange(conn.(*net.TCPConn), pace))
		conn.Close()
	}
}

func (t *target) exchange(conn *net.TCPConn, pace time.Duration) error {
	message, echo := make([]byte, 8), make([]byte, 8)
	for number := uint64(0); ; number++ {
		binary.BigEndian.PutUint64(message, number)
		sent := time.Now()
		if err := conn.SetDeadline(sent.Add(patience)); err != nil {
			return err
		}
		if _, err := conn.Write(message); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, echo); err != nil {
			return err
		}
		if got := binary.BigEndian.Uint64(echo); got != number {
			return fmt.Errorf("echo %d of message %d", got, number)
		}
		again, err := retransmits(conn)
		if err != nil {
			return err
		}
		t.update(func(told *report.Target) {
			told.Messages++
			told.Retransmits = again
			told.LongestGap = max(told.LongestGap, time.Since(sent))
		})
		time.Sleep(pace)
	}
}

func retransmits(conn *net.TCPConn) (uint64, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var info *unix.TCPInfo
	var infoErr error
	if err := raw.Control(func(fd uintptr) {
		info, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); err != nil {
		return 0, err
	}
	if infoErr != nil {
		return 0, infoErr
	}
	return uint64(info.Total_retrans), nil
}
