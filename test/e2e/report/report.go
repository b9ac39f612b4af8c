// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package report is what the program probe, in a pod, tells the test about the packets it sent and got: a file in JSON on
// a folder that pod and test share, so that it can be read while the API server is away.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Report is the state of a probe.
type Report struct {
	// Targets are the addresses that a watching probe talks to.
	Targets map[string]Target `json:"targets,omitempty"`
	// Datagrams counts what a listening probe got, by the sender's address and the text of the datagram.
	Datagrams map[string]int `json:"datagrams,omitempty"`
	// Answered is when a calling probe got its first answer from its target, and Started when it began to ask.
	Started  time.Time `json:"started,omitzero"`
	Answered time.Time `json:"answered,omitzero"`
}

// Target is what became of one address.
type Target struct {
	// Sent, Received and Lost count echo requests, their answers, and requests that were not answered in time.
	Sent     uint64 `json:"sent"`
	Received uint64 `json:"received"`
	Lost     uint64 `json:"lost"`
	// Messages were echoed on the one TCP connection, Breaks tells how often it had to be opened again.
	Messages uint64 `json:"messages"`
	Breaks   uint64 `json:"breaks"`
	// Retransmits are the TCP segments that the kernel had to send again.
	Retransmits uint64 `json:"retransmits"`
	// LongestGap is the longest time between a message and its echo.
	LongestGap time.Duration `json:"longestGap"`
	// Problem is the last thing that went wrong.
	Problem string `json:"problem,omitempty"`
}

// Write replaces the file at path as a whole.
func (r Report) Write(path string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// Read reads the file at path.
func Read(path string) (Report, error) {
	var r Report
	data, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("read a report: %w", err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("parse the report %s: %w", path, err)
	}
	return r, nil
}
