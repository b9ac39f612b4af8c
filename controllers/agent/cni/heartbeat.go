// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package cni

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
)

const (
	// heartbeatName is the agent's sign of life in the run folder; the plugin reads it (cnibin/status.go).
	heartbeatName = "agent-status.json"
	// beatEvery is how often it is renewed: the plugin gives up on an agent after 120 s.
	beatEvery = 10 * time.Second
)

// beat is what the file says.
type beat struct {
	BootID       string    `json:"bootID"`
	ServingSince time.Time `json:"servingSince,omitzero"`
	LastServed   time.Time `json:"lastServed,omitzero"`
	TokenExpires time.Time `json:"tokenExpires,omitzero"`
	Reason       string    `json:"reason,omitempty"`
	Serving      bool      `json:"serving"`
}

// Heartbeat tells the plugin whether an agent serves the node, and since when in this boot. A restarted agent goes on
// where the last one was: a short restart must not be seen.
type Heartbeat struct {
	path    string
	clock   clock.WithTicker
	expires func() time.Time
	reason  func() string

	mu   sync.Mutex
	beat beat
}

// NewHeartbeat takes up the file in runDir if it is of the same boot. reason says why the agent does not serve yet,
// expires when its credential ends.
func NewHeartbeat(runDir, bootID string, c clock.WithTicker, expires func() time.Time, reason func() string) *Heartbeat {
	h := &Heartbeat{path: filepath.Join(runDir, heartbeatName), clock: c, expires: expires, reason: reason}
	var last beat
	if data, err := os.ReadFile(h.path); err == nil && json.Unmarshal(data, &last) == nil && last.BootID == bootID {
		h.beat = last
	}
	h.beat.BootID, h.beat.Serving = bootID, false
	return h
}

// Serve says that the agent serves from now on.
func (h *Heartbeat) Serve() error {
	h.mu.Lock()
	h.beat.Serving = true
	if h.beat.ServingSince.IsZero() {
		h.beat.ServingSince = h.clock.Now()
	}
	h.mu.Unlock()
	return h.Beat()
}

// Beat renews the file.
func (h *Heartbeat) Beat() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.beat.TokenExpires, h.beat.Reason = h.expires(), ""
	if h.beat.Serving {
		h.beat.LastServed = h.clock.Now()
	} else {
		h.beat.Reason = h.reason()
	}
	data, err := json.Marshal(h.beat)
	if err != nil {
		return fmt.Errorf("encode the heartbeat: %w", err)
	}
	return writeFile(h.path, data, 0o644)
}

// Start renews the file until ctx ends.
func (h *Heartbeat) Start(ctx context.Context) error {
	ticker := h.clock.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		if err := h.Beat(); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Renewing the heartbeat")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}
