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
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
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

// bury takes the endpoint of a sandbox that is gone out of the datapath, also while the apiserver is away, and deletes
// its object.
func (r *Reconciler) bury(ctx context.Context, cep *v1alpha1.CiliumEndpoint) error {
	if err := r.undo(ctx, r.attachments.ensure(cep, r.Clock.Now())); err != nil {
		return err
	}
	return r.deleteObject(ctx, cep, "Deleting the endpoint of a sandbox that is gone")
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

// hostIfNames are the devices of the sandboxes that have a tombstone.
func (t Tombstones) hostIfNames() map[string]bool {
	names := map[string]bool{}
	entries, _ := os.ReadDir(string(t)) // without the folder there is no tombstone
	for _, entry := range entries {
		if stone, err := t.read(entry.Name()); err == nil && !unfinished(entry.Name()) {
			names[dp.HostIfName(stone.ContainerID, stone.IfName)] = true
		}
	}
	return names
}

// watchTombstones wakes the endpoint of every new tombstone and removes those that have served.
func (r *Reconciler) watchTombstones(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the folder of tombstones: %w", err)
	}
	defer func() { _ = watcher.Close() }()
	if err := r.watchFolder(watcher); err != nil {
		return err
	}
	ticker := r.Clock.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-watcher.Events:
			if e.Has(fsnotify.Create) && !unfinished(e.Name) {
				r.wakeByTombstone(ctx, filepath.Base(e.Name))
			}
		case err := <-watcher.Errors:
			ctrl.LoggerFrom(ctx).Error(err, "Watching the folder of tombstones")
			r.sweep(ctx) // the kernel's queue ran over: look at all
		case <-ticker.C():
			if err := r.watchFolder(watcher); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "Watching the folder of tombstones")
			}
			r.sweep(ctx)
		}
	}
}

// watchFolder makes the folder and watches it, again when somebody has removed it.
func (r *Reconciler) watchFolder(watcher *fsnotify.Watcher) error {
	if err := os.MkdirAll(string(r.Tombstones), 0o700); err != nil {
		return fmt.Errorf("make the folder of tombstones: %w", err)
	}
	if err := watcher.Add(string(r.Tombstones)); err != nil {
		return fmt.Errorf("watch %s: %w", r.Tombstones, err)
	}
	return nil
}

// unfinished tells whether the plugin is still writing the file: it renames it when it is whole.
func unfinished(file string) bool { return strings.HasPrefix(filepath.Base(file), ".") }

// wakeByTombstone reconciles the endpoint that a tombstone is about. A DEL without CNI_ARGS names no pod.
func (r *Reconciler) wakeByTombstone(ctx context.Context, file string) {
	stone, err := r.Tombstones.read(file)
	if err != nil {
		return // taken away again, or not ours: the sweep says so
	}
	if err := r.sweepStrays(ctx); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Removing devices without an object")
	}
	if stone.Name != "" {
		r.wakeName(ctx, types.NamespacedName{Namespace: stone.Namespace, Name: stone.Name})
		return
	}
	found, err := r.bySandbox(ctx, stone)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Looking for the endpoint of a tombstone", "file", file)
	}
	for i := range found {
		r.wakeName(ctx, client.ObjectKeyFromObject(&found[i]))
	}
}

// bySandbox are the endpoints of a sandbox, for a tombstone that names no pod.
func (r *Reconciler) bySandbox(ctx context.Context, stone tombstone) ([]v1alpha1.CiliumEndpoint, error) {
	list := &v1alpha1.CiliumEndpointList{}
	if err := r.Client.List(ctx, list); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(cep v1alpha1.CiliumEndpoint) bool { return !stone.isOf(&cep) }), nil
}

func (s tombstone) isOf(cep *v1alpha1.CiliumEndpoint) bool {
	return cep.Spec.ContainerID == s.ContainerID && cep.Spec.IfName == s.IfName
}

// sweep looks at every tombstone, old or new: news of one may have been lost.
func (r *Reconciler) sweep(ctx context.Context) {
	if err := r.sweepStrays(ctx); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Removing devices without an object")
	}
	stones := r.Tombstones.hostIfNames()
	for _, a := range r.attachments.all() {
		if stones[a.hostIfName] {
			r.wakeName(ctx, a.name)
		}
	}
	r.sweepTombstones(ctx)
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
	ceps, err := r.liveOf(ctx, stone)
	if err != nil {
		return err
	}
	for i := range ceps {
		if stone.isOf(&ceps[i]) {
			return r.deleteObject(ctx, &ceps[i], "Deleting the endpoint of a sandbox that is gone")
		}
	}
	return os.Remove(filepath.Join(string(r.Tombstones), file))
}

// liveOf are the endpoints that a tombstone may be about, as the apiserver has them now.
func (r *Reconciler) liveOf(ctx context.Context, stone tombstone) ([]v1alpha1.CiliumEndpoint, error) {
	if stone.Name == "" {
		list := &v1alpha1.CiliumEndpointList{}
		err := r.Live.List(ctx, list, client.MatchingFields{index.EndpointNode: r.NodeName})
		return list.Items, err
	}
	cep := v1alpha1.CiliumEndpoint{}
	err := r.Live.Get(ctx, types.NamespacedName{Namespace: stone.Namespace, Name: stone.Name}, &cep)
	return []v1alpha1.CiliumEndpoint{cep}, client.IgnoreNotFound(err)
}
