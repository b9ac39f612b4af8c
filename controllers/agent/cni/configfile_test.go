// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package cni

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// newFile is a file in a folder of the test, and how often its state was said to have changed.
func newFile(t *testing.T, c clock.WithTicker) (*ConfigFile, *atomic.Int32) {
	t.Helper()
	var changed atomic.Int32
	f, err := NewConfigFile(t.TempDir(), "/run/cilium", "n1", c, func() { changed.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	return f, &changed
}

func (f *ConfigFile) path() string { return filepath.Join(f.dir, configFileName) }

func TestConfigFileIsWhatThePluginReads(t *testing.T) {
	f, _ := newFile(t, clock.RealClock{})
	if err := f.Write(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(f.path())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"cniVersion": "1.1.0", "name": "cilium",
		"plugins": []any{map[string]any{
			"type": "cilium-cni", "kubeconfig": "/run/cilium/cni.kubeconfig", "nodeName": "n1", "runDir": "/run/cilium",
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
}

func TestStateOfTheConfigFile(t *testing.T) {
	put := func(name string) func(*testing.T, *ConfigFile) {
		return func(t *testing.T, f *ConfigFile) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(f.dir, name), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := map[string]struct {
		before  func(*testing.T, *ConfigFile)
		written bool
		wantOK  bool
		want    string
	}{
		"before the agent serves":     {want: v1alpha1.ReasonWaitingForDatapath},
		"written":                     {written: true, wantOK: true, want: v1alpha1.ReasonConfigFileWritten},
		"another comes first":         {before: put("00-other.conflist"), written: true, want: v1alpha1.ReasonForeignConfigFile},
		"another comes first as conf": {before: put("00-other.conf"), written: true, want: v1alpha1.ReasonForeignConfigFile},
		"another comes later":         {before: put("10-other.conflist"), written: true, wantOK: true, want: v1alpha1.ReasonConfigFileWritten},
		"no configuration":            {before: put("00-readme.txt"), written: true, wantOK: true, want: v1alpha1.ReasonConfigFileWritten},
		"no folder": {before: func(t *testing.T, f *ConfigFile) {
			t.Helper()
			if err := os.Remove(f.dir); err != nil {
				t.Fatal(err)
			}
		}, written: true, want: v1alpha1.ReasonConfigFileError},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, _ := newFile(t, clock.RealClock{})
			if tt.before != nil {
				tt.before(t, f)
			}
			if tt.written {
				_ = f.Write() // what State says of an error is the test
			}
			ok, reason, message := f.State()
			if ok != tt.wantOK || reason != tt.want || message == "" {
				t.Errorf("state is %v, %s, %q; want %v, %s", ok, reason, message, tt.wantOK, tt.want)
			}
		})
	}
}

func TestConfigFileTellsOnlyOfChanges(t *testing.T) {
	f, changed := newFile(t, clock.RealClock{})
	for range 3 {
		if err := f.Write(); err != nil {
			t.Fatal(err)
		}
	}
	if got := changed.Load(); got != 1 {
		t.Errorf("told %d times, want once", got)
	}
}

func TestConfigFileIsNotWrittenBeforeWrite(t *testing.T) {
	c := clocktesting.NewFakeClock(time.Unix(1000, 0))
	f, _ := newFile(t, c)
	go func() { _ = f.Start(t.Context()) }()
	within(t, c.HasWaiters)
	c.Step(retryAfter)
	c.Step(retryAfter)
	if _, err := os.Stat(f.path()); err == nil {
		t.Error("the file is there before the agent serves")
	}
}

func TestConfigFileIsRepaired(t *testing.T) {
	tests := map[string]func(string) error{
		"removed": os.Remove,
		"changed": func(path string) error { return os.WriteFile(path, []byte("{}"), 0o600) },
	}
	for name, harm := range tests {
		t.Run(name, func(t *testing.T) {
			c := clocktesting.NewFakeClock(time.Unix(1000, 0)) // which stands still: only the watch repairs
			f, _ := newFile(t, c)
			if err := f.Write(); err != nil {
				t.Fatal(err)
			}
			go func() { _ = f.Start(t.Context()) }()
			within(t, c.HasWaiters)
			if err := harm(f.path()); err != nil {
				t.Fatal(err)
			}
			within(t, func() bool {
				data, err := os.ReadFile(f.path())
				return err == nil && string(data) == string(f.content)
			})
		})
	}
}

func TestRemove(t *testing.T) {
	f, _ := newFile(t, clock.RealClock{})
	if err := f.Write(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(f.path()); err == nil {
		t.Error("the file is still there")
	}
}

func TestWriteFileLeavesNothingHalfDone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.Mkdir(path, 0o700); err != nil { // a folder cannot be replaced by a file
		t.Fatal(err)
	}
	if err := writeFile(path, []byte("new"), 0o600); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("err = %v, want one that names the file", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
}

// within waits a little for something.
func within(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
	}
}
