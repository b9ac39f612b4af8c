// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package cni

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"
)

// read is what the plugin would read.
func read(t *testing.T, dir string) beat {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, heartbeatName))
	if err != nil {
		t.Fatal(err)
	}
	var b beat
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	return b
}

func newHeartbeat(dir, bootID string, c *clocktesting.FakeClock) *Heartbeat {
	return NewHeartbeat(dir, bootID, c, func() time.Time { return time.Unix(9000, 0).UTC() }, func() string { return "taking over" })
}

func TestHeartbeat(t *testing.T) {
	begin, later := time.Unix(1000, 0).UTC(), time.Unix(2000, 0).UTC()
	ends := time.Unix(9000, 0).UTC()
	tests := map[string]struct {
		last string // the boot of the agent before, which served at begin; "" for none
		deed func(*Heartbeat) error
		want beat
	}{
		"before the first service": {
			deed: (*Heartbeat).Beat, want: beat{BootID: "boot", TokenExpires: ends, Reason: "taking over"},
		},
		"the first service": {
			deed: (*Heartbeat).Serve, want: beat{BootID: "boot", ServingSince: later, LastServed: later, TokenExpires: ends, Serving: true},
		},
		"a restart, before it serves": {
			last: "boot", deed: (*Heartbeat).Beat,
			want: beat{BootID: "boot", ServingSince: begin, LastServed: begin, TokenExpires: ends, Reason: "taking over"},
		},
		"a restart that serves": {
			last: "boot", deed: (*Heartbeat).Serve,
			want: beat{BootID: "boot", ServingSince: begin, LastServed: later, TokenExpires: ends, Serving: true},
		},
		"another boot, before it serves": {
			last: "other", deed: (*Heartbeat).Beat, want: beat{BootID: "boot", TokenExpires: ends, Reason: "taking over"},
		},
		"another boot that serves": {
			last: "other", deed: (*Heartbeat).Serve,
			want: beat{BootID: "boot", ServingSince: later, LastServed: later, TokenExpires: ends, Serving: true},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			clock := clocktesting.NewFakeClock(begin)
			if tt.last != "" {
				if err := newHeartbeat(dir, tt.last, clock).Serve(); err != nil {
					t.Fatal(err)
				}
			}
			clock.SetTime(later)
			if err := tt.deed(newHeartbeat(dir, "boot", clock)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, read(t, dir)); diff != "" {
				t.Errorf("heartbeat (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHeartbeatIsRenewed(t *testing.T) {
	dir := t.TempDir()
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	h := newHeartbeat(dir, "boot", clock)
	if err := h.Serve(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = h.Start(t.Context()) }()
	within(t, clock.HasWaiters)
	clock.Step(beatEvery)
	within(t, func() bool { return read(t, dir).LastServed.Equal(time.Unix(1000, 0).Add(beatEvery)) })
}
