// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Static is a static pod: the kubelet runs it from a file, and shows it to the API server as a mirror.
type Static struct {
	// Name is that of the mirror.
	Name     string
	manifest string
}

// StartStatic puts the pod's manifest before the node's kubelet and returns it with its mirror when it runs.
func (c *Cluster) StartStatic(t *testing.T, p Pod) (Static, *corev1.Pod) {
	t.Helper()
	pod := c.object(p)
	pod.APIVersion, pod.Kind = "v1", "Pod"
	data, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := p.Node.Path("/etc/kubernetes/manifests")
	if err != nil {
		t.Fatal(err)
	}
	s := Static{Name: p.Name + "-" + p.Node.Name, manifest: filepath.Join(folder, p.Name+".json")}
	// The kubelet reads no names that begin with a dot, and so never half a file.
	hidden := filepath.Join(folder, "."+p.Name)
	if err := errors.Join(os.WriteFile(hidden, data, 0o600), os.Rename(hidden, s.manifest)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Remove(t) })
	return s, c.WaitRunning(t, s.Name, time.Minute)
}

// Remove takes the manifest away, unless it is gone.
func (s Static) Remove(t *testing.T) {
	t.Helper()
	if err := os.Remove(s.manifest); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
