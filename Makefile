# SPDX-License-Identifier: Apache-2.0
#
# What a person does with this repository. `make help` lists it. `make build` costs a link of hivemindd and hivemind
# when Go files change (Go's own cache sees to that), and a rebuild of containerd, runc and helm when go.mod does.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION  ?= $(shell git describe --tags --always --dirty --match 'v*' 2>/dev/null || echo unknown)
MODULES  := $(shell sed -n 's,^\t\(k8s.io/client-go\|k8s.io/component-base\|helm.sh/helm/v3\|github.com/containerd/containerd/v2\|github.com/opencontainers/runc\) \(v[^ ]*\).*,\1=\2,p' go.mod)
version_of = $(patsubst $(1)=%,%,$(filter $(1)=%,$(MODULES)))
# k8s.io/* v0.X.Y are the libraries of Kubernetes v1.X.Y.
K8S      := $(patsubst v0.%,v1.%,$(call version_of,k8s.io/client-go))
K8S_MINOR := $(word 2,$(subst ., ,$(K8S)))
COMMIT   := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
DATE     := $(shell TZ=UTC0 git show -s --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd HEAD 2>/dev/null || echo 1970-01-01T00:00:00Z)

STAGE    := build/stage
CLIENTS  := $(addprefix build/clients/,kubectl helm clientgo clientgo-older operator)
PAYLOAD  := pkg/bundle/payload
GO       := go
GOBUILD  := $(GO) build
# The same for builds, tests and linters, so that they share what the cache holds. grpcnotrace leaves out gRPC's tracing,
# which brings a web page and its templates along. Only runc needs C.
export GOFLAGS := -trimpath -buildvcs=false -tags=grpcnotrace
export CGO_ENABLED := 0

# The linker's flags that tell a package (1) which Kubernetes (2) it is of.
x8s = -X $(1).gitVersion=$(2) -X $(1).gitMajor=1 -X $(1).gitMinor=$(word 2,$(subst ., ,$(2))) -X $(1).gitCommit=$(COMMIT) -X $(1).gitTreeState=clean -X $(1).buildDate=$(DATE)
kubectl_ldflags = -s -w $(call x8s,k8s.io/component-base/version,$(1)) $(call x8s,k8s.io/client-go/pkg/version,$(1))
LDFLAGS  := $(call kubectl_ldflags,$(K8S)) -X main.version=$(VERSION)

##@ Use
.PHONY: help
help: ## List these targets
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

.PHONY: deps
deps: ## Install what a build needs and this machine lacks (Debian packages; root)
	@hack/deps.sh

.PHONY: build
build: bin/hivemind ## Build bin/hivemind, the one file that carries all others

.PHONY: up
up: deps build ## Build, then start a cluster in the background
	@bin/hivemind up -d

.PHONY: images
images: ## Build the images of config/samples and charts/demo, and serve them to the cluster on this machine
	@$(GO) run ./hack/images

.PHONY: test-images
test-images: ## Make the images of Kubernetes' conformance tests, and serve them until Ctrl-C
	@$(GO) run ./test/images

##@ Work
.PHONY: test
test: build tools ## Unit tests, in-process cluster tests, and tests with real containers
	@hack/test.sh

.PHONY: clients
clients: build tools $(CLIENTS) ## Drive a cluster with stock kubectl, helm, client-go and controller-runtime
	@$(GO) -C test/clients test -timeout 10m -count 1 ./...

.PHONY: lint
lint: tools ## gofmt, go vet, staticcheck, the arrows between packages, licence lines
	@hack/lint.sh

.PHONY: bench
bench: build tools ## Measure against the budgets and print a table
	@$(GO) run ./test/bench

.PHONY: conformance
conformance: build ## Kubernetes' conformance tests, from where they were stopped: SET=no-node SIG=api,node FOCUS=regexp FRESH=y
	@$(GO) run ./test/conformance $(foreach f,SET SIG FOCUS RESUME,$(if $($f),-$(shell echo $f | tr A-Z a-z) '$($f)')) \
		$(if $(FRESH),-fresh) $(if $(SIG)$(FOCUS),,-write docs/conformance.md)

.PHONY: bench-compare
bench-compare: build ## Put the same load on Hivemind and on stock Kubernetes, and print ratios
	@$(GO) run ./test/compare $(ARGS)

.PHONY: parity
parity: ## Compare the API's answers with stock kube-apiserver's: KINDS=regexp N=cases SEED=n MIN=percent
	@$(GO) run -ldflags '$(LDFLAGS)' ./test/parity $(foreach f,KINDS N SEED MIN,$(if $($f),-$(shell echo $f | tr A-Z a-z) '$($f)')) \
		$(if $(KINDS),,-write docs/parity.md)

.PHONY: fuzz
fuzz: ## Fuzz what reads requests, one target after the other: FUZZTIME=1m TARGET=regexp
	@FUZZTIME='$(FUZZTIME)' TARGET='$(TARGET)' hack/fuzz.sh

.PHONY: hostile
hostile: $(STAGE)/hivemindd ## Send a server what no honest client would, and watch its memory
	@$(GO) test -tags grpcnotrace,e2e -timeout 20m -count 1 -v ./test/hostile -args -full | grep -v '=== RUN'

.PHONY: histories
histories: build ## Kill the server and fill, slow and step what is below it, and judge what clients saw: ARGS='-for 10m -seed 7 -faults kill'
	@$(GO) run ./test/histories $(ARGS)

.PHONY: generate
generate: ## Write generated code anew (zz_generated.*)
	@for script in hack/update-*.sh; do [ ! -e "$$script" ] || "$$script"; done

.PHONY: verify
verify: build/hivemindd.mod ## Check that generated code is current, and that hivemindd is lean
	@for script in hack/verify-*.sh; do [ ! -e "$$script" ] || "$$script"; done

.PHONY: clean
clean: ## Remove what was built
	@rm -rf bin build $(PAYLOAD)

.PHONY: tools
tools: build/tools/kubectl build/tools/helm ## Stock kubectl and helm for tests, in build/tools

##@ Parts of the build
# Go decides itself what is stale, so these run each time; pack compresses only what has changed.
.PHONY: FORCE
# hivemindd is linked with a stand-in for go-cmp, which would keep the linker from leaving anything out: see hack/nocmp.
build/hivemindd.mod: go.mod go.sum
	@mkdir -p build && cp go.sum build/hivemindd.sum && { cat go.mod; echo 'replace github.com/google/go-cmp => ./hack/nocmp'; } > $@

$(STAGE)/hivemindd: build/hivemindd.mod FORCE
	@$(GOBUILD) -modfile $< -ldflags '$(LDFLAGS)' -o $@ ./cmd/hivemindd

$(STAGE)/hivemind-cni: FORCE
	@$(GOBUILD) -ldflags '-s -w' -o $@ ./cmd/hivemind-cni

$(STAGE)/pause.tar: FORCE
	@$(GO) run ./hack/pauseimage -o $@

CONTAINERD := github.com/containerd/containerd/v2
CONTAINERD_LDFLAGS = -s -w -X $(CONTAINERD)/version.Version=$(call version_of,$(CONTAINERD)) -X $(CONTAINERD)/version.Revision= -X $(CONTAINERD)/version.Package=$(CONTAINERD)
CONTAINERD_TAGS := urfave_cli_no_docs static_build osusergo netgo no_btrfs no_zfs no_devmapper no_tracing

$(STAGE)/containerd: go.mod
	@echo "build containerd $(call version_of,$(CONTAINERD))"
	@$(GOBUILD) -tags '$(CONTAINERD_TAGS)' -ldflags '$(CONTAINERD_LDFLAGS)' -o $@ $(CONTAINERD)/cmd/containerd

$(STAGE)/containerd-shim-runc-v2: go.mod
	@$(GOBUILD) -tags '$(CONTAINERD_TAGS) no_grpc' -ldflags '$(CONTAINERD_LDFLAGS)' -o $@ $(CONTAINERD)/cmd/containerd-shim-runc-v2

# The one that needs C: its first stage enters namespaces before Go's threads exist; seccomp filters are compiled by libseccomp.
$(STAGE)/runc: go.mod
	@echo "build runc $(call version_of,github.com/opencontainers/runc)"
	@CGO_ENABLED=1 $(GOBUILD) -buildmode=pie -tags 'seccomp urfave_cli_no_docs netgo osusergo' -ldflags '-s -w -linkmode external -extldflags -static-pie' -o $@ github.com/opencontainers/runc

HELM := helm.sh/helm/v3
HELM_LDFLAGS = -s -w -X $(HELM)/internal/version.version=$(call version_of,$(HELM)) -X $(HELM)/internal/version.metadata= \
	-X $(HELM)/pkg/lint/rules.k8sVersionMajor=1 -X $(HELM)/pkg/lint/rules.k8sVersionMinor=$(K8S_MINOR) \
	-X $(HELM)/pkg/chartutil.k8sVersionMajor=1 -X $(HELM)/pkg/chartutil.k8sVersionMinor=$(K8S_MINOR)

$(STAGE)/helm: go.mod
	@echo "build helm $(call version_of,$(HELM))"
	@$(GOBUILD) -ldflags '$(HELM_LDFLAGS)' -o $@ $(HELM)/cmd/helm

$(STAGE)/kubectl: go.mod hack/kubectl/main.go
	@echo "build kubectl $(K8S)"
	@$(GOBUILD) -ldflags '$(call kubectl_ldflags,$(K8S))' -o $@ ./hack/kubectl

PARTS := hivemindd hivemind-cni pause.tar containerd containerd-shim-runc-v2 runc kubectl helm

.PHONY: payload
payload: $(addprefix $(STAGE)/,$(PARTS))
	@$(GO) run ./hack/pack -from $(STAGE) -to $(PAYLOAD) $(PARTS)

.PHONY: bin/hivemind
bin/hivemind: payload
	@$(GOBUILD) -tags 'grpcnotrace payload' -ldflags '$(LDFLAGS)' -o $@ ./cmd/hivemind

build/tools/%: $(STAGE)/%
	@mkdir -p $(@D); cp $< $@

# What the clients' tests run beside the tools: Helm 4, kubectl of two minors earlier, a program on client-go of either age, and an operator.
# What is told its version is told it as those who ship it do.
HELM4    := $(shell sed -n 's,^.*helm.sh/helm/v4 \(v[^ ]*\).*,\1,p' test/clients/go.mod)
OLDER    := $(patsubst v0.%,v1.%,$(shell sed -n 's,^\tk8s.io/kubectl \(v[^ ]*\).*,\1,p' test/clients/older/go.mod))

build/clients/helm: FORCE
	@$(GOBUILD) -C test/clients -ldflags '-s -w -X helm.sh/helm/v4/internal/version.version=$(HELM4)' -o $(CURDIR)/$@ helm.sh/helm/v4/cmd/helm

build/clients/clientgo: FORCE
	@$(GOBUILD) -C test/clients -ldflags '-s -w' -o $(CURDIR)/$@ github.com/hivemind-project/hivemind/test/clients/older/clientgo

build/clients/operator: FORCE
	@$(GOBUILD) -C test/clients -ldflags '-s -w' -o $(CURDIR)/$@ ./operator

build/clients/kubectl: FORCE
	@$(GOBUILD) -C test/clients/older -ldflags '$(call kubectl_ldflags,$(OLDER))' -o $(CURDIR)/$@ ./kubectl

build/clients/clientgo-older: FORCE
	@$(GOBUILD) -C test/clients/older -ldflags '-s -w' -o $(CURDIR)/$@ ./clientgo
