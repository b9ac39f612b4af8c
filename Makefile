# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory

# Where the pinned tools are (hack/tools), and the images of the cluster.
BIN := $(shell hack/tools/build.sh --bin-dir)
IMAGES := $(BIN)/../images
# make deploy OVERLAY=…: a kustomization that gives your API server's address, as this one does for the demo's cluster.
OVERLAY ?= hack/demo/overlay
# make conformance FOCUS=…: hack/conformance/run.sh knows what stands for nothing.
export FOCUS SKIP PROCS
GOTEST ?= go test

.PHONY: help
help: ## print this
	@awk -F ': .*## ' '/^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ build

.PHONY: build
build: ## compile cilium-agent, cilium-operator and cilium-cni into bin/
	hack/build.sh bin

.PHONY: generate
generate: ## regenerate deep copies, apply configurations, CRDs, roles, BPF objects, reference docs
	hack/generate.sh

.PHONY: images
images: ## pack the product images as tar files, without docker
	hack/image/build.sh $(IMAGES) product

.PHONY: clean
clean: ## remove bin/ and dist/ (built tools stay in the cache)
	rm -rf bin dist

##@ check

.PHONY: verify
verify: ## generate, lint, vet; then demand a clean tree with nothing untracked
	hack/verify.sh

.PHONY: lint
lint: ## run golangci-lint, shellcheck and clang-format
	hack/lint.sh

.PHONY: test
test: ## everything that CI runs, in order, with times and counts; sets itself up (root)
	hack/test.sh

.PHONY: test-unit
test-unit: ## Go tests: no root, no network, no cluster, seconds
	$(GOTEST) ./...

.PHONY: test-bpf
test-bpf: ## programs by BPF_PROG_TEST_RUN, devices and maps in network namespaces (root)
	$(GOTEST) -tags root -count 1 -timeout 15m ./bpf/... ./internal/datapath/...

.PHONY: test-kernels
test-kernels: ## the same on Debian's newest 6.1 and 6.12 kernels in QEMU (root)
	hack/kernels/run.sh $(V)

.PHONY: test-integration
test-integration: ## controllers, manifests, roles and admission on a real API server (envtest)
	hack/tools/build.sh kube-apiserver etcd kubectl
	KUBEBUILDER_ASSETS=$(BIN) $(GOTEST) -tags integration -count 1 -timeout 15m ./test/integration/...

.PHONY: e2e
e2e: ## invariants and the walkthrough on the real cluster of hack/cluster (root; make demo brings it up)
	$(GOTEST) -tags e2e -timeout 45m -count 1 -v ./test/e2e/...

.PHONY: conformance
conformance: ## upstream's e2e specs on the real cluster; FOCUS=REGEX SKIP=REGEX PROCS=4 (root)
	hack/conformance/run.sh

.PHONY: bench
bench: ## measure, and write docs/performance.md (root)
	hack/bench/bench.sh

##@ run

.PHONY: demo
demo: ## a cluster on this machine, Ciliate on it, and a walk through what it does (root)
	hack/demo/demo.sh

.PHONY: demo-down
demo-down: ## remove every trace of the demo (root)
	hack/cluster/down.sh

.PHONY: deploy
deploy: ## preflight, then install into the cluster of KUBECONFIG (OVERLAY=hack/demo/overlay)
	hack/deploy.sh $(OVERLAY)

.PHONY: undeploy
undeploy: ## remove from the cluster of KUBECONFIG; PURGE=1 removes CRDs and objects too
	hack/undeploy.sh
