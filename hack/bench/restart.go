// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// kept is how many endpoints a restarted agent takes over, restarts how often that is done.
	kept, restarts = 50, 5

	aimRestart = 1500 * time.Millisecond
)

// measureRestart replaces an agent's pod and, for the cold start, reboots a node.
func measureRestart(ctx context.Context, c *cluster, s *section) error {
	var warm []time.Duration
	var cold time.Duration
	err := c.within(ctx, func() (err error) {
		if warm, err = c.warm(ctx); err != nil {
			return err
		}
		cold, err = c.cold(ctx)
		return err
	})
	if err != nil {
		return err
	}
	worst := quantile(warm, 1)
	s.table(
		[]string{"start", "n", "first ADD served, median", "worst", "aim", "", "Cilium"},
		[]string{fmt.Sprintf("warm: the agent's pod is replaced on a node with %d endpoints", kept), fmt.Sprint(len(warm)),
			ms(median(warm)), ms(worst), "≤ 1500 ms", verdict(worst <= aimRestart), "12 000 ms with 54 endpoints"},
		[]string{"cold: after the node's reboot, nothing in the kernel", "1", ms(cold), "", "", "", "8 900 ms"},
	)
	s.say("From the start of the process `cilium-agent` to the end of the first executed ADD, which is there from that start on. Load")
	s.say("average of the machine: %s.", loadAverage())
	return nil
}

// warm restarts an agent several times and returns when it served.
func (c *cluster) warm(ctx context.Context) ([]time.Duration, error) {
	pods, err := c.hold(ctx, here, "kept", kept)
	if err != nil {
		return nil, err
	}
	if _, err := c.cni(ctx, "ADD", pods, false); err != nil {
		return nil, err
	}
	var all []time.Duration
	for i := range restarts {
		took, err := c.restart(ctx, fmt.Sprint("warm-", i))
		if err != nil {
			return nil, err
		}
		all = append(all, took)
	}
	_, err = c.cni(ctx, "DEL", pods, true)
	return all, errors.Join(err, c.unbind(ctx, pods))
}

// hold is bind for Pods whose kubelet is there but waits for a volume, and makes no sandbox before that.
func (c *cluster) hold(ctx context.Context, node, app string, n int) ([]*corev1.Pod, error) {
	pods := make([]*corev1.Pod, n)
	for i := range pods {
		pods[i] = newPod(fmt.Sprintf("%s-%d", app, i), app, node)
		pods[i].Spec.Volumes = []corev1.Volume{{Name: "never", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "does-not-exist"}},
		}}}
		if err := c.client.Create(ctx, pods[i]); err != nil {
			return nil, fmt.Errorf("create pod %s: %w", pods[i].Name, err)
		}
	}
	return pods, c.awaitIdentity(ctx, app)
}

// restart replaces the agent's pod and returns when the new one had served an ADD.
func (c *cluster) restart(ctx context.Context, app string) (time.Duration, error) {
	pods, err := c.hold(ctx, here, app, 1)
	if err != nil {
		return 0, err
	}
	before, err := c.find(ctx, here, "cilium-agent")
	if err != nil || len(before) != 1 {
		return 0, errors.Join(fmt.Errorf("%d agents run on %s", len(before), here), err)
	}
	agents := &corev1.PodList{}
	if err := c.client.List(ctx, agents, client.InNamespace("kube-system"), client.MatchingLabels{"k8s-app": "cilium"}); err != nil {
		return 0, err
	}
	for i := range agents.Items {
		if agents.Items[i].Spec.NodeName == here {
			if err := c.client.Delete(ctx, &agents.Items[i]); err != nil {
				return 0, fmt.Errorf("delete the agent's pod: %w", err)
			}
		}
	}
	took, err := c.first(ctx, here, before[0].pid, pods[0])
	if err != nil {
		return 0, err
	}
	_, err = c.cni(ctx, "DEL", pods, false)
	return took, errors.Join(err, c.unbind(ctx, pods))
}

// first waits for an agent that is not the old one, executes an ADD, and returns when that had succeeded after the agent's
// start.
func (c *cluster) first(ctx context.Context, node string, old int, pod *corev1.Pod) (time.Duration, error) {
	var agent process
	err := until(ctx, "a new agent on "+node, func() (bool, error) {
		now, err := c.find(ctx, node, "cilium-agent")
		if err != nil || len(now) != 1 || now[0].pid == old {
			return false, err
		}
		agent = now[0]
		return true, nil
	})
	if err != nil {
		return 0, err
	}
	var d deed
	err = c.inside(ctx, node, "in-node-first", sandbox{Namespace: pod.Namespace, Pod: pod.Name, UID: string(pod.UID)}, &d)
	return d.End.Sub(agent.started), err
}

// cold reboots the other node.
func (c *cluster) cold(ctx context.Context) (time.Duration, error) {
	pods, err := c.hold(ctx, there, "cold", 1)
	if err != nil {
		return 0, err
	}
	for _, script := range []string{"node-stop.sh", "node-start.sh"} {
		if _, err := c.script(ctx, nil, script, there); err != nil {
			return 0, err
		}
	}
	took, err := c.first(ctx, there, 0, pods[0])
	return took, errors.Join(err, c.unbind(ctx, pods))
}
