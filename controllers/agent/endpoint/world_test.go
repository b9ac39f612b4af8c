// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubeac "k8s.io/client-go/applyconfigurations"
	kubescheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ciliate-io/ciliate/api/applyconfiguration"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/fake"
	"github.com/ciliate-io/ciliate/internal/identity"
	"github.com/ciliate-io/ciliate/internal/ipam"
	"github.com/ciliate-io/ciliate/test/build"
)

const (
	nodeName = "n1"
	podName  = "default/web"
	hostIf   = "lxcd72e032fedd9" // of c1/eth0, see TestWorld
)

// filterInForce is the label filter that the worlds' nodes have.
func filterInForce() identity.Filter {
	return identity.Filter{ClusterName: "default", Exclude: identity.Volatile()}
}

// node is what the node's reconciler would have programmed.
type node struct {
	routers []netip.Addr
	filter  *identity.Filter
}

func (n *node) Routers() []netip.Addr { return n.routers }

func (n *node) Filter() (identity.Filter, bool) {
	if n.filter == nil {
		return identity.Filter{}, false
	}
	return *n.filter, true
}

// world is a reconciler with everything around it in memory. The cache is the apiserver, but for what behind hides.
type world struct {
	*Reconciler
	t     *testing.T
	api   client.Client
	dp    *fake.Datapath
	pool  *ipam.Allocator
	clock *clocktesting.FakeClock
	news  *events.FakeRecorder
	node  *node
	// behind are the names that the cache does not know yet; writes counts by kind of request.
	behind map[string]bool
	writes map[string]int
	// failStatus are errors for the next writes of a status, failDelete for the next deletions.
	failStatus, failDelete []error
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	w := &world{
		t: t, dp: fake.New(), clock: clocktesting.NewFakeClock(time.Unix(1_700_000_000, 0)), news: events.NewFakeRecorder(64),
		behind: map[string]bool{}, writes: map[string]int{},
	}
	filter := filterInForce()
	w.node = &node{routers: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, filter: &filter}
	w.pool = newPool(w.clock)
	w.setPools("10.0.0.0/24", "fd00::/64")
	cached := w.clients(objects)
	dir := t.TempDir()
	w.Reconciler = New(Options{
		Client: cached, Live: w.api, Datapath: w.dp, Addresses: w.pool, Node: w.node, Recorder: w.news, Clock: w.clock,
		NodeName: nodeName, Tombstones: Tombstones(filepath.Join(dir, "deletes")), NetnsDir: dir,
	})
	if err := os.Mkdir(string(w.Tombstones), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := w.dp.EnsureNode(t.Context(), dp.Node{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}); err != nil {
		t.Fatal(err)
	}
	w.addSandbox("c1")
	w.attachments.serve()
	return w
}

func newPool(c *clocktesting.FakeClock) *ipam.Allocator {
	return ipam.New(c.Now, rand.NewPCG(1, 1), 30*time.Second)
}

// clients are the apiserver and the cache in front of it.
func (w *world) clients(objects []client.Object) client.Client {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			w.t.Fatal(err)
		}
	}
	base := fakeclient.NewClientBuilder().WithScheme(scheme).
		WithTypeConverters(applyconfiguration.NewTypeConverter(scheme), kubeac.NewTypeConverter(kubescheme.Scheme)).
		WithStatusSubresource(&v1alpha1.CiliumEndpoint{}, &v1alpha1.CiliumIdentity{}).
		WithIndex(&v1alpha1.CiliumIdentity{}, index.IdentityKey, index.IdentityKeyOf).
		WithIndex(&v1alpha1.CiliumEndpoint{}, index.EndpointNode, index.EndpointNodeOf).
		WithObjects(objects...).Build()
	w.api = base
	return interceptor.NewClient(base, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if w.behind[key.String()] {
				key.Name = "not there yet"
			}
			return c.Get(ctx, key, obj, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			w.writes["delete"]++
			if len(w.failDelete) > 0 {
				err := w.failDelete[0]
				w.failDelete = w.failDelete[1:]
				return err
			}
			return c.Delete(ctx, obj, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			w.writes["release"]++
			return c.Patch(ctx, obj, patch, opts...)
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object, opts ...client.SubResourceUpdateOption) error {
			w.writes[sub]++
			if len(w.failStatus) > 0 {
				err := w.failStatus[0]
				w.failStatus = w.failStatus[1:]
				return err
			}
			return c.SubResource(sub).Update(ctx, obj, opts...)
		},
	})
}

func (w *world) setPools(cidrs ...string) {
	var prefixes []netip.Prefix
	for _, c := range cidrs {
		prefixes = append(prefixes, netip.MustParsePrefix(c))
	}
	w.pool.SetPools(prefixes, nil)
}

// addSandbox makes a network namespace of that name.
func (w *world) addSandbox(name string) {
	w.t.Helper()
	path := filepath.Join(w.NetnsDir, name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.dp.AddSandbox(path)
}

// closeSandbox removes a network namespace, and with it its devices.
func (w *world) closeSandbox(name string) {
	w.t.Helper()
	path := filepath.Join(w.NetnsDir, name)
	if err := os.Remove(path); err != nil {
		w.t.Fatal(err)
	}
	w.dp.CloseSandbox(path)
}

// tombstone leaves one as the plugin does on DEL.
func (w *world) tombstone(containerID, name string) string {
	w.t.Helper()
	namespace, pod, _ := strings.Cut(name, "/")
	file := containerID + "-eth0"
	content := `{"containerID":"` + containerID + `","ifName":"eth0","namespace":"` + namespace + `","name":"` + pod + `"}`
	if err := os.WriteFile(filepath.Join(string(w.Tombstones), file), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.date(file, w.clock.Now())
	return file
}

// date gives a tombstone a time by the clock of this world.
func (w *world) date(file string, at time.Time) {
	w.t.Helper()
	if err := os.Chtimes(filepath.Join(string(w.Tombstones), file), at, at); err != nil {
		w.t.Fatal(err)
	}
}

func key(name string) types.NamespacedName {
	namespace, pod, _ := strings.Cut(name, "/")
	return types.NamespacedName{Namespace: namespace, Name: pod}
}

// run reconciles one endpoint.
func (w *world) run(name string) (ctrl.Result, error) {
	w.t.Helper()
	return w.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: key(name)})
}

// mustRun reconciles one endpoint, which must not fail.
func (w *world) mustRun(name string) ctrl.Result {
	w.t.Helper()
	result, err := w.run(name)
	if err != nil {
		w.t.Fatalf("reconcile %s: %v", name, err)
	}
	return result
}

// tidy deletes what waits to be deleted and wakes nobody.
func (w *world) tidy() {
	w.t.Helper()
	for _, r := range w.trash.empty(w.t.Context(), w.trash.take()) {
		w.t.Errorf("device %s could not be deleted", r.hostIfName)
	}
	for len(w.wake) > 0 {
		<-w.wake
	}
}

// get is the endpoint of a pod, nil if there is none.
func (w *world) get(name string) *v1alpha1.CiliumEndpoint {
	w.t.Helper()
	cep := &v1alpha1.CiliumEndpoint{}
	err := w.api.Get(w.t.Context(), key(name), cep)
	if client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return cep
}

// ready is "Status/Reason" of the condition Ready, "" when there is none.
func (w *world) ready(name string) string { return condition(w.get(name), v1alpha1.ConditionReady) }

func condition(cep *v1alpha1.CiliumEndpoint, kind string) string {
	if cep == nil {
		return "gone"
	}
	c := meta.FindStatusCondition(cep.Status.Conditions, kind)
	if c == nil {
		return ""
	}
	return string(c.Status) + "/" + c.Reason
}

func (w *world) update(obj client.Object) {
	w.t.Helper()
	if err := w.api.Update(w.t.Context(), obj); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(obj client.Object) {
	w.t.Helper()
	if err := w.api.Create(w.t.Context(), obj); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(obj client.Object) {
	w.t.Helper()
	if err := w.api.Delete(w.t.Context(), obj); err != nil {
		w.t.Fatal(err)
	}
}

// used is how many addresses of the first range are held.
func (w *world) used() int64 { return w.pool.Usage()[0].Used }

// observed is the endpoint that the kernel has on a device; zero when there is none.
func (w *world) observed(hostIfName string) dp.Observed {
	w.t.Helper()
	all, err := w.dp.Endpoints(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range all {
		if o.HostIfName == hostIfName {
			return o
		}
	}
	return dp.Observed{}
}

// Pods, namespaces and identities of these tests.

func webPod() *build.PodBuilder { return build.Pod(podName).OnNode(nodeName).Label("app", "web") }

func webEndpoint() *build.EndpointBuilder { return build.Endpoint(podName) }

func defaultNamespace() *corev1.Namespace { return build.Namespace("default") }

// identityOf is the identity of pods of the default namespace with a label app.
func identityOf(number, app string) *v1alpha1.CiliumIdentity {
	id := build.Identity(number)
	labels := filterInForce().Labels(identity.Pod{Namespace: "default", ServiceAccount: "default", Labels: map[string]string{"app": app}}, nil)
	for k, v := range labels {
		id.Spec.Labels[k] = v1alpha1.LabelValue(v)
	}
	return id
}

// straight are the objects with which an ADD needs to wait for nothing.
func straight(more ...client.Object) []client.Object {
	return append([]client.Object{webPod().Obj(), webEndpoint().Obj(), defaultNamespace(), identityOf("1001", "web")}, more...)
}

func TestWorld(t *testing.T) {
	if got := dp.HostIfName("c1", "eth0"); got != hostIf {
		t.Errorf("the device of c1/eth0 is %s, the tests say %s", got, hostIf)
	}
}

// restart puts a new agent in the place of the one that is there, which leaves its kernel and objects.
func (w *world) restart() {
	w.t.Helper()
	w.pool = newPool(w.clock)
	w.setPools("10.0.0.0/24", "fd00::/64")
	o := w.Options
	o.Addresses = w.pool
	w.Reconciler = New(o)
	if err := w.Restore(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if err := w.Serve(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.tidy()
	w.writes = map[string]int{}
}
