// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/build"
)

// face is what must not change of an endpoint when its agent is another.
type face struct {
	Version, MAC string
	Index        int
}

func faces(pods []*pod) map[string]face {
	all := map[string]face{}
	for _, p := range pods {
		attrs := p.device().Attrs()
		all[p.name] = face{p.get().ResourceVersion, attrs.HardwareAddr.String(), attrs.Index}
	}
	return all
}

func TestRestartAdopts(t *testing.T) {
	const many = 20
	n := newNode(t).known()
	p := n.start()
	p.ready()
	var pods []*pod
	for i := range many {
		pods = append(pods, n.pod(fmt.Sprintf("stays-%d", i)).add())
	}
	for _, pod := range pods {
		pod.await("True/Ready")
	}
	before, served := faces(pods), n.servingSince()
	p.kill()
	if _, err := os.Stat(filepath.Join(n.settings.CNIConfDir, "05-cilium.conflist")); err != nil {
		t.Errorf("the CNI configuration file while no agent runs: %v", err)
	}
	gone := pods[0]
	gone.del() // while nobody serves
	p = n.start()
	t.Logf("the agent served after %s with %d endpoints", p.ready(), many)
	gone.gone()
	fresh := n.pod("fresh").add()
	t.Logf("a new pod was Ready after %s", fresh.await("True/Ready"))
	if now := n.servingSince(); now != served || now == "" {
		t.Errorf("the plugin reads that the agent serves since %q, before the restart %q: a restart must not show", now, served)
	}
	delete(before, gone.name)
	if diff := cmp.Diff(before, faces(pods[1:])); diff != "" {
		t.Errorf("what changed by the restart (-before +after):\n%s", diff)
	}
	for _, pod := range pods[1:] {
		pod.dial(pod.get().Status.Addresses[0].IP)
		break
	}
	p.stop()
}

// servingSince is what the plugin reads.
func (n *node) servingSince() string {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.settings.RunDir, "agent-status.json"))
	if err != nil {
		n.t.Fatal(err)
	}
	var beat struct {
		ServingSince string `json:"servingSince"`
	}
	if err := json.Unmarshal(data, &beat); err != nil {
		n.t.Fatal(err)
	}
	return beat.ServingSince
}

func TestNamespaceGoneWhileNobodyServed(t *testing.T) {
	n := newNode(t).known()
	p := n.start()
	p.ready()
	pod := n.pod("rebooted").add()
	pod.await("True/Ready")
	p.kill()
	pod.closeSandbox()
	n.start().ready()
	pod.await("False/SandboxGone")
	if got := pod.get().Status; len(got.Addresses) > 0 || got.Interface != nil {
		t.Errorf("the endpoint still has %v and %v", got.Addresses, got.Interface)
	}
	n.nothingLeft()
	pod.newSandbox("rebooted-2")
	pod.del()
	pod.gone()
	pod.add()
	pod.await("True/Ready")
}

// Somebody stripped the finalizer while nobody served: the pod keeps its connections, and no other pod gets its address.
func TestObjectGoneWhileNobodyServed(t *testing.T) {
	n := newNode(t).known()
	p := n.start()
	p.ready()
	pod := n.pod("stripped").add()
	pod.await("True/Ready")
	pod.pod.Status.PodIPs = append(pod.pod.Status.PodIPs, podIP(pod.get().Status.Addresses[0].IP))
	pod.pod.Status.PodIP = pod.pod.Status.PodIPs[0].IP
	pod.pod.Status.Phase = "Running"
	if err := theCluster.client.Status().Update(t.Context(), pod.pod); err != nil {
		t.Fatal(err)
	}
	p.kill()
	stripped := pod.get()
	stripped.Finalizers = nil
	if err := theCluster.client.Update(t.Context(), stripped); err != nil {
		t.Fatal(err)
	}
	pod.deleteEndpoint()
	n.start().ready()
	if pod.device() == nil {
		t.Fatal("the device of a live pod was removed")
	}
	pod.dial(stripped.Status.Addresses[0].IP)
	pod.del()
	pod.gone()
	n.nothingLeft()
}

// What the agent waits for, it says.
func TestStartWithoutTheOperator(t *testing.T) {
	n := newNode(t)
	p := n.start()
	p.hear("waiting CiliumNode " + n.name + " does not exist yet")
	n.known()
	t.Logf("the agent served %s after its start", p.ready())
	if _, err := os.Stat(filepath.Join(n.settings.CNIConfDir, "05-cilium.conflist")); err != nil {
		t.Errorf("the CNI configuration file: %v", err)
	}
	eventually(t, func() error {
		node := &v1alpha1.CiliumNode{}
		if err := theCluster.client.Get(t.Context(), types.NamespacedName{Name: n.name}, node); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(node.Status.Conditions, v1alpha1.ConditionReady) || node.Status.Datapath == nil {
			return fmt.Errorf("the node's status is %v", node.Status)
		}
		return nil
	})
	// At rest the agent writes nothing. What it wrote before stands in the API server's book a moment after it was answered.
	time.Sleep(time.Second)
	before := n.writes("ciliumnodes", n.name, anyway)
	time.Sleep(2 * time.Second)
	if diff := cmp.Diff(before, n.writes("ciliumnodes", n.name, anyway)); diff != "" {
		t.Errorf("writes of an agent at rest:\n%s", diff)
	}
	t.Logf("writes of a node's start: %v", before)
}

func TestStartWithoutConfiguration(t *testing.T) {
	config := &v1alpha1.CiliumConfig{}
	if err := theCluster.client.Get(t.Context(), types.NamespacedName{Name: v1alpha1.ConfigName}, config); err != nil {
		t.Fatal(err)
	}
	if err := theCluster.client.Delete(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	n := newNode(t).known()
	p := n.start()
	p.hear("waiting CiliumConfig default does not exist yet")
	again := build.Config(24, "10.0.0.0/16")
	again.UID = ""
	if err := theCluster.client.Create(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	p.hear("waiting CiliumConfig default has no identity filter yet")
	again.Status = config.Status
	if err := theCluster.client.Status().Update(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	p.ready()
}
