// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Second is a cluster of another kind, beside the first.
type Second struct {
	// Family is what the cluster is told to be: ipv4, ipv6 or dual.
	Family string
	// Config is a file of config/samples, applied before Ciliate is.
	Config string
	// APIServer is the address that agents and operators are told.
	APIServer string
}

// OpenSecond brings the cluster up, installs Ciliate with the images that make demo built, and takes it down when the test
// ends. Until then every script and every Open of the test means this cluster.
func OpenSecond(t *testing.T, s Second) *Cluster {
	t.Helper()
	for name, value := range map[string]string{"PFX": "ciliate2-", "PORT": "16453", "IPFAMILY": s.Family, "KUBECONFIG": ""} {
		t.Setenv(name, value)
	}
	c := locate(t)
	t.Cleanup(func() { c.output(t, "hack/cluster/down.sh") })
	c.output(t, "hack/cluster/up.sh")
	images := filepath.Join(filepath.Dir(c.bin), "images")
	c.output(t, "hack/cluster/load.sh", filepath.Join(images, "cilium-agent.tar"), filepath.Join(images, "cilium-operator.tar"))
	kubectl := filepath.Join(c.bin, "kubectl")
	c.output(t, kubectl, "apply", "-k", "config/crd")
	c.output(t, kubectl, "wait", "--for=condition=Established", "--timeout=30s", "crd/ciliumconfigs.cilium.io")
	c.output(t, kubectl, "apply", "-f", filepath.Join("config/samples", s.Config))
	c.output(t, "hack/deploy.sh", c.overlay(t, s.APIServer))
	return Open(t)
}

// overlay is a kustomization of config/default for that address.
func (c *Cluster) overlay(t *testing.T, apiServer string) string {
	t.Helper()
	dir := filepath.Join(c.run, "overlay")
	base, err := filepath.Rel(dir, filepath.Join(c.repo, "config/default"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	content := fmt.Sprintf(`apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%q]
patches:
- patch: |
    apiVersion: v1
    kind: ConfigMap
    metadata:
      name: cilium-apiserver
      namespace: kube-system
    data:
      KUBERNETES_SERVICE_HOST: %q
      KUBERNETES_SERVICE_PORT: "6443"
`, base, apiServer)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
