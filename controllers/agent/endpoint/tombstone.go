// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

const (
	// tombstoneAge is how long a tombstone stays at least: an ADD of unknown outcome may still create the object.
	tombstoneAge = 5 * time.Minute
	// sweepEvery is how often the folder is read as a whole.
	sweepEvery = 30 * time.Second
)

// Tombstones is the folder in which the CNI plugin leaves a file for each attachment that the runtime told it to delete,
// so that a DEL counts even while the apiserver or the agent is away.
type Tombstones string

// tombstone is what such a file says. The plugin writes it (cnibin/tombstone.go).
type tombstone struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifName"`
	Namespace   string `json:"namespace"`
	Name        string `json:"name"`
}

// Has tells whether the attachment has a tombstone, from the folder itself: an ADD may have taken it away again.
func (t Tombstones) Has(containerID, ifName string) bool {
	_, err := os.Stat(filepath.Join(string(t), containerID+"-"+ifName))
	return err == nil
}

// read returns the tombstone of a file; a file that is gone or unreadable says nothing.
func (t Tombstones) read(file string) (tombstone, error) {
	var stone tombstone
	data, err := os.ReadFile(filepath.Join(string(t), file))
	if err != nil {
		return stone, err
	}
	if err := json.Unmarshal(data, &stone); err != nil {
		return stone, fmt.Errorf("read the tombstone %s: %w", file, err)
	}
	return stone, nil
}

// watchTombstones wakes the endpoint of every new tombstone and removes those that have served.
func (r *Reconciler) watchTombstones(ctx context.Context) error {
	if err := os.MkdirAll(string(r.Tombstones), 0o700); err != nil {
		return fmt.Errorf("make the folder of tombstones: %w", err)
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the folder of tombstones: %w", err)
	}
	defer func() { _ = watcher.Close() }()
	if err := watcher.Add(string(r.Tombstones)); err != nil {
		return fmt.Errorf("watch %s: %w", r.Tombstones, err)
	}
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-watcher.Events:
			if e.Has(fsnotify.Create) && !unfinished(e.Name) {
				r.wakeByTombstone(ctx, filepath.Base(e.Name))
			}
		case <-ticker.C:
			r.sweepTombstones(ctx)
		}
	}
}

// unfinished tells whether the plugin is still writing the file: it renames it when it is whole.
func unfinished(file string) bool { return strings.HasPrefix(filepath.Base(file), ".") }

func (r *Reconciler) wakeByTombstone(ctx context.Context, file string) {
	stone, err := r.Tombstones.read(file)
	if err != nil || stone.Name == "" {
		return // a DEL without CNI_ARGS names no pod; the sweep keeps the file until nothing can come of it
	}
	object := &v1alpha1.CiliumEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: stone.Namespace, Name: stone.Name}}
	select {
	case r.wake <- event.GenericEvent{Object: object}:
	case <-ctx.Done():
	}
}

// sweepTombstones removes every tombstone that is old enough and whose object is gone for certain.
func (r *Reconciler) sweepTombstones(ctx context.Context) {
	entries, err := os.ReadDir(string(r.Tombstones))
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Reading the folder of tombstones")
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || unfinished(entry.Name()) || r.Clock.Since(info.ModTime()) < tombstoneAge {
			continue
		}
		if err := r.sweepTombstone(ctx, entry.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
			ctrl.LoggerFrom(ctx).Error(err, "Sweeping a tombstone", "file", entry.Name())
		}
	}
}

func (r *Reconciler) sweepTombstone(ctx context.Context, file string) error {
	stone, err := r.Tombstones.read(file)
	if err != nil {
		return err
	}
	if stone.Name != "" {
		cep := &v1alpha1.CiliumEndpoint{}
		err := r.Live.Get(ctx, types.NamespacedName{Namespace: stone.Namespace, Name: stone.Name}, cep)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err == nil && cep.Spec.ContainerID == stone.ContainerID && cep.Spec.IfName == stone.IfName {
			return r.deleteObject(ctx, cep, "Deleting the endpoint of a sandbox that is gone")
		}
	}
	return os.Remove(filepath.Join(string(r.Tombstones), file))
}
