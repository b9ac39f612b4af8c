// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package manifests

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const (
	config  = "../../../config/"
	overlay = "../../../hack/demo/overlay"
)

// render is what kubectl makes of a kustomization.
func render(t *testing.T, dir string) []byte {
	t.Helper()
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set: run make test-integration, or set it to what hack/tools/build.sh --bin-dir prints")
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(assets, "kubectl"), "kustomize", dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("render %s: %v\n%s", dir, err, stderr.String())
	}
	return out
}

// parse is the objects of a rendering, by "Kind/name".
func parse(t *testing.T, rendered []byte) map[string]*unstructured.Unstructured {
	t.Helper()
	objects := map[string]*unstructured.Unstructured{}
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(rendered), 4096); ; {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatalf("parse the rendering: %v", err)
		}
		objects[o.GetKind()+"/"+o.GetName()] = o
	}
}

// object is one rendered object as its Go type.
func object[T any](t *testing.T, objects map[string]*unstructured.Unstructured, key string) T {
	t.Helper()
	var typed T
	o, ok := objects[key]
	if !ok {
		t.Fatalf("%s is not rendered", key)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &typed); err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return typed
}

// TestRenderingIsRepeatable: a manifest that differs each time makes GitOps roll everything for ever.
func TestRenderingIsRepeatable(t *testing.T) {
	for _, dir := range []string{config + "default", config + "argocd", config + "argocd/sync", overlay} {
		if diff := cmp.Diff(string(render(t, dir)), string(render(t, dir))); diff != "" {
			t.Errorf("%s renders differently the second time:\n%s", dir, diff)
		}
	}
}

// TestOverlayGivesTheAddressAndNothingElse, as the walkthrough of make demo promises.
func TestOverlayGivesTheAddressAndNothingElse(t *testing.T) {
	want, got := parse(t, render(t, config+"default")), parse(t, render(t, overlay))
	address := got["ConfigMap/cilium-apiserver"].Object["data"]
	if diff := cmp.Diff(map[string]any{"KUBERNETES_SERVICE_HOST": "172.18.0.2", "KUBERNETES_SERVICE_PORT": "6443"}, address); diff != "" {
		t.Errorf("the API server's address (-want +got):\n%s", diff)
	}
	want["ConfigMap/cilium-apiserver"].Object["data"] = address
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the overlay changes more than the address (-default +overlay):\n%s", diff)
	}
}

// TestDefaultHoldsNoObjectOfItsOwnKinds: such an apply fails the first time.
func TestDefaultHoldsNoObjectOfItsOwnKinds(t *testing.T) {
	for key, o := range parse(t, render(t, config+"default")) {
		if o.GroupVersionKind().Group == "cilium.io" {
			t.Errorf("%s is in config/default", key)
		}
	}
}

func TestCRDs(t *testing.T) {
	const maxBytes = 200 << 10
	var names []string
	for _, o := range parse(t, render(t, config+"crd")) {
		names = append(names, o.GetName())
		json, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if len(json) >= maxBytes {
			t.Errorf("%s has %d bytes, fewer than %d are allowed", o.GetName(), len(json), maxBytes)
		}
		if o.GetLabels()["ciliate.dev/schema"] == "" {
			t.Errorf("%s has no label ciliate.dev/schema: our binaries will refuse it", o.GetName())
		}
		if o.GetAnnotations()["argocd.argoproj.io/sync-options"] != "Prune=false" {
			t.Errorf("%s may be pruned by Argo CD, and all objects with it", o.GetName())
		}
	}
	bases, err := filepath.Glob(config + "crd/bases/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != len(bases) {
		t.Errorf("%d CRDs are rendered, bases holds %d: list them all in config/crd/kustomization.yaml", len(names), len(bases))
	}
}
