// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

const (
	// Namespace is where the pods of the tests live.
	Namespace = "ciliate-e2e"
	// requestTimeout is short, because some tests stop the API server.
	requestTimeout = 15 * time.Second
)

// Cluster is a cluster of hack/cluster with Ciliate on it.
type Cluster struct {
	client.Client
	Config *rest.Config
	Nodes  []*Node

	repo       string // the repository's folder
	bin        string // of the tools
	run        string // the cluster's state on the machine
	dir        string // our folder below it, which the nodes see too
	kubeconfig string
}

// Open returns the cluster, healthy. It ends the test if there is none.
func Open(t *testing.T) *Cluster {
	t.Helper()
	log.SetLogger(logr.Discard()) // the client has nothing to say that its errors do not
	c := locate(t)
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		t.Fatalf("find the cluster (make demo brings it up): %v", err)
	}
	config.QPS, config.Timeout = -1, requestTimeout
	c.Config = config
	c.Client, err = client.New(config, client.Options{Scheme: scheme(t)})
	if err != nil {
		t.Fatalf("reach the cluster (make demo brings it up): %v", err)
	}
	c.findNodes(t)
	c.buildPrograms(t)
	c.ensureNamespace(t)
	c.restartControlPlane(t)
	c.Settle(t)
	c.sweep(t)
	return c
}

// locate knows where the cluster is, or would be, from the same environment variables as the scripts of hack/cluster.
func locate(t *testing.T) *Cluster {
	t.Helper()
	c := &Cluster{repo: repository(t)}
	c.bin = c.output(t, "hack/tools/build.sh", "--bin-dir")
	c.run = filepath.Join(filepath.Dir(c.bin), "cluster", strings.TrimSuffix(prefix(), "-"))
	c.dir = filepath.Join(c.run, "e2e")
	if c.kubeconfig = os.Getenv("KUBECONFIG"); c.kubeconfig == "" {
		c.kubeconfig = filepath.Join(c.run, "kubeconfig")
	}
	return c
}

// prefix is that of the cluster's network namespaces, as for the scripts of hack/cluster.
func prefix() string {
	if p := os.Getenv("PFX"); p != "" {
		return p
	}
	return "ciliate-"
}

func repository(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil && dir != "/" {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	t.Fatalf("no go.mod above the test: %v", err)
	return ""
}

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// output runs a command of the repository and returns what it printed.
func (c *Cluster) output(t *testing.T, command ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = c.repo
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig, "KUBECTL="+filepath.Join(c.bin, "kubectl"))
	cmd.WaitDelay = time.Second
	if strings.HasPrefix(command[0], "hack/") {
		cmd.Path = filepath.Join(c.repo, command[0])
		cmd.Err = nil
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(command, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// Script runs a script of the repository to its end.
func (c *Cluster) Script(t *testing.T, command ...string) string {
	t.Helper()
	return c.output(t, command...)
}

// buildPrograms compiles what runs in pods into a folder that the nodes see.
func (c *Cluster) buildPrograms(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(c.dir, "reports"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"probe", "forge"} {
		target := filepath.Join(c.dir, program)
		c.output(t, "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-ldflags=-s -w", "-o", target+".new", "./test/e2e/"+program)
		// A pod of an interrupted run may be executing the old one.
		if err := os.Rename(target+".new", target); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *Cluster) ensureNamespace(t *testing.T) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}
	if err := c.Create(t.Context(), namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("create the namespace of the tests: %v", err)
	}
	Eventually(t, time.Minute, "the namespace's service account", func(ctx context.Context) error {
		return c.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: "default"}, &corev1.ServiceAccount{})
	})
}

// sweep removes what an interrupted run left behind.
func (c *Cluster) sweep(t *testing.T) {
	t.Helper()
	pods, err := c.pods(t.Context(), Namespace)
	if err != nil {
		t.Fatal(err)
	}
	for i := range pods {
		c.DeletePod(t, &pods[i])
	}
	for _, n := range c.Nodes {
		n.MustRun(t, "sh", "-c", "for n in $(ip netns list | grep -o '^e2e-[^ ]*'); do ip netns del $n; done")
	}
}

// Eventually waits until try succeeds and returns how long that took. It ends the test when it does not in time.
func Eventually(t *testing.T, within time.Duration, what string, try func(context.Context) error) time.Duration {
	t.Helper()
	// Not the test's own context: clean-up waits too.
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	start := time.Now()
	err := try(ctx)
	for err != nil {
		select {
		case <-ctx.Done():
			t.Fatalf("waited %s in vain for %s: %v", within, what, err)
		case <-time.After(50 * time.Millisecond):
		}
		if next := try(ctx); ctx.Err() == nil {
			err = next // otherwise the last real answer is the better one
		}
	}
	return time.Since(start)
}
