// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// configFileName comes first by name: the runtime takes the first file it finds.
const configFileName = "05-cilium.conflist"

// retryAfter is how soon a file that could not be written is tried again.
const retryAfter = 5 * time.Second

// ConfigFile is the CNI configuration file of the node. It is not written before Write is called, kept when the agent
// stops (the next agent serves the pods that wait), and put back when somebody changes or removes it.
type ConfigFile struct {
	dir     string
	content []byte
	clock   clock.WithTicker

	mu              sync.Mutex
	written         bool
	ok              bool
	reason, message string
	changed         func()
}

// NewConfigFile describes the file in dir that makes the runtime call the plugin with the credential in runDir. changed
// is called when State is another than before.
func NewConfigFile(dir, runDir, nodeName string, c clock.WithTicker, changed func()) (*ConfigFile, error) {
	content, err := json.MarshalIndent(map[string]any{
		"cniVersion": "1.1.0",
		"name":       "cilium",
		"plugins": []map[string]any{{
			"type":       "cilium-cni",
			"kubeconfig": filepath.Join(runDir, kubeconfigName),
			"nodeName":   nodeName,
			"runDir":     runDir,
		}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the CNI configuration: %w", err)
	}
	return &ConfigFile{
		dir: dir, content: append(content, '\n'), clock: c, changed: changed,
		reason: v1alpha1.ReasonWaitingForDatapath, message: "The CNI configuration file is written once the agent can serve pods",
	}, nil
}

// State tells whether the runtime can call the plugin, with a reason and a sentence for the condition CNIConfigured.
func (f *ConfigFile) State() (ok bool, reason, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ok, f.reason, f.message
}

// Write puts the file in place if it is not, from now on for ever.
func (f *ConfigFile) Write() error {
	f.mu.Lock()
	f.written = true
	f.mu.Unlock()
	err := f.ensure()
	switch {
	case err != nil:
		f.set(false, v1alpha1.ReasonConfigFileError, err.Error())
	default:
		f.lookForForeign()
	}
	return err
}

func (f *ConfigFile) ensure() error {
	path := filepath.Join(f.dir, configFileName)
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, f.content) {
		return nil
	}
	return writeFile(path, f.content, 0o644)
}

// lookForForeign finds a file that the runtime would take before ours: it reads them in the order of their names.
func (f *ConfigFile) lookForForeign() {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		f.set(false, v1alpha1.ReasonConfigFileError, err.Error())
		return
	}
	for _, entry := range entries {
		if name := entry.Name(); name < configFileName && isConfig(name) {
			f.set(false, v1alpha1.ReasonForeignConfigFile,
				fmt.Sprintf("The runtime takes %s before %s: remove it from the CNI configuration folder", name, configFileName))
			return
		}
	}
	f.set(true, v1alpha1.ReasonConfigFileWritten, configFileName+" is in place")
}

// isConfig tells whether the runtime reads a file of that name (the extensions are libcni's).
func isConfig(name string) bool {
	return slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(name)) && !strings.HasPrefix(name, ".")
}

func (f *ConfigFile) set(ok bool, reason, message string) {
	f.mu.Lock()
	same := f.ok == ok && f.reason == reason && f.message == message
	f.ok, f.reason, f.message = ok, reason, message
	f.mu.Unlock()
	if !same {
		f.changed()
	}
}

// Start repairs the file until ctx ends.
func (f *ConfigFile) Start(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the CNI configuration folder: %w", err)
	}
	defer func() { _ = watcher.Close() }()
	if err := watcher.Add(f.dir); err != nil {
		return fmt.Errorf("watch %s: %w", f.dir, err)
	}
	ticker := f.clock.NewTicker(retryAfter)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-watcher.Events:
			if strings.HasPrefix(filepath.Base(e.Name), ".") {
				continue // being written
			}
		case err := <-watcher.Errors:
			ctrl.LoggerFrom(ctx).Error(err, "Watching the CNI configuration folder")
		case <-ticker.C():
		}
		f.mu.Lock()
		written := f.written
		f.mu.Unlock()
		if !written {
			continue
		}
		if err := f.Write(); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Repairing the CNI configuration file")
		}
	}
}

// Remove takes the file away: the runtime asks for no more pods.
func (f *ConfigFile) Remove() error {
	err := os.Remove(filepath.Join(f.dir, configFileName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the CNI configuration file: %w", err)
	}
	return nil
}

// writeFile replaces path as a whole: a reader sees the old or the new content.
func writeFile(path string, content []byte, mode os.FileMode) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = temp.Write(content)
	err = errors.Join(err, temp.Chmod(mode), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(temp.Name()))
	}
	return nil
}
