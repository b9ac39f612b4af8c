// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/cnibin/fake"
)

// world is a node with an apiserver: everything around one execution of the plugin.
type world struct {
	*fake.Server
	t      *testing.T
	plugin *plugin
	stdout *bytes.Buffer
	runDir string
	conf   map[string]any
	args   skel.CmdArgs
}

const (
	thisContainer = "c0ffee"
	thisNetns     = "/var/run/netns/cni-1"
)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Server: fake.NewServer(t, "token-1"), t: t, stdout: &bytes.Buffer{}, runDir: t.TempDir()}
	w.plugin = newPlugin()
	w.plugin.stdout, w.plugin.log = w.stdout, io.Discard
	w.plugin.random = func() float64 { return 0.5 }
	w.plugin.link = func(string) (*net.Interface, error) {
		mac := net.HardwareAddr{2, 0, 0, 0, 0, 2}
		return &net.Interface{Index: 42, Name: "lxc0123456789a", HardwareAddr: mac, Flags: net.FlagUp}, nil
	}
	w.plugin.bootIDPath = filepath.Join(w.runDir, "boot_id")
	w.plugin.timing = timing{
		add: 5 * time.Second, check: 2 * time.Second, gc: 2 * time.Second,
		request: 200 * time.Millisecond, watch: 300 * time.Millisecond,
		backoff: time.Millisecond, limit: 10 * time.Millisecond, silence: 120 * time.Second, forbidden: 10 * time.Second,
	}
	w.conf = map[string]any{
		"cniVersion": "1.1.0", "name": "cilium", "type": "cilium-cni",
		"kubeconfig": filepath.Join(w.runDir, "cni.kubeconfig"), "nodeName": "node1", "runDir": w.runDir,
	}
	w.args = skel.CmdArgs{
		ContainerID: thisContainer, Netns: thisNetns, IfName: "eth0",
		Args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=pod-1;K8S_POD_INFRA_CONTAINER_ID=x",
	}
	w.writeKubeconfig("token-1")
	return w
}

func (w *world) writeKubeconfig(token string) {
	w.writeFile("cni.kubeconfig", w.Kubeconfig(w.t, token))
}

func (w *world) writeFile(name string, data []byte) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.runDir, name), data, 0o600); err != nil {
		w.t.Error(err)
	}
}

// run calls a verb with the configuration as it stands.
func (w *world) run(verb func(*skel.CmdArgs) error) error {
	w.t.Helper()
	stdin, err := json.Marshal(w.conf)
	if err != nil {
		w.t.Fatal(err)
	}
	args := w.args
	args.StdinData = stdin
	return verb(&args)
}

// own is the object that this sandbox's ADD creates.
func (w *world) own() v1alpha1.CiliumEndpoint {
	return v1alpha1.CiliumEndpoint{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "web", Finalizers: []string{v1alpha1.EndpointFinalizer},
		},
		Spec: v1alpha1.CiliumEndpointSpec{
			NodeName: "node1", PodUID: "pod-1", ContainerID: thisContainer, Netns: thisNetns, IfName: "eth0",
		},
	}
}

// older is the object of a sandbox that had the name before, with changes.
func (w *world) older(change func(*v1alpha1.CiliumEndpoint)) v1alpha1.CiliumEndpoint {
	ep := w.own()
	ep.Spec.ContainerID, ep.Spec.Netns = "01d", "/var/run/netns/cni-0"
	change(&ep)
	return ep
}

func (w *world) store(ep v1alpha1.CiliumEndpoint) v1alpha1.CiliumEndpoint {
	w.t.Helper()
	stored, ok := w.Create(ep)
	if !ok {
		w.t.Fatalf("the name %s is taken", ep.Name)
	}
	return stored
}

// serve lets the agent make everything Ready.
func (w *world) serve() { w.Serve(w.runDir, fake.Ready) }

// serveAs lets the agent answer not Ready with a reason.
func (w *world) serveAs(reason, message string) {
	w.Serve(w.runDir, func(ep v1alpha1.CiliumEndpoint) v1alpha1.CiliumEndpointStatus {
		return fake.NotReady(ep, reason, message)
	})
}

// hurry makes ADD's deadline short, for a case that has to reach it.
func (w *world) hurry() { w.plugin.timing.add = 400 * time.Millisecond }

func (w *world) count(verb string) int {
	n := 0
	for _, v := range w.Requests() {
		if v == verb {
			n++
		}
	}
	return n
}

// tombstones lists what is in the folder, by name.
func (w *world) tombstones() []string {
	w.t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.runDir, "deletes"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}

func (w *world) bury(container, ifName string) {
	w.t.Helper()
	stone := tombstone{ContainerID: container, IfName: ifName}
	if err := stone.write(w.runDir); err != nil {
		w.t.Fatal(err)
	}
}

// wantError compares an error's CNI code, and looks for each of the texts in it; code zero wants no error.
func wantError(t *testing.T, err error, code uint, texts ...string) {
	t.Helper()
	got := &types.Error{}
	if err != nil && !errors.As(err, &got) {
		t.Fatalf("not an error of CNI: %v", err)
	}
	if got.Code != code {
		t.Fatalf("code %d, want %d: %v", got.Code, code, err)
	}
	for _, text := range texts {
		if !strings.Contains(got.Error(), text) {
			t.Errorf("%q is not in %q", text, got.Error())
		}
	}
}

func wantEqual(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// otherCA is a certificate that has signed nothing.
func otherCA(t *testing.T) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	data, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(data)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}
