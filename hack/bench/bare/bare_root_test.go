// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

package bare_test

import (
	"testing"
	"time"

	"github.com/ciliate-io/ciliate/hack/bench/bare"
	"github.com/ciliate-io/ciliate/hack/bench/load"
)

// TestPaths needs root: it makes namespaces. Every kind of load gets through all bare paths.
func TestPaths(t *testing.T) {
	paths := map[string]func(*bare.Lab, int) ([2]load.End, error){
		"a veth pair":             (*bare.Lab).Pair,
		"two pods of one node":    (*bare.Lab).Switch,
		"VXLAN between two nodes": (*bare.Lab).Tunnel,
	}
	loads := map[string]func(load.Path, time.Duration) (load.Result, error){
		"stream": load.Path.Stream, "request and response": load.Path.RequestResponse, "connections": load.Path.Connect,
		"ping": load.Path.Ping,
	}
	for name, path := range paths {
		t.Run(name, func(t *testing.T) {
			lab := &bare.Lab{}
			t.Cleanup(func() {
				if err := lab.Close(); err != nil {
					t.Error(err)
				}
			})
			ends, err := path(lab, 1450)
			if err != nil {
				t.Fatal(err)
			}
			for name, run := range loads {
				t.Run(name, func(t *testing.T) {
					got, err := run(load.Path{Client: ends[0], Server: ends[1]}, 200*time.Millisecond)
					if err != nil || got.Rate <= 0 || got.CPU <= 0 {
						t.Errorf("%+v, %v", got, err)
					}
					t.Logf("%+v", got)
				})
			}
			t.Run("probe", func(t *testing.T) { probe(t, load.Path{Client: ends[0], Server: ends[1], Port: 8080}) })
		})
	}
}

// probe: a port at which nobody listens refuses, and one at which somebody does accepts, until he ends.
func probe(t *testing.T, p load.Path) {
	for _, step := range []struct {
		during func(func() error) error
		want   load.Answer
	}{
		{func(f func() error) error { return f() }, load.Refused},
		{p.Listening, load.Accepted},
		{func(f func() error) error { return f() }, load.Refused},
	} {
		if err := step.during(func() error {
			got, err := p.Try()
			if got != step.want {
				t.Errorf("answer = %q, want %q", got, step.want)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}
