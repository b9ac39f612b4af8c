// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package cni

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"testing"
	"time"

	authnv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// cluster is a real API server with our CRDs, and a token for everything.
type cluster struct {
	url    string
	ca     *x509.Certificate
	token  string
	client client.WithWatch
}

func start(t testing.TB) *cluster {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set: run make test-integration, or set it to what hack/tools/build.sh --bin-dir prints")
	}
	env := &envtest.Environment{
		CRDDirectoryPaths:     []string{"../../../config/crd/bases"},
		ErrorIfCRDPathMissing: true,
	}
	config, err := env.Start()
	if err != nil {
		t.Fatalf("start the API server: %v", err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	c := &cluster{url: config.Host, ca: certificate(t, config.CAData), client: newClient(t, config)}
	c.token = c.newToken(t, "cni")
	c.bind(t, "cni")
	c.awaitBound(t, "cni")
	return c
}

func newClient(t testing.TB, config *rest.Config) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatalf("make a client: %v", err)
	}
	return c
}

// newToken makes a service account that may do nothing yet, and asks for its token.
func (c *cluster) newToken(t testing.TB, name string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	if err := c.client.Create(t.Context(), account); err != nil {
		t.Fatalf("create service account %s: %v", name, err)
	}
	request := &authnv1.TokenRequest{}
	if err := c.client.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatalf("ask for a token: %v", err)
	}
	return request.Status.Token
}

// bind lets a service account do everything: what the agents may is tested elsewhere.
func (c *cluster) bind(t testing.TB, name string) {
	t.Helper()
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: name}},
	}
	if err := c.client.Create(t.Context(), binding); err != nil {
		t.Errorf("bind service account %s: %v", name, err)
	}
}

// awaitBound waits until the API server has read a binding: it asks its cache, and forbids what is not in there yet.
func (c *cluster) awaitBound(t testing.TB, name string) {
	t.Helper()
	const patience, pause = 10 * time.Second, 10 * time.Millisecond
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(pause) {
		review := &authzv1.SubjectAccessReview{Spec: authzv1.SubjectAccessReviewSpec{
			User: "system:serviceaccount:default:" + name,
			ResourceAttributes: &authzv1.ResourceAttributes{
				Namespace: "default", Group: v1alpha1.GroupVersion.Group, Resource: "ciliumendpoints", Verb: "create",
			},
		}}
		if err := c.client.Create(t.Context(), review); err != nil {
			t.Fatalf("ask what service account %s may do: %v", name, err)
		}
		if review.Status.Allowed {
			return
		}
	}
	t.Fatalf("service account %s may do nothing after %s", name, patience)
}

// http trusts the API server and carries the token.
func (c *cluster) http() *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(c.ca)
	trusting := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	return &http.Client{Transport: transport.NewBearerAuthRoundTripper(c.token, trusting)}
}

func certificate(t testing.TB, data []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatal("the API server's CA is not PEM")
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatalf("parse the API server's CA: %v", err)
	}
	return ca
}
