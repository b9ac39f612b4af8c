// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// Cordon keeps new pods off the node, until Uncordon or the test's end.
func (n *Node) Cordon(t *testing.T) {
	t.Helper()
	t.Cleanup(func() { n.Uncordon(t) })
	n.unschedulable(t, true)
}

// Uncordon takes Cordon back.
func (n *Node) Uncordon(t *testing.T) {
	t.Helper()
	n.unschedulable(t, false)
}

func (n *Node) unschedulable(t *testing.T, value bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, value)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name}}
	if err := n.cluster.Patch(ctx, node, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		t.Errorf("cordon %s: %v", n.Name, err)
	}
}

// StartStatefulSet starts a StatefulSet of one pod, which answers over HTTP, and returns the pod when it runs.
func (c *Cluster) StartStatefulSet(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	labels := map[string]string{"app": name}
	template := Pod{Labels: labels, Args: []string{"netexec", "--http-port=8080"}}.Object()
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name},
		Spec: appsv1.StatefulSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: template.Spec},
		},
	}
	if err := c.Create(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		defer cancel()
		background := metav1.DeletePropagationBackground
		if err := client.IgnoreNotFound(c.Delete(ctx, set, &client.DeleteOptions{PropagationPolicy: &background})); err != nil {
			t.Errorf("delete StatefulSet %s: %v", name, err)
		}
		Eventually(t, time.Minute, "the end of the pod of "+name, func(ctx context.Context) error {
			err := c.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: name + "-0"}, &corev1.Pod{})
			if err == nil {
				return fmt.Errorf("%s-0 is there", name)
			}
			return client.IgnoreNotFound(err)
		})
	})
	return c.WaitRunning(t, name+"-0", time.Minute)
}

// ForceDelete removes the pod from the API server without asking its node.
func (c *Cluster) ForceDelete(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	if err := c.Delete(t.Context(), pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &pod.UID}); err != nil {
		t.Fatal(err)
	}
}

// WaitReplaced waits until another pod of the same name runs.
func (c *Cluster) WaitReplaced(t *testing.T, pod *corev1.Pod, within time.Duration) *corev1.Pod {
	t.Helper()
	now := &corev1.Pod{}
	Eventually(t, within, "another "+pod.Name, func(ctx context.Context) error {
		*now = corev1.Pod{}
		if err := c.Get(ctx, client.ObjectKeyFromObject(pod), now); err != nil {
			return err
		}
		if now.UID == pod.UID || now.Status.Phase != corev1.PodRunning || now.Status.PodIP == "" {
			return fmt.Errorf("it is %s on %q%s", now.Status.Phase, now.Spec.NodeName, c.complaints(ctx, now))
		}
		return nil
	})
	return now
}

// WaitEndpoint waits until the pod's endpoint is there.
func (c *Cluster) WaitEndpoint(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	Eventually(t, 30*time.Second, "the endpoint of "+pod.Name, func(ctx context.Context) error {
		return c.Get(ctx, client.ObjectKeyFromObject(pod), &v1alpha1.CiliumEndpoint{})
	})
}

// WaitBuried waits until the runtime has told the node to end the endpoint's sandbox.
func (n *Node) WaitBuried(t *testing.T, ep *v1alpha1.CiliumEndpoint) {
	t.Helper()
	Eventually(t, 30*time.Second, "the tombstone of "+ep.Name, func(context.Context) error {
		stones, err := n.Tombstones()
		if err == nil && !slices.Contains(stones, ep.Spec.ContainerID+"-"+ep.Spec.IfName) {
			return fmt.Errorf("there are %v", stones)
		}
		return err
	})
}

// RunsReady is a try that succeeds when the pod runs with the address of its ready endpoint. (After a boot the API server
// goes on to show what was.)
func (c *Cluster) RunsReady(pod *corev1.Pod) func(context.Context) error {
	return func(ctx context.Context) error {
		var now corev1.Pod
		if err := c.Get(ctx, client.ObjectKeyFromObject(pod), &now); err != nil {
			return err
		}
		var ep v1alpha1.CiliumEndpoint
		if err := c.Get(ctx, client.ObjectKeyFromObject(pod), &ep); err != nil {
			return err
		}
		if now.Status.Phase != corev1.PodRunning || len(ep.Status.Addresses) == 0 || now.Status.PodIP != ep.Status.Addresses[0].IP {
			return fmt.Errorf("it is %s with %q, its endpoint has %v%s", now.Status.Phase, now.Status.PodIP, ep.Status.Addresses, c.complaints(ctx, &now))
		}
		kernel, err := c.nodeOf(&now).Kernel()
		if err != nil {
			return err
		}
		if _, found := kernel.Devices[ep.Status.Interface.HostName]; !found {
			return fmt.Errorf("its device %s is not there", ep.Status.Interface.HostName)
		}
		return nil
	}
}

func (c *Cluster) nodeOf(pod *corev1.Pod) *Node {
	for _, n := range c.Nodes {
		if n.Name == pod.Spec.NodeName {
			return n
		}
	}
	return &Node{Name: pod.Spec.NodeName, cluster: c}
}

// Answers is a try that succeeds when the pod answers a node over HTTP.
func (c *Cluster) Answers(from *Node, pod *corev1.Pod) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := from.Run(ctx, "curl", "-sSf", "--max-time", "3", "http://"+net.JoinHostPort(pod.Status.PodIP, "8080")+"/hostname")
		return err
	}
}
