// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"fmt"
	"strconv"
	"time"
)

const (
	holdEvery = 500 * time.Millisecond // between two messages on one connection
	dialEvery = 5 * time.Millisecond   // between two new connections to one address
)

// hold is watch with many connections, each of them a target: one that falls silent does not hide behind the others. It
// never ends either.
func hold(file, count string, addresses []string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return fmt.Errorf("number of connections: %w", err)
	}
	targets := map[string]*target{}
	for i := range n {
		for _, address := range addresses {
			t := &target{}
			targets[fmt.Sprintf("%s connection %d", address, i)] = t
			go t.streamAfter(time.Duration(i)*dialEvery, address)
		}
	}
	return tell(file, targets)
}

func (t *target) streamAfter(delay time.Duration, address string) {
	time.Sleep(delay)
	t.stream(address, holdEvery)
}
