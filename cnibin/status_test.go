// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const thisBoot = "6a1d7a3e-0000-4000-8000-000000000001"

// beat is the agent's heartbeat as it is written, with the times as so much before (or after) now.
type beat struct {
	boot                        string
	servingSince, lastServed    time.Duration
	expires                     time.Duration
	neverServed, withoutExpires bool
	reason                      string
	serving                     bool
}

func (b beat) write(w *world, now time.Time) {
	w.t.Helper()
	file := map[string]any{"bootID": b.boot, "reason": b.reason, "serving": b.serving}
	if !b.neverServed {
		file["servingSince"] = now.Add(-b.servingSince).Format(time.RFC3339)
		file["lastServed"] = now.Add(-b.lastServed).Format(time.RFC3339)
	}
	if !b.withoutExpires {
		file["tokenExpires"] = now.Add(b.expires).Format(time.RFC3339)
	}
	data, err := json.Marshal(file)
	if err != nil {
		w.t.Fatal(err)
	}
	w.writeFile("agent-status.json", data)
}

func TestStatus(t *testing.T) {
	served := beat{boot: thisBoot, servingSince: time.Hour, lastServed: 5 * time.Second, expires: time.Hour, serving: true}
	with := func(change func(*beat)) *beat {
		b := served
		change(&b)
		return &b
	}
	cases := map[string]struct {
		beat      *beat
		wantCode  uint
		wantTexts []string
	}{
		"an agent that serves":                     {beat: &served},
		"an agent that restarts":                   {beat: with(func(b *beat) { b.serving, b.reason = false, "Reading" })},
		"an agent that is away for two minutes":    {beat: with(func(b *beat) { b.lastServed = 120 * time.Second })},
		"an agent that came a moment ago":          {beat: with(func(b *beat) { b.servingSince, b.lastServed = 0, 0 })},
		"a clock that was set back":                {beat: with(func(b *beat) { b.lastServed = -time.Hour })},
		"an agent that does not know its token":    {beat: with(func(b *beat) { b.withoutExpires = true })},
		"an agent that was never started":          {wantCode: 50, wantTexts: []string{"agent-status.json"}},
		"an agent that has served the boot before": {beat: with(func(b *beat) { b.boot = "another" }), wantCode: 50},
		"an agent that says why it does not serve yet": {
			beat: with(func(b *beat) {
				b.neverServed, b.serving, b.reason = true, false, "CiliumConfig default does not exist."
			}),
			wantCode: 50, wantTexts: []string{"CiliumConfig default does not exist."},
		},
		"an agent of another boot that says why": {
			beat: with(func(b *beat) {
				b.boot, b.serving, b.reason = "another", false, "The kernel lacks a feature."
			}),
			wantCode: 50, wantTexts: []string{"booted", "The kernel lacks a feature."},
		},
		"an agent that is away for longer": {
			beat:     with(func(b *beat) { b.lastServed, b.reason = 121*time.Second, "" }),
			wantCode: 51, wantTexts: []string{"2m1s"},
		},
		"an agent that is away for longer and says why": {
			beat: with(func(b *beat) {
				b.serving, b.lastServed, b.reason = false, 10*time.Minute, "UDP port 8472 is in use."
			}),
			wantCode: 51, wantTexts: []string{"UDP port 8472 is in use."},
		},
		"a credential that has expired": {
			beat:     with(func(b *beat) { b.expires = -time.Second }),
			wantCode: 51, wantTexts: []string{"expired"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			now := time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)
			w.plugin.now = func() time.Time { return now }
			w.writeFile("boot_id", []byte(thisBoot+"\n"))
			for _, b := range []*beat{tc.beat} {
				writeIfAny(w, b, now)
			}
			wantError(t, w.run(w.plugin.status), tc.wantCode, tc.wantTexts...)
			wantEqual(t, []string(nil), w.Requests())
		})
	}
}

func writeIfAny(w *world, b *beat, now time.Time) {
	if b != nil {
		b.write(w, now)
	}
}

func TestStatusOfWhatCannotBeRead(t *testing.T) {
	cases := map[string]struct {
		arrange  func(w *world)
		wantCode uint
		wantText string
	}{
		"a heartbeat that is not JSON": {
			arrange:  func(w *world) { w.writeFile("agent-status.json", []byte("serving")) },
			wantCode: 50, wantText: "parse",
		},
		"no boot ID": {
			arrange: func(w *world) {
				if err := os.Remove(filepath.Join(w.runDir, "boot_id")); err != nil {
					w.t.Fatal(err)
				}
			},
			wantCode: 5, wantText: "boot ID",
		},
		"no nodeName": {
			arrange:  func(w *world) { delete(w.conf, "nodeName") },
			wantCode: 7, wantText: "nodeName",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.writeFile("boot_id", []byte(thisBoot))
			tc.arrange(w)
			wantError(t, w.run(w.plugin.status), tc.wantCode, tc.wantText)
		})
	}
}
