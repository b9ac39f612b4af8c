// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/datapath"
)

// Sandbox is a network namespace on a node for which the test calls the node's CNI plugin, as the runtime does for those
// of its own. Its pod should be a held one.
type Sandbox struct {
	Node        *Node
	Pod         *corev1.Pod
	ContainerID string
	netns       string
}

// Result is how an execution of the plugin ended.
type Result struct {
	// Err is nil on success; Code is the CNI error code, 0 when the plugin said nothing.
	Err  error
	Code int
	// Addrs are the addresses that the plugin's result names.
	Addrs []netip.Addr
	Took  time.Duration
}

// NewSandbox makes the namespace and removes it when the test ends.
func (n *Node) NewSandbox(t *testing.T, pod *corev1.Pod) *Sandbox {
	t.Helper()
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		t.Fatal(err)
	}
	s := &Sandbox{Node: n, Pod: pod, ContainerID: "e2e" + hex.EncodeToString(id)}
	s.netns = "e2e-" + s.ContainerID[3:15]
	n.MustRun(t, "ip", "netns", "add", s.netns)
	t.Cleanup(func() { s.RemoveNetns(t) })
	return s
}

// RemoveNetns removes the namespace, if it is still there (a boot clears them all).
func (s *Sandbox) RemoveNetns(t *testing.T) {
	t.Helper()
	path, err := s.Node.Path("/run/netns/" + s.netns)
	if err != nil {
		t.Error(err)
		return
	}
	if _, err := os.Stat(path); err == nil {
		s.Node.MustRun(t, "ip", "netns", "del", s.netns)
	}
}

// Call executes the plugin as the runtime would, and returns when it ended.
func (s *Sandbox) Call(t *testing.T, verb string) Result {
	t.Helper()
	return <-s.Begin(t, verb)
}

// Begin executes the plugin and returns at once; the result comes when it ended.
func (s *Sandbox) Begin(t *testing.T, verb string) <-chan Result {
	t.Helper()
	stdin, err := s.netconf()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan Result, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		done <- s.execute(ctx, verb, stdin)
	}()
	return done
}

func (s *Sandbox) execute(ctx context.Context, verb string, stdin []byte) Result {
	var stdout, stderr bytes.Buffer
	cmd := s.Node.Command(ctx, append(append([]string{"env"}, s.environment(verb)...), "/opt/cni/bin/"+CNI)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	result := Result{Took: time.Since(start)}
	if err != nil {
		var said struct {
			Code int
			Msg  string
		}
		_ = json.Unmarshal(stdout.Bytes(), &said) // a killed plugin says nothing
		result.Code = said.Code
		result.Err = fmt.Errorf("%s: %w: %s%s", verb, err, stdout.String(), stderr.String())
		return result
	}
	result.Addrs, result.Err = addresses(verb, stdout.Bytes())
	return result
}

func addresses(verb string, stdout []byte) ([]netip.Addr, error) {
	if verb != "ADD" {
		return nil, nil
	}
	var said struct {
		IPs []struct{ Address netip.Prefix }
	}
	if err := json.Unmarshal(stdout, &said); err != nil {
		return nil, fmt.Errorf("parse the result of ADD: %w: %s", err, stdout)
	}
	var addrs []netip.Addr
	for _, ip := range said.IPs {
		addrs = append(addrs, ip.Address.Addr())
	}
	return addrs, nil
}

func (s *Sandbox) environment(verb string) []string {
	return []string{
		"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + s.ContainerID, "CNI_NETNS=/var/run/netns/" + s.netns, "CNI_IFNAME=eth0",
		"CNI_PATH=/opt/cni/bin",
		fmt.Sprintf("CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;K8S_POD_UID=%s;K8S_POD_INFRA_CONTAINER_ID=%s",
			s.Pod.Namespace, s.Pod.Name, s.Pod.UID, s.ContainerID),
	}
}

// Mark is the environment by which the running plugin of this sandbox is found.
func (s *Sandbox) Mark() string { return "CNI_CONTAINERID=" + s.ContainerID }

// netconf is the plugin's part of the file that the agent wrote, as a runtime passes it on.
func (s *Sandbox) netconf() ([]byte, error) {
	path, err := s.Node.Path("/etc/cni/net.d/05-cilium.conflist")
	if err != nil {
		return nil, err
	}
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the CNI configuration: %w", err)
	}
	var list struct {
		CNIVersion, Name string
		Plugins          []map[string]any
	}
	if err := json.Unmarshal(file, &list); err != nil {
		return nil, fmt.Errorf("parse the CNI configuration: %w", err)
	}
	if len(list.Plugins) == 0 {
		return nil, errors.New("the CNI configuration names no plugin")
	}
	list.Plugins[0]["cniVersion"], list.Plugins[0]["name"] = list.CNIVersion, list.Name
	return json.Marshal(list.Plugins[0])
}

// HostDevice is the name of the sandbox's device on its node.
func (s *Sandbox) HostDevice() string { return datapath.HostIfName(s.ContainerID, "eth0") }

// Endpoint is the sandbox's object; an error if there is none, or another sandbox's.
func (s *Sandbox) Endpoint(ctx context.Context) (*v1alpha1.CiliumEndpoint, error) {
	ep := &v1alpha1.CiliumEndpoint{}
	if err := s.Node.cluster.Get(ctx, client.ObjectKeyFromObject(s.Pod), ep); err != nil {
		return nil, err
	}
	if ep.Spec.ContainerID != s.ContainerID {
		return nil, fmt.Errorf("the endpoint is of container %s", ep.Spec.ContainerID)
	}
	return ep, nil
}

// Ready is nil when the sandbox's endpoint is ready and not being deleted.
func (s *Sandbox) Ready(ctx context.Context) error {
	ep, err := s.Endpoint(ctx)
	if err != nil {
		return err
	}
	for _, condition := range ep.Status.Conditions {
		if condition.Type == v1alpha1.ConditionReady && condition.Status == metav1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("it is not ready: %+v", ep.Status.Conditions)
}

// Attached is nil when the kernel has the sandbox's device, up, with its entry.
func (s *Sandbox) Attached(context.Context) error {
	kernel, err := s.Node.Kernel()
	if err != nil {
		return err
	}
	device, found := kernel.Devices[s.HostDevice()]
	if !found || !device.Up || !kernel.Interfaces[device.Index] {
		return fmt.Errorf("%s: found %t: %+v, entry %t", s.HostDevice(), found, device, kernel.Interfaces[device.Index])
	}
	return nil
}

// Detached is nil when the kernel has no device of the sandbox, or one that is down without an entry.
func (s *Sandbox) Detached(context.Context) error {
	kernel, err := s.Node.Kernel()
	if err != nil {
		return err
	}
	if device, found := kernel.Devices[s.HostDevice()]; found && (device.Up || kernel.Interfaces[device.Index]) {
		return fmt.Errorf("%s is still attached: %+v", s.HostDevice(), device)
	}
	return nil
}

// Buried is nil when the plugin has written the sandbox's tombstone.
func (s *Sandbox) Buried(context.Context) error {
	path, err := s.Node.Path(filepath.Join("/run/cilium/deletes", s.ContainerID+"-eth0"))
	if err != nil {
		return err
	}
	_, err = os.Stat(path)
	return err
}

// Run runs a command in the sandbox's network.
func (s *Sandbox) Run(ctx context.Context, command ...string) (string, error) {
	return s.Node.Run(ctx, append(s.enter(), command...)...)
}

// Command prepares a command in the sandbox's network.
func (s *Sandbox) Command(ctx context.Context, command ...string) *exec.Cmd {
	return s.Node.Command(ctx, append(s.enter(), command...)...)
}

func (s *Sandbox) enter() []string { return []string{"nsenter", "--net=/run/netns/" + s.netns} }

// Gone is nil when the sandbox's endpoint is gone from the API server and from the kernel.
func (c *Cluster) Gone(ctx context.Context, s *Sandbox) error {
	ep, err := s.Endpoint(ctx)
	if err == nil {
		return fmt.Errorf("endpoint %s is there, deleted: %t", ep.Name, ep.DeletionTimestamp != nil)
	}
	kernel, err := s.Node.Kernel()
	if err != nil {
		return err
	}
	if device, found := kernel.Devices[s.HostDevice()]; found {
		return fmt.Errorf("device %s is there: %+v", s.HostDevice(), device)
	}
	return nil
}

// ReplacedBy is nil when the pod of an earlier endpoint runs in another sandbox.
func (c *Cluster) ReplacedBy(ctx context.Context, earlier *v1alpha1.CiliumEndpoint) error {
	key := client.ObjectKeyFromObject(earlier)
	var now v1alpha1.CiliumEndpoint
	if err := c.Get(ctx, key, &now); err != nil {
		return err
	}
	if now.Spec.ContainerID == earlier.Spec.ContainerID || len(now.Status.Addresses) == 0 {
		return fmt.Errorf("its endpoint is of container %s", now.Spec.ContainerID)
	}
	var pod corev1.Pod
	if err := c.Get(ctx, key, &pod); err != nil {
		return err
	}
	if pod.Status.PodIP != now.Status.Addresses[0].IP {
		return fmt.Errorf("the pod has %q, its endpoint %s", pod.Status.PodIP, now.Status.Addresses[0].IP)
	}
	return nil
}

// KillSandbox kills the process that keeps the sandbox of an endpoint alive, as a fault of the runtime might.
func (n *Node) KillSandbox(t *testing.T, ep *v1alpha1.CiliumEndpoint) {
	t.Helper()
	path, err := n.Path("/run/netns/" + filepath.Base(ep.Spec.Netns))
	if err != nil {
		t.Fatal(err)
	}
	pids, err := processes(path, "pause")
	if err != nil || len(pids) == 0 {
		t.Fatalf("find the sandbox of %s: %v", ep.Name, err)
	}
	// The image of the pod may be pause too: all of them die.
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatalf("kill the sandbox of %s: %v", ep.Name, err)
		}
	}
}
