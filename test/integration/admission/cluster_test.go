// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package admission

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

const (
	configDir   = "../../../config/"
	nodeNameKey = "authentication.kubernetes.io/node-name"
	// wideGroup may do anything to our kinds, so that a refusal is the policy's and not RBAC's.
	wideGroup = "test:wide"
)

// cluster is an API server on which config/default was applied the way a person applies it.
type cluster struct {
	config     *rest.Config
	scheme     *runtime.Scheme
	admin      client.Client
	kubectl    string
	kubeconfig string
}

// start brings an API server up, installs config/default and waits until its rules hold.
func start(t *testing.T) *cluster {
	t.Helper()
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set: run make test-integration, or set it to what hack/tools/build.sh --bin-dir prints")
	}
	env := &envtest.Environment{}
	config, err := env.Start()
	if err != nil {
		t.Fatalf("start the API server: %v", err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	user, err := env.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, config)
	if err != nil {
		t.Fatalf("add a user: %v", err)
	}
	kubeconfig, err := user.KubeConfig()
	if err != nil {
		t.Fatalf("make a kubeconfig: %v", err)
	}
	c := &cluster{
		config: user.Config(), scheme: newScheme(t),
		kubectl: filepath.Join(assets, "kubectl"), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig"),
	}
	if err := os.WriteFile(c.kubeconfig, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	c.admin = c.as(t, rest.ImpersonationConfig{})
	if out, err := c.run(t, c.kubectl, "apply", "--validate=strict", "-k", configDir+"default"); err != nil || strings.Contains(out, "Warning") {
		t.Fatalf("one apply of config/default must be enough, without a warning: %v\n%s", err, out)
	}
	c.create(t, wideRole()...)
	c.waitForPolicies(t)
	return c
}

// run is what a command of a person with a kubeconfig prints, errors included.
func (c *cluster) run(t *testing.T, command string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command, args...)
	cmd.Env = append(os.Environ(), "KUBECTL="+c.kubectl, "KUBECONFIG="+c.kubeconfig)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// as is a client that acts as another user.
func (c *cluster) as(t *testing.T, who rest.ImpersonationConfig) client.Client {
	t.Helper()
	config := rest.CopyConfig(c.config)
	config.Impersonate = who
	return c.client(t, config)
}

func (c *cluster) client(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	cl, err := client.New(config, client.Options{Scheme: c.scheme})
	if err != nil {
		t.Fatalf("make a client: %v", err)
	}
	return cl
}

func (c *cluster) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := c.admin.Create(t.Context(), o); err != nil {
			t.Fatalf("create %T %s: %v", o, o.GetName(), err)
		}
	}
}

// serviceAccount is the identity of a token of kube-system; without nodes it is bound to no pod.
func serviceAccount(name string, nodes ...string) rest.ImpersonationConfig {
	who := rest.ImpersonationConfig{
		UserName: "system:serviceaccount:kube-system:" + name,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
	}
	if len(nodes) > 0 {
		who.Extra = map[string][]string{nodeNameKey: nodes}
	}
	return who
}

// waitForPolicies returns once both policies refuse what they must: the API server takes them up with a delay.
func (c *cluster) waitForPolicies(t *testing.T) {
	t.Helper()
	who := serviceAccount("cilium")
	who.Groups = append(who.Groups, wideGroup)
	agent := c.as(t, who)
	probes := []client.Object{
		endpoint("probe", "n1"),
		&v1alpha1.CiliumNode{ObjectMeta: metav1.ObjectMeta{Name: "probe"}},
		lease("probe", "n1"),
	}
	for _, probe := range probes {
		refused := func(ctx context.Context) (bool, error) {
			err := agent.Create(ctx, probe.DeepCopyObject().(client.Object), client.DryRunAll)
			return err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy"), nil
		}
		if err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, refused); err != nil {
			t.Fatalf("the policy never refused %T: %v", probe, err)
		}
	}
}
