// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// agentRepository is the agent's image without its version.
const agentRepository = "ciliate/cilium-agent:"

// VariantImage is an agent whose programs are others: what another release is to the datapath.
const VariantImage = agentRepository + "variant"

// LoadVariant builds VariantImage and brings it to all nodes.
func (c *Cluster) LoadVariant(t *testing.T) {
	t.Helper()
	dir := filepath.Join(c.run, "variant")
	c.output(t, "hack/image/build.sh", dir, "variant")
	// Nodes know archives by their names.
	archive := filepath.Join(dir, "cilium-agent-variant.tar")
	if err := os.Rename(filepath.Join(dir, "cilium-agent.tar"), archive); err != nil {
		t.Fatal(err)
	}
	c.output(t, "hack/cluster/load.sh", archive)
}

// AgentImage is the image that the agents run.
func (c *Cluster) AgentImage(t *testing.T) string {
	t.Helper()
	return c.agents(t).Spec.Template.Spec.Containers[0].Image
}

func (c *Cluster) agents(t *testing.T) *appsv1.DaemonSet {
	t.Helper()
	ds := &appsv1.DaemonSet{}
	if err := c.Get(context.Background(), client.ObjectKey{Namespace: "kube-system", Name: "cilium"}, ds); err != nil {
		t.Fatal(err)
	}
	return ds
}

// RollAgents rolls the DaemonSet to that image, as an upgrade does, and returns when it is done.
func (c *Cluster) RollAgents(t *testing.T, image string) {
	t.Helper()
	ds := c.agents(t)
	before := ds.DeepCopy()
	for _, containers := range [][]corev1.Container{ds.Spec.Template.Spec.InitContainers, ds.Spec.Template.Spec.Containers} {
		for i := range containers {
			if strings.HasPrefix(containers[i].Image, agentRepository) {
				containers[i].Image = image
			}
		}
	}
	if err := c.Patch(context.Background(), ds, client.StrategicMergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	Eventually(t, 3*time.Minute, "the DaemonSet's roll to "+image, c.agentsServe)
}

// Build tells apart what the agents have loaded into a node's kernel.
type Build struct {
	// Programs are the tags on pods' devices: a digest of their instructions.
	Programs map[string]bool
	// Maps are the numbers of the pinned maps, by name.
	Maps map[string]ebpf.MapID
}

// Build looks at what runs on the node.
func (n *Node) Build(t *testing.T) Build {
	t.Helper()
	kernel, err := n.Kernel()
	if err != nil {
		t.Fatal(err)
	}
	b := Build{Programs: map[string]bool{}, Maps: map[string]ebpf.MapID{}}
	for _, device := range kernel.Devices {
		for _, tag := range device.Programs {
			b.Programs[tag] = true
		}
	}
	folder, err := n.Path(pins)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		if b.Maps[entry.Name()], err = mapID(filepath.Join(folder, entry.Name())); err != nil {
			t.Fatalf("%s of %s: %v", entry.Name(), n.Name, err)
		}
	}
	return b
}

func mapID(path string) (ebpf.MapID, error) {
	m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return 0, err
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return 0, err
	}
	id, known := info.ID()
	if !known {
		return 0, errors.New("the kernel does not tell its number")
	}
	return id, nil
}

// Differs says whether none of the programs is one of the other build's.
func (b Build) Differs(other Build) error {
	for tag := range b.Programs {
		if other.Programs[tag] {
			return fmt.Errorf("program %s is of both builds", tag)
		}
	}
	return nil
}
