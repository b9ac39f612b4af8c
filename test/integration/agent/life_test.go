// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package agent

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// A pod costs four writes in its life: create and delete are the plugin's, status and release the agent's.
func TestLifeOfAPod(t *testing.T) {
	n := newNode(t).known()
	t.Logf("the agent served after %s", n.start().ready())
	p := n.pod("life").add()
	t.Logf("Ready after %s", p.await("True/Ready"))

	status := p.get().Status
	device := p.device()
	if device == nil || device.Attrs().Alias != string(p.cep.UID) || device.Attrs().Flags&net.FlagUp == 0 {
		t.Fatalf("the device is %v, want one that is up and the endpoint's", device)
	}
	if status.Interface.HostName != device.Attrs().Name || int(status.Interface.HostIndex) != device.Attrs().Index {
		t.Errorf("the status says %v, the device is %s with number %d", status.Interface, device.Attrs().Name, device.Attrs().Index)
	}
	if got := p.inside("ip", "-o", "addr"); !strings.Contains(got, status.Addresses[0].IP) || !strings.Contains(got, status.Addresses[1].IP) {
		t.Errorf("the status says %v, inside is:\n%s", status.Addresses, got)
	}
	for _, a := range status.Addresses {
		p.dial(a.IP)
	}
	p.del()
	p.gone()
	want := map[string]int{"create": 1, "update status": 1, "delete": 1, "patch": 1}
	n.wrote("ciliumendpoints", p.name, want)
	n.nothingLeft()
}

// inside is what a command prints in the pod's network namespace.
func (p *pod) inside(command ...string) string {
	p.node.t.Helper()
	var out []byte
	var err error
	p.in(func() {
		out, err = exec.CommandContext(p.node.t.Context(), command[0], command[1:]...).CombinedOutput()
	})
	if err != nil {
		p.node.t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// in runs something in the pod's network namespace.
func (p *pod) in(deed func()) {
	p.node.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		err := netns.Set(p.sandbox)
		if err == nil {
			deed()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		p.node.t.Fatal(err)
	}
}

// dial connects from the node to the pod.
func (p *pod) dial(ip string) {
	t := p.node.t
	t.Helper()
	var listener net.Listener
	var err error
	p.in(func() { listener, err = net.Listen("tcp", net.JoinHostPort(ip, "8080")) })
	if err != nil {
		t.Fatalf("listen in the pod: %v", err)
	}
	defer listener.Close()
	eventually(t, func() error {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip, "8080"), time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
}

func TestDeletionWithoutDelIsHeld(t *testing.T) {
	n := newNode(t).known()
	n.start().ready()
	p := n.pod("held").add()
	p.await("True/Ready")
	p.deleteEndpoint()
	eventually(t, func() error {
		events := &corev1.EventList{}
		if err := theCluster.client.List(t.Context(), events, client.InNamespace("default")); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Reason == v1alpha1.EventDeletionHeld && e.InvolvedObject.Name == p.name {
				return nil
			}
		}
		return fmt.Errorf("no event %s", v1alpha1.EventDeletionHeld)
	})
	if got := p.ready(); got != "True/Ready" || p.device() == nil {
		t.Fatalf("Ready is %q, the device %v: a live sandbox was cut off", got, p.device())
	}
	p.del()
	p.gone()
	n.nothingLeft()
}

func TestSecondSandboxOfAPod(t *testing.T) {
	n := newNode(t).known()
	n.start().ready()
	p := n.pod("twice").add()
	p.await("True/Ready")
	first := p.device().Attrs().Name
	p.del()
	p.gone()
	p.newSandbox("twice-2")
	p.add()
	p.await("True/Ready")
	if second := p.device().Attrs().Name; second == first {
		t.Errorf("both sandboxes have the device %s", first)
	}
}

func TestLabelChange(t *testing.T) {
	n := newNode(t).known()
	n.start().ready()
	p := n.pod("label").add()
	p.await("True/Ready")
	device := p.device().Attrs().Index
	p.pod.Labels["app"] = "db"
	if err := theCluster.client.Update(t.Context(), p.pod); err != nil {
		t.Fatal(err)
	}
	if err := theCluster.createIdentity(t.Context(), identityDB, "db"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		id := &v1alpha1.CiliumIdentity{}
		id.Name = identityDB
		if err := theCluster.client.Delete(context.WithoutCancel(t.Context()), id); err != nil {
			t.Error(err)
		}
	})
	eventually(t, func() error {
		if got := p.get().Status.Identity.Number; got != 1002 {
			return fmt.Errorf("the identity is %d", got)
		}
		return nil
	})
	d := n.kernel()
	eventually(t, func() error {
		observed, err := d.Endpoints(t.Context())
		if err != nil || len(observed) != 1 || observed[0].Identity != 1002 || observed[0].HostIndex != device {
			return fmt.Errorf("the kernel has %v, %w", observed, err)
		}
		return n.hasRow(p.get().Status.Addresses[0].IP+"/32", dp.Identity(1002), "")
	})
	n.changed("ciliumendpoints", p.name, map[string]int{"create": 1, "update status": 2})
}

// An object of the operator comes late.
func TestIdentityComesLate(t *testing.T) {
	n := newNode(t).known()
	n.start().ready()
	p := n.pod("late")
	p.pod.Labels["app"] = "late"
	if err := theCluster.client.Update(t.Context(), p.pod); err != nil {
		t.Fatal(err)
	}
	p.add().await("False/WaitingForIdentity")
	if err := theCluster.createIdentity(t.Context(), "1003", "late"); err != nil {
		t.Fatal(err)
	}
	if took := p.await("True/Ready"); took > 2*time.Second {
		t.Errorf("Ready %s after the identity: the watch did not wake the endpoint", took)
	}
}

func TestPodComesLate(t *testing.T) {
	n := newNode(t).known()
	n.start().ready()
	p := n.pod("later")
	uid := p.pod.UID
	p.pod.UID = "not-this-one"
	p.add().await("False/WaitingForPod")
	p.await("False/PodMismatch")
	p.del()
	p.gone()
	p.pod.UID = uid
	p.add().await("True/Ready")
}
