// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ciliate-io/ciliate"

// A floor says what the packages below a folder may import beside the standard library and their own folder: ours are
// folders of this module, others are modules, tests are what their tests may import on top. The deepest folder counts.
type floor struct {
	folder string
	ours   []string
	others []string
	tests  []string
}

// The table of docs/architecture.md.
func floors() []floor {
	cmp := []string{"github.com/google/go-cmp"}
	build := []string{"github.com/google/go-cmp", "test/build"}
	thought := []string{"internal/identity", "internal/ipam", "internal/loadbalancer", "internal/service", "internal/policy"}
	words := []string{"k8s.io/api", "k8s.io/apimachinery"}
	kube := []string{"k8s.io", "sigs.k8s.io", "github.com/go-logr/logr", "github.com/prometheus/client_golang"}
	kernel := []string{
		"github.com/cilium/ebpf", "github.com/vishvananda", "github.com/google/nftables", "github.com/mdlayher", "golang.org/x/sys",
	}
	wire := []string{ // Hubble's, and no other package of that module
		"github.com/cilium/cilium/api/v1/flow", "github.com/cilium/cilium/api/v1/observer",
		"github.com/cilium/cilium/api/v1/peer", "github.com/cilium/cilium/api/v1/relay",
		"google.golang.org/grpc", "google.golang.org/protobuf", "github.com/prometheus/client_golang",
	}
	will := plus(thought, "api", "controllers/internal", "internal/config", "internal/version")
	return []floor{
		// words
		{folder: "api", others: []string{"k8s.io/apimachinery"}, tests: cmp},
		{folder: "api/applyconfiguration", ours: []string{"api"}, others: []string{"k8s.io", "sigs.k8s.io"}},
		// thought
		{folder: "internal/identity", tests: cmp},
		{folder: "internal/ipam", ours: []string{"internal/identity"}, tests: cmp},
		{folder: "internal/loadbalancer", ours: []string{"internal/ipam"}, tests: cmp},
		{folder: "internal/service", ours: []string{"internal/identity"}, tests: cmp},
		{folder: "internal/service/translate", ours: thought, others: words, tests: cmp},
		{folder: "internal/policy", ours: []string{"internal/identity", "internal/service"}, tests: cmp},
		{folder: "internal/policy/translate", ours: plus(thought, "api/v1alpha1"), others: words, tests: cmp},
		// hands and eyes
		{folder: "bpf", ours: []string{"internal/datapath", "internal/service"}, others: kernel, tests: cmp},
		{folder: "internal/datapath", ours: plus(thought, "bpf"), others: kernel, tests: cmp},
		{folder: "internal/cloud", ours: thought, others: []string{"github.com/aws"}, tests: cmp},
		{folder: "internal/hubble", ours: plus(thought, "internal/datapath/events", "internal/version"), others: wire, tests: cmp},
		// will
		{folder: "controllers"},
		{folder: "controllers/internal", ours: plus(thought, "api"), others: kube, tests: build},
		{folder: "controllers/operator", ours: plus(will, "internal/cloud"), others: kube, tests: build},
		{
			folder: "controllers/agent", ours: plus(will, "internal/datapath", "internal/hubble"),
			others: plus(kube, "github.com/fsnotify/fsnotify", "golang.org/x/sys"), tests: build,
		},
		// roof
		{folder: "cmd", ours: []string{""}, others: []string{""}},
		{
			folder: "cnibin", ours: []string{"api/v1alpha1", "internal/version"},
			others: []string{"github.com/containernetworking/cni", "golang.org/x/sys"}, tests: plus(cmp, "k8s.io/apimachinery"),
		},
		{folder: "internal/config", others: []string{"sigs.k8s.io/yaml"}, tests: cmp},
		{folder: "internal/logging", others: []string{"github.com/go-logr/logr"}, tests: cmp},
		{folder: "internal/apiserver", others: []string{"k8s.io/client-go"}, tests: cmp},
		{folder: "internal/version"},
		// Beside the house: what tests it and builds it.
		{folder: "internal/arch", tests: cmp},
		{folder: "test", ours: []string{""}, others: []string{""}},
		{folder: "hack", ours: []string{""}, others: []string{""}},
	}
}

// plus never writes into base's spare capacity, as append may.
func plus(base []string, more ...string) []string { return slices.Concat(base, more) }

type goPackage struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
}

// TestFloors: imports go down only.
func TestFloors(t *testing.T) {
	for _, p := range list(t) {
		folder := strings.TrimPrefix(p.ImportPath, module+"/")
		f, ok := floorOf(folder)
		if !ok {
			t.Errorf("%s stands on no floor: add its folder to the table, and to docs/architecture.md", folder)
			continue
		}
		product, tests := p.Imports, slices.Concat(p.TestImports, p.XTestImports)
		if forTests(folder) {
			product, tests = nil, slices.Concat(product, tests)
		}
		for _, imported := range product {
			if !f.mayImport(imported, f.ours, f.others) {
				t.Errorf("%s must not import %s", folder, imported)
			}
		}
		for _, imported := range tests {
			if !f.mayImport(imported, plus(f.ours, f.tests...), plus(f.others, f.tests...)) {
				t.Errorf("the tests of %s must not import %s", folder, imported)
			}
		}
	}
}

// TestNounsAreStrangers: one noun's controller imports no other's; they meet in setup and in the API server.
func TestNounsAreStrangers(t *testing.T) {
	for _, p := range list(t) {
		own := noun(p.ImportPath)
		for _, imported := range p.Imports {
			if other := noun(imported); own != "" && other != "" && own != other {
				t.Errorf("the controller %s must not import the controller %s", own, other)
			}
		}
	}
}

// TestDatapathHasNeverHeardOfKubernetes, not even through others.
func TestDatapathHasNeverHeardOfKubernetes(t *testing.T) {
	for _, p := range list(t) {
		if !under(strings.TrimPrefix(p.ImportPath, module+"/"), "internal/datapath") {
			continue
		}
		for _, dep := range p.Deps {
			if under(dep, module+"/api") || under(dep, "k8s.io") || under(dep, "sigs.k8s.io") {
				t.Errorf("%s depends on %s", p.ImportPath, dep)
			}
		}
	}
}

// noun is "operator/endpoint" of a package in controllers/operator/endpoint.
func noun(path string) string {
	part := strings.Split(strings.TrimPrefix(path, module+"/"), "/")
	if len(part) < 3 || part[0] != "controllers" || part[1] == "internal" || part[2] == "internal" {
		return ""
	}
	return part[1] + "/" + part[2]
}

// forTests: fakes, the contracts that they share with the real thing, and laboratories only ever run in tests.
func forTests(path string) bool {
	return slices.ContainsFunc(strings.Split(path, "/"), func(part string) bool {
		return slices.Contains([]string{"test", "tests", "fake", "contract", "lab"}, part)
	})
}

func floorOf(folder string) (floor, bool) {
	var best floor
	for _, f := range floors() {
		if under(folder, f.folder) && len(f.folder) > len(best.folder) {
			best = f
		}
	}
	return best, best.folder != ""
}

func (f floor) mayImport(path string, ours, others []string) bool {
	if folder, ok := strings.CutPrefix(path, module+"/"); ok {
		return under(folder, f.folder) || slices.ContainsFunc(ours, func(o string) bool { return under(folder, o) })
	}
	first, _, _ := strings.Cut(path, "/")
	standard := !strings.Contains(first, ".")
	return standard || slices.ContainsFunc(others, func(o string) bool { return under(path, o) })
}

// under: path is folder or below it; everything is under "".
func under(path, folder string) bool {
	return folder == "" || path == folder || strings.HasPrefix(path, folder+"/")
}

// list is every package of this module under the tags of every kind of test, so that no file hides.
func list(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps=false", "-tags", "root,integration,e2e",
		"-json=ImportPath,Imports,TestImports,XTestImports,Deps", "./...")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list the packages: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("read the list of packages: %v", err)
		}
		packages = append(packages, p)
	}
}
