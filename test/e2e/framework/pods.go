// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// The images of hack/image.
const (
	AgnhostImage = "ciliate/agnhost:2.63.0"
	PauseImage   = "ciliate/pause:3.10.2"
)

// probeDir is where pods find the programs of the tests and leave their reports.
const probeDir = "/e2e"

// Pod describes a pod of one container.
type Pod struct {
	Name   string
	Node   *Node // nil lets the scheduler choose
	Labels map[string]string
	Image  string   // agnhost if empty
	Args   []string // of the image's own command
	// Probe is the command line of the program probe, which then runs instead.
	Probe []string
	// Held gives the pod a volume that does not exist: the kubelet waits for it and makes no sandbox, so that the test
	// can play the runtime for a pod that is bound to a node and alive.
	Held bool
	// HostPort is where the node has the container's port 8080, 0 for nowhere.
	HostPort int32
	// HostNetwork gives the pod the node's own network.
	HostNetwork bool
	// Grace is how long the pod may take to end; a second if it is 0.
	Grace time.Duration
}

// Object is the pod as the API server gets it.
func (p Pod) Object() *corev1.Pod {
	container := corev1.Container{
		Name: "main", Image: p.Image, ImagePullPolicy: corev1.PullIfNotPresent, Args: p.Args,
		VolumeMounts: []corev1.VolumeMount{},
	}
	if p.Image == "" {
		container.Image = AgnhostImage
	}
	grace := max(1, int64(p.Grace.Seconds()))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: p.Name, Labels: p.Labels},
		Spec:       corev1.PodSpec{TerminationGracePeriodSeconds: &grace, HostNetwork: p.HostNetwork},
	}
	if p.HostPort > 0 {
		container.Ports = []corev1.ContainerPort{{ContainerPort: 8080, HostPort: p.HostPort}}
	}
	if p.Node != nil {
		pod.Spec.NodeName = p.Node.Name
	}
	if p.Probe != nil {
		kind := corev1.HostPathDirectory
		container.Command = append([]string{probeDir + "/probe"}, p.Probe...)
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: "e2e", MountPath: probeDir})
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "e2e", VolumeSource: corev1.VolumeSource{
			HostPath: &corev1.HostPathVolumeSource{Type: &kind},
		}})
	}
	if p.Held {
		reference := corev1.LocalObjectReference{Name: "this-config-map-never-exists"}
		// The kubelet waits for volumes that a container uses.
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: "held", MountPath: "/held"})
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "held", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: reference},
		}})
	}
	pod.Spec.Containers = []corev1.Container{container}
	return pod
}

// CreatePod creates the pod and removes it when the test ends.
func (c *Cluster) CreatePod(t *testing.T, p Pod) *corev1.Pod {
	t.Helper()
	pod := c.object(p)
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatalf("create pod %s: %v", p.Name, err)
	}
	t.Cleanup(func() { c.DeletePod(t, pod) })
	return pod
}

// object is the pod with our folder in its place.
func (c *Cluster) object(p Pod) *corev1.Pod {
	pod := p.Object()
	for i := range pod.Spec.Volumes {
		if host := pod.Spec.Volumes[i].HostPath; host != nil {
			host.Path = c.dir
		}
	}
	return pod
}

// StartPods creates the pods and returns them when all are running with an address, in the same order.
func (c *Cluster) StartPods(t *testing.T, pods ...Pod) []*corev1.Pod {
	t.Helper()
	created := make([]*corev1.Pod, len(pods))
	for i, p := range pods {
		created[i] = c.CreatePod(t, p)
	}
	for i, p := range created {
		created[i] = c.WaitRunning(t, p.Name, 90*time.Second)
	}
	return created
}

// WaitRunning waits until the pod of that name is running with an address.
func (c *Cluster) WaitRunning(t *testing.T, name string, within time.Duration) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	Eventually(t, within, "pod "+name+" to run", func(ctx context.Context) error {
		*pod = corev1.Pod{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: name}, pod); err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == "" || pod.DeletionTimestamp != nil {
			return fmt.Errorf("it is %s%s", pod.Status.Phase, c.complaints(ctx, pod))
		}
		return nil
	})
	return pod
}

// complaints are what events say against a pod.
func (c *Cluster) complaints(ctx context.Context, pod *corev1.Pod) string {
	if pod == nil {
		return ""
	}
	var events corev1.EventList
	if err := c.List(ctx, &events, client.InNamespace(pod.Namespace)); err != nil {
		return ""
	}
	var out strings.Builder
	for _, e := range events.Items {
		if e.InvolvedObject.UID == pod.UID && e.Type == corev1.EventTypeWarning {
			fmt.Fprintf(&out, "; %s: %s", e.Reason, e.Message)
		}
	}
	return out.String()
}

// DeletePod deletes the pod, if it is still there, and waits until it and its endpoint are gone.
func (c *Cluster) DeletePod(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := c.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		t.Errorf("delete pod %s: %v", pod.Name, err)
	}
	c.WaitGone(t, pod, time.Minute)
}

// WaitGone waits until neither the pod nor its endpoint is there.
func (c *Cluster) WaitGone(t *testing.T, pod *corev1.Pod, within time.Duration) time.Duration {
	t.Helper()
	return Eventually(t, within, "the end of pod "+pod.Name, func(ctx context.Context) error {
		var found corev1.Pod
		err := c.Get(ctx, client.ObjectKeyFromObject(pod), &found)
		if err == nil && found.UID == pod.UID {
			return fmt.Errorf("the pod is %s", found.Status.Phase)
		}
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		var ep v1alpha1.CiliumEndpoint
		err = c.Get(ctx, client.ObjectKeyFromObject(pod), &ep)
		if err == nil && ep.Spec.PodUID == string(pod.UID) {
			return fmt.Errorf("its endpoint is there, deleted: %t", ep.DeletionTimestamp != nil)
		}
		return client.IgnoreNotFound(err)
	})
}

// Endpoint returns the endpoint of that name.
func (c *Cluster) Endpoint(t *testing.T, name string) *v1alpha1.CiliumEndpoint {
	t.Helper()
	ep := &v1alpha1.CiliumEndpoint{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: Namespace, Name: name}, ep); err != nil {
		t.Fatal(err)
	}
	return ep
}

// pods lists the pods of a namespace.
func (c *Cluster) pods(ctx context.Context, namespace string, options ...client.ListOption) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := c.List(ctx, &list, append(options, client.InNamespace(namespace))...)
	return list.Items, err
}

// Exec runs a command in a pod, as a person does, and returns what it printed.
func (c *Cluster) Exec(ctx context.Context, pod string, command ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	arguments := []string{"--kubeconfig", c.kubeconfig, "--namespace", Namespace, "exec", pod, "--"}
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "kubectl"), append(arguments, command...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("in %s: %s: %w: %s%s", pod, strings.Join(command, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// report is where the machine sees the report of that name.
func (c *Cluster) report(name string) string { return filepath.Join(c.dir, "reports", name) }

// reportInPod is where its probe writes it.
func (c *Cluster) reportInPod(name string) string { return probeDir + "/reports/" + name }

// PassingPod creates a pod, waits until it runs, deletes it and waits until it is gone. It may run beside other tests'
// steps: it never ends the test itself.
func (c *Cluster) PassingPod(ctx context.Context, p Pod) error {
	pod := p.Object()
	// It is seen to its end even if the caller is told to stop meanwhile.
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), 90*time.Second)
	defer cancel()
	if err := c.Create(whole, pod); err != nil {
		return fmt.Errorf("create it: %w", err)
	}
	key := client.ObjectKeyFromObject(pod)
	running := wait.PollUntilContextCancel(whole, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		var now corev1.Pod
		err := c.Get(ctx, key, &now)
		return err == nil && now.Status.Phase == corev1.PodRunning && now.Status.PodIP != "", nil
	})
	if running != nil {
		running = fmt.Errorf("wait until it runs: %w%s", running, c.complaints(context.WithoutCancel(ctx), pod))
	}
	gone := context.WithoutCancel(ctx)
	gone, cancelGone := context.WithTimeout(gone, 90*time.Second)
	defer cancelGone()
	if err := c.Delete(gone, pod); err != nil {
		return errors.Join(running, fmt.Errorf("delete it: %w", err))
	}
	err := wait.PollUntilContextCancel(gone, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		podErr := c.Get(ctx, key, &corev1.Pod{})
		endpointErr := c.Get(ctx, key, &v1alpha1.CiliumEndpoint{})
		return apierrors.IsNotFound(podErr) && apierrors.IsNotFound(endpointErr), nil
	})
	if err != nil {
		err = fmt.Errorf("wait until it is gone: %w", err)
	}
	return errors.Join(running, err)
}

// EventsSince returns the events of our namespace with that reason.
func (c *Cluster) EventsSince(t *testing.T, since time.Time, reason string) []corev1.Event {
	t.Helper()
	var events corev1.EventList
	if err := c.List(t.Context(), &events, client.InNamespace(Namespace)); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(events.Items, func(e corev1.Event) bool {
		// Times of events are whole seconds.
		return e.Reason != reason || e.CreationTimestamp.Time.Before(since.Truncate(time.Second))
	})
}
