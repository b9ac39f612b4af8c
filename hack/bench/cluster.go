// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// The nodes that are measured.
const (
	here, there = "node1", "node2"
)

// cluster is the cluster of hack/cluster with Ciliate on it.
type cluster struct {
	repo   string
	images string
	client client.WithWatch
	// inNodes is the kubeconfig for who runs in a node.
	inNodes string
}

// newCluster reads BENCH_REPO, BENCH_IMAGES and KUBECONFIG, as bench.sh sets them.
func newCluster(getenv func(string) string) (*cluster, error) {
	c := &cluster{repo: getenv("BENCH_REPO"), images: getenv("BENCH_IMAGES")}
	if c.repo == "" || c.images == "" || getenv("KUBECONFIG") == "" {
		return nil, errors.New("BENCH_REPO, BENCH_IMAGES or KUBECONFIG is not set: call hack/bench/bench.sh")
	}
	c.inNodes = filepath.Join(filepath.Dir(getenv("KUBECONFIG")), "kubeconfigs/admin")
	var err error
	c.client, err = newClient(getenv("KUBECONFIG"))
	return c, err
}

func newClient(kubeconfig string) (client.WithWatch, error) {
	rc, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	rc.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), discoveryv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	made, err := client.NewWithWatch(rc, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return made, nil
}

// script runs one of hack/cluster.
func (c *cluster) script(ctx context.Context, stdin []byte, name string, args ...string) ([]byte, error) {
	return c.scriptWith(ctx, nil, stdin, name, args...)
}

// scriptWith is script with settings.
func (c *cluster) scriptWith(ctx context.Context, settings []string, stdin []byte, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.repo, "hack/cluster", name), args...)
	cmd.Env = append(os.Environ(), settings...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

// kubelet starts or stops a node's kubelet. Without it, Pods that are bound to the node stay objects, and the CNI plugin can
// be executed for them by somebody else.
func (c *cluster) kubelet(ctx context.Context, action string) error {
	_, err := c.script(ctx, nil, "daemon.sh", action, "kubelet", here)
	return err
}

// inNode runs a command as a process of the node, which ends there when ctx does: a signal to the script would not reach it.
func (c *cluster) inNode(ctx context.Context, node string, stdin []byte, command ...string) ([]byte, error) {
	if deadline, ok := ctx.Deadline(); ok {
		command = append([]string{"timeout", strconv.Itoa(1 + int(time.Until(deadline).Seconds()))}, command...)
	}
	return c.script(ctx, stdin, "exec.sh", append([]string{node}, command...)...)
}

// inside runs a helper of this program as a process of the node: in is told to it, what it says goes into out.
func (c *cluster) inside(ctx context.Context, node, helper string, in, out any) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	data, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answer, err := c.inNode(ctx, node, data, self, helper)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("understand %s on %s: %w", helper, node, err)
	}
	return nil
}

// until asks again and again until done says so.
func until(ctx context.Context, what string, done func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waited in vain for %s", what), err, ctx.Err())
		case <-tick.C:
		}
	}
}
