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
	"time"
)

// tombstone is the word, on this node, that a sandbox is gone. It outlives an apiserver that is away; the agent, which
// watches the folder, acts on it and removes it. The names of the pod are empty when the runtime did not give them.
type tombstone struct {
	ContainerID string    `json:"containerID"`
	IfName      string    `json:"ifName"`
	Namespace   string    `json:"namespace"`
	Name        string    `json:"name"`
	PodUID      string    `json:"podUID"`
	Netns       string    `json:"netns"`
	WrittenAt   time.Time `json:"writtenAt"`
}

// tombstoneOf is the tombstone for the sandbox of an endpoint.
func (p *plugin) tombstoneOf(ep *endpoint) tombstone {
	return tombstone{
		ContainerID: ep.Spec.ContainerID,
		IfName:      ep.Spec.IfName,
		Namespace:   ep.Metadata.Namespace,
		Name:        ep.Metadata.Name,
		PodUID:      ep.Spec.PodUID,
		Netns:       ep.Spec.Netns,
		WrittenAt:   p.now(),
	}
}

func tombstonePath(runDir string, a attachment) string {
	return filepath.Join(runDir, "deletes", a.ContainerID+"-"+a.IfName)
}

// write puts the tombstone into runDir, whole or not at all: a reader never sees half of one.
func (t tombstone) write(runDir string) error {
	path := tombstonePath(runDir, attachment{ContainerID: t.ContainerID, IfName: t.IfName})
	data, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode tombstone: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the folder of tombstones: %w", err)
	}
	// A leading dot: the agent does not look at files that are still being written.
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("create tombstone: %w", err)
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write tombstone %s: %w", path, errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}

// hasTombstone tells whether the runtime has deleted the attachment, and not added it again since.
func hasTombstone(runDir string, a attachment) bool {
	_, err := os.Stat(tombstonePath(runDir, a))
	return err == nil
}

// removeTombstone takes back what an earlier DEL of the same sandbox and interface said.
func removeTombstone(runDir string, a attachment) error {
	if err := os.Remove(tombstonePath(runDir, a)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove tombstone: %w", err)
	}
	return nil
}
