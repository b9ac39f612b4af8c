// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/logging"
)

// role is the environment variable that says which of its processes the test binary is: the one that go test starts makes
// the namespaces, the one in them is the test, and that starts agents.
const role = "CILIATE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(enclose())
	case "test":
		os.Exit(run(m))
	case "agent":
		if err := runAgent(ctrl.SetupSignalHandler()); err != nil {
			fmt.Fprintln(os.Stderr, "agent:", err)
			os.Exit(1)
		}
	}
}

// enclose runs the test again in namespaces of its own: API server, agent and pods are neighbours there, and nowhere else.
func enclose() int {
	runtime.LockOSThread() // the death signal comes when this thread ends
	dir, err := os.MkdirTemp("", "ciliate-agent-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { // what is mounted there has gone with the namespaces
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "clean up:", err)
		}
	}()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), role+"=test", "TMPDIR="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// With the first process of a PID namespace all others end: API server, etcd, agents.
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "make the test's namespaces (this test needs root):", err)
		return 1
	}
	return 0
}

// cluster is the one API server of the test.
type cluster struct {
	env        *envtest.Environment
	config     *rest.Config
	scheme     *kruntime.Scheme
	client     client.Client
	dir        string
	kubeconfig string
	audit      string
}

// theCluster is set before the tests run.
//
//nolint:gochecknoglobals // TestMain has no other way to hand it to them
var theCluster *cluster

func run(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "KUBEBUILDER_ASSETS is not set: run make test-integration, or set it to what hack/tools/build.sh --bin-dir prints")
		return 1
	}
	ctrl.SetLogger(logging.New("error"))
	dir := os.TempDir()
	if err := errors.Join(mounts(dir), devices()); err != nil {
		fmt.Fprintln(os.Stderr, "set up the test's node:", err)
		return 1
	}
	c, err := startCluster(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the API server:", err)
		return 1
	}
	theCluster = c
	code := m.Run()
	if err := c.env.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the API server:", err)
		return 1
	}
	return code
}

// mounts gives the test its own /proc, its own /run, where network namespaces are kept, and a bpf file system.
func mounts(dir string) error {
	bpf := filepath.Join(dir, "bpf")
	if err := os.Mkdir(bpf, 0o700); err != nil {
		return err
	}
	return errors.Join(
		unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", 0, ""),
		unix.Mount("tmpfs", "/run", "tmpfs", 0, ""),
		os.Mkdir("/run/netns", 0o755),
		unix.Mount("bpf", bpf, "bpf", 0, ""),
	)
}

const (
	nodeAddr4 = "192.0.2.1"
	nodeAddr6 = "2001:db8::1"
)

// devices are lo and a card whose other end is nobody, with a default route: the API server looks for one.
func devices() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "eth0"
	card := netlink.NewVeth(attrs)
	card.PeerName = "wire"
	if err := errors.Join(netlink.LinkSetUp(lo), netlink.LinkAdd(card)); err != nil {
		return err
	}
	wire, err := netlink.LinkByName("wire")
	if err != nil {
		return err
	}
	for _, cidr := range []string{nodeAddr4 + "/24", nodeAddr6 + "/64"} {
		addr, err := netlink.ParseAddr(cidr)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(card, addr); err != nil {
			return err
		}
	}
	world := netlink.Route{LinkIndex: card.Attrs().Index, Gw: net.ParseIP("192.0.2.254")}
	return errors.Join(netlink.LinkSetUp(card), netlink.LinkSetUp(wire), netlink.RouteAdd(&world))
}

func startCluster(dir string) (*cluster, error) {
	scheme := kruntime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	c := &cluster{scheme: scheme, dir: dir, audit: filepath.Join(dir, "audit.log"), kubeconfig: filepath.Join(dir, "kubeconfig")}
	c.env = &envtest.Environment{CRDDirectoryPaths: []string{"../../../config/crd/bases"}, ErrorIfCRDPathMissing: true}
	server := c.env.ControlPlane.GetAPIServer()
	server.CertDir = filepath.Join(dir, "certs") // kept when the API server is restarted
	if err := errors.Join(os.Mkdir(server.CertDir, 0o700), os.WriteFile(filepath.Join(dir, "audit.yaml"), []byte(auditPolicy), 0o600)); err != nil {
		return nil, err
	}
	server.Configure().Append("audit-log-path", c.audit).Append("audit-policy-file", filepath.Join(dir, "audit.yaml"))
	config, err := c.env.Start()
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	c.config = config
	if c.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	user, err := c.env.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, config)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := user.KubeConfig()
	if err != nil {
		return nil, err
	}
	return c, errors.Join(os.WriteFile(c.kubeconfig, kubeconfig, 0o600), c.populate(context.Background()))
}
