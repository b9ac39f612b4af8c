// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/test/e2e/framework"
)

// The failure matrix of an attachment: who dies at which step of its ADD or DEL. The test plays the runtime: it executes
// the node's real plugin for a sandbox of its own, so that it can stop the world at exact points. The API server's row is
// in apiserver_test.go, those of the runtime and of the node in node_test.go.
//
// A step brings the attachment to its point, strikes, lets everything go on, and returns how the plugin ended.
type step struct {
	verb string
	play func(t *testing.T, f *fault) framework.Result
	// noCNI is set where the plugin is not running.
	noCNI bool
}

func steps() map[string]step {
	return map[string]step{
		"before the object is made":                   {"ADD", beforeCall, true},
		"object made, nothing claimed":                {"ADD", objectMade, false},
		"device up and maps written, status not":      {"ADD", deviceUp, false},
		"status written, result not given":            {"ADD", statusWritten, false},
		"result given":                                {"ADD", afterCall, true},
		"before the tombstone":                        {"DEL", beforeCall, true},
		"tombstone written, nothing undone":           {"DEL", tombstoneWritten, true},
		"device and entries gone, object not deleted": {"DEL", deviceGone, true},
		"object deleted by somebody, device there":    {"DEL", objectDeleted, true},
		"tombstone written, the agent at work":        {"DEL", afterCall, true},
	}
}

// fault is one cell of the matrix.
type fault struct {
	*framework.Sandbox
	c      *framework.Cluster
	victim string
	verb   string
	// frozen tells that the API server is paused.
	frozen bool
}

const apiserver = "kube-apiserver"

// strike kills the victim.
func (f *fault) strike(t *testing.T) {
	t.Helper()
	switch f.victim {
	case framework.CNI:
		f.Node.Kill(t, framework.CNI, f.Mark())
	case framework.Agent:
		f.Node.Kill(t, framework.Agent)
	case framework.Operator:
		for _, node := range f.c.Nodes { // whoever leads
			node.TryKill(t, framework.Operator)
		}
	}
}

// goOn lets everything that was paused go on.
func (f *fault) goOn(t *testing.T) {
	t.Helper()
	if f.frozen {
		f.c.Daemon(t, "resume", apiserver)
	}
	f.frozen = false
	f.Node.Resume(t, framework.Agent)
	f.Node.Resume(t, framework.CNI, f.Mark())
	f.Node.Resume(t, "nsenter") // by which the plugin is executed: it stops with it
}

// freeze stops the API server in the middle of what it does. What it has said before reaches its readers first.
func (f *fault) freeze(t *testing.T) {
	t.Helper()
	time.Sleep(300 * time.Millisecond)
	f.c.Daemon(t, "pause", apiserver)
	f.frozen = true
}

func (f *fault) await(t *testing.T, what string, happened func(context.Context) error) {
	t.Helper()
	framework.Eventually(t, 15*time.Second, what, happened)
}

func (f *fault) made(ctx context.Context) error {
	_, err := f.Endpoint(ctx)
	return err
}

// deleteObject does what an agent does after it has undone the endpoint, and anybody may do before.
func (f *fault) deleteObject(t *testing.T) {
	t.Helper()
	ep, err := f.Endpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.c.Delete(t.Context(), ep, client.Preconditions{UID: &ep.UID}); err != nil {
		t.Fatal(err)
	}
}

func beforeCall(t *testing.T, f *fault) framework.Result {
	f.strike(t)
	call := f.Begin(t, f.verb)
	f.goOn(t)
	return <-call
}

func afterCall(t *testing.T, f *fault) framework.Result {
	result := f.Call(t, f.verb)
	f.strike(t)
	f.goOn(t)
	return result
}

func objectMade(t *testing.T, f *fault) framework.Result {
	f.Node.Pause(t, framework.Agent)
	call := f.Begin(t, "ADD")
	f.await(t, "the object", f.made)
	f.strike(t)
	f.goOn(t)
	return <-call
}

func deviceUp(t *testing.T, f *fault) framework.Result {
	f.Node.Pause(t, framework.Agent)
	call := f.Begin(t, "ADD")
	f.await(t, "the object", f.made)
	f.freeze(t)
	f.Node.Resume(t, framework.Agent)
	f.await(t, "the device", f.Attached)
	f.strike(t)
	f.goOn(t)
	return <-call
}

func statusWritten(t *testing.T, f *fault) framework.Result {
	f.Node.Pause(t, framework.Agent)
	call := f.Begin(t, "ADD")
	f.await(t, "the object", f.made)
	f.Node.Pause(t, framework.CNI, f.Mark())
	f.Node.Resume(t, framework.Agent)
	f.await(t, "the status", f.Ready)
	f.strike(t)
	f.goOn(t)
	return <-call
}

func tombstoneWritten(t *testing.T, f *fault) framework.Result {
	f.Node.Pause(t, framework.Agent)
	result := f.Call(t, "DEL")
	f.await(t, "the tombstone", f.Buried)
	f.strike(t)
	f.goOn(t)
	return result
}

func deviceGone(t *testing.T, f *fault) framework.Result {
	f.freeze(t)
	result := f.Call(t, "DEL")
	f.await(t, "the end of the device", f.Detached)
	f.strike(t)
	f.goOn(t)
	return result
}

func objectDeleted(t *testing.T, f *fault) framework.Result {
	f.Node.Pause(t, framework.Agent)
	result := f.Call(t, "DEL")
	f.deleteObject(t)
	f.strike(t)
	f.goOn(t)
	return result
}

// TestFailureMatrix: whoever dies at whatever step, the runtime's retry succeeds, a pod of the same name starts on another
// node, and objects, devices and maps agree at the end.
func TestFailureMatrix(t *testing.T) {
	c := framework.Open(t)
	cell := 0
	for _, victim := range []string{framework.CNI, framework.Agent, framework.Operator} {
		for name, s := range steps() {
			if victim == framework.CNI && s.noCNI {
				continue
			}
			cell++
			pod := fmt.Sprintf("matrix-%d", cell)
			t.Run(victim+"/"+s.verb+": "+name, func(t *testing.T) { playFault(t, c, s, victim, pod) })
		}
	}
	c.NoLeaks(t)
}

func playFault(t *testing.T, c *framework.Cluster, s step, victim, name string) {
	node := c.Nodes[0]
	f := &fault{c: c, victim: victim, verb: s.verb}
	pod := held(t, c, name, node)
	f.Sandbox = node.NewSandbox(t, pod)
	t.Cleanup(func() { f.goOn(t) })
	if s.verb == "DEL" {
		mustCall(t, f.Sandbox, "ADD")
	}
	start := time.Now()
	result := s.play(t, f)
	if result.Err != nil && victim != framework.CNI && s.verb == "DEL" {
		t.Errorf("only ADD may fail: %v", result.Err)
	}
	t.Logf("%s ended after %s: %v", s.verb, result.Took.Round(10*time.Millisecond), result.Err)
	if s.verb == "ADD" && result.Err != nil {
		f.retry(t, pod)
	}
	// The runtime ends a sandbox at the latest with its pod, and again if it is in doubt.
	mustCall(t, f.Sandbox, "DEL")
	c.DeletePod(t, pod)
	elsewhere(t, c, name, c.Other(node))
	framework.Eventually(t, 40*time.Second, "the end of everything of the sandbox", func(ctx context.Context) error { return c.Gone(ctx, f.Sandbox) })
	t.Logf("all was as it should be after %s", time.Since(start).Round(100*time.Millisecond))
}

// retry is what the runtime does after a failed ADD: DEL, and ADD for a new sandbox of the same pod.
func (f *fault) retry(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	mustCall(t, f.Sandbox, "DEL")
	first := f.Sandbox
	f.Sandbox = first.Node.NewSandbox(t, pod)
	mustCall(t, f.Sandbox, "ADD")
	framework.Eventually(t, 30*time.Second, "the end of the first sandbox", func(ctx context.Context) error { return f.c.Gone(ctx, first) })
}

// elsewhere starts a pod of the same name on another node, and ends it.
func elsewhere(t *testing.T, c *framework.Cluster, name string, node *framework.Node) {
	t.Helper()
	pod := held(t, c, name, node)
	s := node.NewSandbox(t, pod)
	mustCall(t, s, "ADD")
	mustCall(t, s, "DEL")
	c.DeletePod(t, pod)
}

func held(t *testing.T, c *framework.Cluster, name string, node *framework.Node) *corev1.Pod {
	t.Helper()
	return c.CreatePod(t, framework.Pod{Name: name, Node: node, Held: true, Labels: map[string]string{"app": "matrix"}})
}

func mustCall(t *testing.T, s *framework.Sandbox, verb string) {
	t.Helper()
	if result := s.Call(t, verb); result.Err != nil {
		t.Fatalf("%s on %s: %v", verb, s.Node.Name, result.Err)
	}
}
