// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ciliate-io/ciliate/test/e2e/report"
)

const (
	askEvery     = 20 * time.Millisecond // between two connections to one target
	answerWithin = 10 * time.Second      // a connection that takes longer has failed
)

// ask opens one connection after another to each target, as new clients do. It never ends either.
func ask(file string, addresses []string) error {
	targets := map[string]*target{}
	for _, address := range addresses {
		t := &target{}
		targets[address] = t
		go t.knock(address)
	}
	return tell(file, targets)
}

// knock counts who was answered, and everybody else as lost.
func (t *target) knock(address string) {
	for {
		start := time.Now()
		err := once(address)
		t.update(func(told *report.Target) {
			told.Sent++
			if err != nil {
				told.Lost++
				return
			}
			told.Received++
			told.LongestGap = max(told.LongestGap, time.Since(start))
		})
		if err != nil {
			t.problem(err)
		}
		time.Sleep(askEvery)
	}
}

// once is a connection for one question.
func once(address string) error {
	conn, err := net.DialTimeout("tcp", address, answerWithin)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return err
	}
	question, answer := []byte("question"), make([]byte, 8)
	if _, err := conn.Write(question); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, answer); err != nil {
		return fmt.Errorf("wait for the echo: %w", err)
	}
	if string(answer) != string(question) {
		return fmt.Errorf("echo %q", answer)
	}
	return nil
}
