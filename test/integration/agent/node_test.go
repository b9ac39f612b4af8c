// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/config"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/kernel"
	"github.com/ciliate-io/ciliate/internal/identity"
	"github.com/ciliate-io/ciliate/test/build"
)

const identityWeb, identityDB = "1001", "1002"

func filterInForce() identity.Filter {
	return identity.Filter{ClusterName: "default", Exclude: identity.Volatile()}
}

// populate makes what every test needs: the configuration as the operator publishes it, and an identity.
func (c *cluster) populate(ctx context.Context) error {
	cluster := build.Config(24, "10.0.0.0/16")
	cluster.UID = ""
	if err := c.client.Create(ctx, cluster); err != nil {
		return err
	}
	filter := filterInForce()
	cluster.Status.IdentityFilter = &v1alpha1.IdentityFilter{Version: 1, ClusterName: filter.ClusterName, Exclude: filter.Exclude}
	if err := c.client.Status().Update(ctx, cluster); err != nil {
		return err
	}
	return c.createIdentity(ctx, identityWeb, "web")
}

// createIdentity makes the identity of pods of the default namespace with a label app.
func (c *cluster) createIdentity(ctx context.Context, number, app string) error {
	ns := &corev1.Namespace{}
	if err := c.client.Get(ctx, types.NamespacedName{Name: "default"}, ns); err != nil {
		return err
	}
	labels := filterInForce().Labels(identity.Pod{Namespace: "default", ServiceAccount: "default", Labels: map[string]string{"app": app}}, ns.Labels)
	id := &v1alpha1.CiliumIdentity{ObjectMeta: metav1.ObjectMeta{Name: number}, Spec: v1alpha1.CiliumIdentitySpec{Labels: map[string]v1alpha1.LabelValue{}}}
	for k, v := range labels {
		id.Spec.Labels[k] = v1alpha1.LabelValue(v)
	}
	return c.client.Create(ctx, id)
}

// node is the node of one test: there is one at a time.
type node struct {
	t        *testing.T
	name     string
	settings config.Agent
	log      string
	// began is where the API server's book ended when the test began.
	began  int64
	object *v1alpha1.CiliumNode
}

// newNode makes a node of which the operator knows nothing yet.
func newNode(t *testing.T) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{
		t: t, name: "node-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-", ",", "", "'", "").Replace(t.Name())),
		settings: agentSettings(dir), log: filepath.Join(dir, "agent.log"), began: bookmark(t),
	}
	if err := errors.Join(os.Mkdir(n.settings.CNIConfDir, 0o755), os.WriteFile(n.settings.TokenFile, []byte("token"), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.clean)
	return n
}

// known makes the operator know the node, with a pool.
func (n *node) known() *node {
	n.t.Helper()
	n.object = n.ciliumNode(n.name, []string{nodeAddr4, nodeAddr6}, "10.0.1.0/24", "fd00:1::/112")
	return n
}

func (n *node) ciliumNode(name string, addrs []string, cidrs ...string) *v1alpha1.CiliumNode {
	n.t.Helper()
	object := build.CiliumNode(name, cidrs...)
	object.UID = ""
	for _, addr := range addrs {
		object.Spec.Addresses = append(object.Spec.Addresses, v1alpha1.NodeAddress{Type: "InternalIP", IP: addr})
	}
	if err := theCluster.client.Create(n.t.Context(), object); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = theCluster.client.Delete(context.Background(), object) })
	return object
}

// clean runs after the agent has ended: it takes away what is left in the API and in the kernel.
func (n *node) clean() {
	ctx := context.Background()
	if n.t.Failed() {
		log, _ := os.ReadFile(n.log)
		n.t.Logf("the agent's log:\n%s", log)
	}
	list := &v1alpha1.CiliumEndpointList{}
	if err := theCluster.client.List(ctx, list); err != nil {
		n.t.Errorf("list the endpoints that are left: %v", err)
	}
	for i := range list.Items {
		cep := &list.Items[i]
		cep.Finalizers = nil
		_ = theCluster.client.Update(ctx, cep)
		_ = theCluster.client.Delete(ctx, cep)
	}
	if err := theCluster.client.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace("default"), client.GracePeriodSeconds(0)); err != nil {
		n.t.Errorf("delete the pods that are left: %v", err)
	}
	d, err := kernel.Open(ctx, dp.Config{TunnelPort: 8472, BPFFS: n.settings.BPFFS, ProcSysNet: n.settings.ProcSysNet})
	if err != nil {
		n.t.Errorf("open the datapath: %v", err)
		return
	}
	if err := d.Undo(ctx); err != nil {
		n.t.Errorf("remove the datapath: %v", err)
	}
}

// kernel is what the kernel has, seen past the agent.
func (n *node) kernel() *kernel.Datapath {
	n.t.Helper()
	d, err := kernel.Open(n.t.Context(), dp.Config{TunnelPort: 8472, BPFFS: n.settings.BPFFS, ProcSysNet: n.settings.ProcSysNet})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = d.Close() })
	return d
}

// pod is a pod of a test, with its sandbox.
type pod struct {
	node    *node
	name    string
	pod     *corev1.Pod
	cep     *v1alpha1.CiliumEndpoint
	netns   string
	sandbox netns.NsHandle
}

func (p *pod) key() types.NamespacedName {
	return types.NamespacedName{Namespace: "default", Name: p.name}
}

// pod makes a pod that is bound to the node, and its sandbox.
func (n *node) pod(name string) *pod {
	n.t.Helper()
	p := &pod{node: n, name: name, pod: build.Pod("default/"+name).OnNode(n.name).Label("app", "web").Obj()}
	p.pod.UID = ""
	if err := theCluster.client.Create(n.t.Context(), p.pod); err != nil {
		n.t.Fatal(err)
	}
	p.newSandbox(name + "-1")
	return p
}

// newSandbox makes a network namespace, as the runtime does.
func (p *pod) newSandbox(name string) {
	t := p.node.t
	t.Helper()
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread, which is in the new namespace, ends with the goroutine
		var err error
		p.sandbox, err = netns.NewNamed(name)
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatalf("make the network namespace %s: %v", name, err)
	}
	p.netns = name
	sandbox := p.sandbox
	t.Cleanup(func() {
		if sandbox.IsOpen() {
			_ = sandbox.Close()
		}
		_ = netns.DeleteNamed(name)
	})
}

// closeSandbox removes the network namespace.
func (p *pod) closeSandbox() {
	_ = p.sandbox.Close()
	_ = netns.DeleteNamed(p.netns)
}

// add creates the endpoint, as the plugin does at an ADD: a tombstone of the same sandbox goes first.
func (p *pod) add() *pod {
	t := p.node.t
	t.Helper()
	if p.cep != nil {
		_ = os.Remove(filepath.Join(p.node.settings.RunDir, "deletes", p.cep.Spec.ContainerID+"-eth0"))
	}
	p.cep = build.Endpoint("default/" + p.name).OnNode(p.node.name).PodUID(string(p.pod.UID)).Obj()
	p.cep.UID = ""
	p.cep.Spec.ContainerID, p.cep.Spec.Netns = "container-"+p.netns, "/run/netns/"+p.netns
	if err := theCluster.client.Create(t.Context(), p.cep); err != nil {
		t.Fatal(err)
	}
	return p
}

// del leaves the tombstone, as the plugin does at a DEL.
func (p *pod) del() {
	t := p.node.t
	t.Helper()
	dir := filepath.Join(p.node.settings.RunDir, "deletes")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	content := fmt.Sprintf(`{"containerID":%q,"ifName":"eth0","namespace":"default","name":%q}`, p.cep.Spec.ContainerID, p.name)
	temp := filepath.Join(dir, ".new-"+p.name)
	if err := errors.Join(os.WriteFile(temp, []byte(content), 0o600),
		os.Rename(temp, filepath.Join(dir, p.cep.Spec.ContainerID+"-eth0"))); err != nil {
		t.Fatal(err)
	}
}

func (p *pod) deleteEndpoint() {
	p.node.t.Helper()
	if err := client.IgnoreNotFound(theCluster.client.Delete(p.node.t.Context(), p.cep, client.Preconditions{UID: &p.cep.UID})); err != nil {
		p.node.t.Fatal(err)
	}
}

// get is the endpoint now; nil when it is gone.
func (p *pod) get() *v1alpha1.CiliumEndpoint {
	t := p.node.t
	t.Helper()
	cep := &v1alpha1.CiliumEndpoint{}
	err := theCluster.client.Get(t.Context(), p.key(), cep)
	if client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return cep
}

// ready is "Status/Reason" of the endpoint's condition Ready, "gone" without an endpoint.
func (p *pod) ready() string {
	cep := p.get()
	if cep == nil {
		return "gone"
	}
	if c := meta.FindStatusCondition(cep.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return string(c.Status) + "/" + c.Reason
	}
	return ""
}

// await waits until the endpoint's Ready is what is wanted, and returns how long that took.
func (p *pod) await(want string) time.Duration {
	p.node.t.Helper()
	begin := time.Now()
	eventually(p.node.t, func() error {
		if got := p.ready(); got != want {
			return fmt.Errorf("Ready of %s is %q, want %q", p.name, got, want)
		}
		return nil
	})
	return time.Since(begin).Round(time.Millisecond)
}

// device is the pod's device on the node; nil when there is none.
func (p *pod) device() netlink.Link {
	t := p.node.t
	t.Helper()
	device, err := netlink.LinkByName(dp.HostIfName(p.cep.Spec.ContainerID, "eth0"))
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return device
}

// gone waits until nothing of the endpoint is left in the API and the kernel.
func (p *pod) gone() {
	t := p.node.t
	t.Helper()
	p.await("gone")
	eventually(t, func() error {
		if p.device() != nil {
			return fmt.Errorf("%s still has its device", p.name)
		}
		return nil
	})
}

// eventually tries until there is no error.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// nothingLeft checks that the kernel has no endpoint and no row of one.
func (n *node) nothingLeft() {
	n.t.Helper()
	d := n.kernel()
	eventually(n.t, func() error {
		left, err := d.Endpoints(n.t.Context())
		if err != nil || len(left) > 0 {
			return fmt.Errorf("the kernel still has endpoints %v, %w", left, err)
		}
		routes, err := d.Routes()
		if err != nil {
			return err
		}
		for _, r := range routes {
			if r.Identity >= dp.Identity(identity.MinAllocated) {
				return fmt.Errorf("the kernel still has the row %v", r)
			}
		}
		return nil
	})
}
