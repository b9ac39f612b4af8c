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

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/e2e/framework"
)

// TestStaticPod: a pod that the kubelet runs from a file. Its endpoint is bound to the sandbox, not to the mirror in the
// API: who deletes that cuts nothing off. It ends with the file.
func TestStaticPod(t *testing.T) {
	c := framework.Open(t)
	node := c.Nodes[0]
	static, mirror := c.StartStatic(t, framework.ServerPod("static", node))
	before := c.Endpoint(t, static.Name)
	if uid := mirror.Annotations[corev1.MirrorPodAnnotationKey]; before.Spec.PodUID != uid || before.Spec.PodUID == string(mirror.UID) {
		t.Errorf("the endpoint is of pod %s, want the static pod's UID %s", before.Spec.PodUID, uid)
	}
	wantMirror(t, c, before, mirror)
	watch := c.StartWatch(t, "watch-static", c.Other(node), mirror)
	// As kubectl delete does it.
	if err := c.Delete(t.Context(), mirror, client.Preconditions{UID: &mirror.UID}); err != nil {
		t.Fatal(err)
	}
	again := c.WaitReplaced(t, mirror, time.Minute)
	wantMirror(t, c, before, again)
	watch.NothingLost(t)
	static.Remove(t)
	gone := c.WaitGone(t, &corev1.Pod{ObjectMeta: again.ObjectMeta}, time.Minute)
	endpointGone(t, c, before)
	t.Logf("the mirror was gone %s after the manifest", gone.Round(100*time.Millisecond))
	c.NoLeaks(t)
}

// wantMirror waits until the endpoint, still the same, names the mirror.
func wantMirror(t *testing.T, c *framework.Cluster, ep *v1alpha1.CiliumEndpoint, mirror *corev1.Pod) {
	t.Helper()
	framework.Eventually(t, 10*time.Second, "the mirror in the endpoint's status", func(ctx context.Context) error {
		now := &v1alpha1.CiliumEndpoint{}
		if err := c.Get(ctx, client.ObjectKeyFromObject(ep), now); err != nil {
			return err
		}
		if now.UID != ep.UID || now.DeletionTimestamp != nil {
			t.Fatalf("the endpoint was deleted with the mirror of its pod")
		}
		if now.Status.MirrorPodUID != string(mirror.UID) {
			return fmt.Errorf("mirrorPodUID is %q, the mirror's UID %q", now.Status.MirrorPodUID, mirror.UID)
		}
		return nil
	})
}

func endpointGone(t *testing.T, c *framework.Cluster, ep *v1alpha1.CiliumEndpoint) {
	t.Helper()
	framework.Eventually(t, 30*time.Second, "the end of the endpoint", func(ctx context.Context) error {
		err := c.Get(ctx, client.ObjectKeyFromObject(ep), &v1alpha1.CiliumEndpoint{})
		if err == nil {
			return fmt.Errorf("%s is there", ep.Name)
		}
		return client.IgnoreNotFound(err)
	})
}
