// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
)

// heartbeat is the small file by which the agent says how it is.
type heartbeat struct {
	BootID       string    `json:"bootID"`
	ServingSince time.Time `json:"servingSince,omitzero"` // zero until it has served since boot
	LastServed   time.Time `json:"lastServed,omitzero"`   // renewed every ten seconds
	TokenExpires time.Time `json:"tokenExpires,omitzero"`
	Reason       string    `json:"reason"` // why it does not serve
	Serving      bool      `json:"serving"`
}

// status answers containerd's question whether pods can be started here. An error turns the node NotReady, so an agent
// that only restarts must not show: 50 before the first service since boot, 51 after two minutes without any.
func (p *plugin) status(args *skel.CmdArgs) error {
	conf, err := parseConf(args.StdinData)
	if err != nil {
		return err
	}
	boot, err := os.ReadFile(p.bootIDPath)
	if err != nil {
		return types.NewError(types.ErrIOFailure, "read the boot ID", err.Error())
	}
	beat, err := readHeartbeat(conf.RunDir)
	if err != nil {
		return types.NewError(types.ErrPluginNotAvailable, "the agent of this node has not served yet", err.Error())
	}
	return beat.verdict(strings.TrimSpace(string(boot)), p.now(), p.timing.silence)
}

func readHeartbeat(runDir string) (heartbeat, error) {
	beat := heartbeat{}
	path := filepath.Join(runDir, "agent-status.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return beat, fmt.Errorf("it has not started: %s does not exist", path)
	}
	if err != nil {
		return beat, fmt.Errorf("read its status: %w", err)
	}
	if err := json.Unmarshal(data, &beat); err != nil {
		return beat, fmt.Errorf("parse %s: %w", path, err)
	}
	return beat, nil
}

// verdict is nil while pods can be started, or will be before anyone has to know.
func (b heartbeat) verdict(boot string, now time.Time, silence time.Duration) error {
	switch {
	case b.BootID != boot:
		return types.NewError(types.ErrPluginNotAvailable,
			"the agent of this node has not served since the node was booted", b.Reason)
	case !b.Serving && b.ServingSince.IsZero():
		return types.NewError(types.ErrPluginNotAvailable, "the agent of this node has not served yet", b.Reason)
	case now.Sub(b.LastServed) > silence:
		return types.NewError(types.ErrLimitedConnectivity,
			fmt.Sprintf("the agent of this node has not served for %s", now.Sub(b.LastServed).Round(time.Second)), b.Reason)
	case !b.TokenExpires.IsZero() && now.After(b.TokenExpires):
		return types.NewError(types.ErrLimitedConnectivity,
			"the credential for the apiserver has expired at "+b.TokenExpires.Format(time.RFC3339), b.Reason)
	}
	return nil
}
