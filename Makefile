# Everything a developer or a CI does here. `make` lists it.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

# git describe says the version; git may refuse to tell go about a checkout of
# another owner, as in a container, and then nothing would build.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

GO       ?= go
HELM     := $(GO) tool -modfile=internal/tools/helm/go.mod helm
TOOL     := $(GO) tool -modfile=internal/tools/go.mod
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)
LAB_GO   := $(GO) run ./cmd/lab

# The lab that `make lab-up` makes. `make test-lab` and `make demo` have their own.
LAB      ?= default
# The lab that tests share; package lab has the same name.
TEST_LAB := test
# What `make test-lab` gives to go test besides; -short leaves out what takes minutes each.
LAB_FLAGS ?= -short
SHORT := $(findstring -short,$(LAB_FLAGS))
# What `make test-e2e` gives to go test besides.
E2E_FLAGS ?=
# How long `make fuzz` runs each target.
FUZZTIME ?= 10s
# Another vulnerability database for `make vuln`, such as file:///var/lib/vulndb.
VULN_DB  ?=
# What `make test-unit` tests.
PACKAGES       ?= ./...
# $(call tests,FILES) is an expression for the tests in those files: on the host a
# lab's targets leave out their packages' others, which test-unit ran.
tests           = ^($(shell grep -ho '^func Test[A-Za-z0-9]*' $(1) | cut -d ' ' -f 2 | grep -vx TestMain | sort -u | paste -sd '|'))$$
# What `make test-lab` tests inside the lab's network (files tagged lab), and inside a
# storage node, whole, as many of those tests want its file systems.
LAB_FILES      := $(shell grep -rl '^//go:build lab$$' --include='*_test.go' .)
GUEST_PACKAGES ?= ./internal/brick/
LAB_PACKAGES   ?= $(filter-out $(GUEST_PACKAGES),$(sort $(dir $(LAB_FILES))))
LAB_TESTS      ?= $(call tests,$(LAB_FILES))
# What `make test-k8s` tests in the lab's Kubernetes. The External Storage suite has a
# target of its own.
KUBE_FILES     := $(shell grep -rl '^//go:build kube && lab$$' --include='*_test.go' --exclude-dir=e2e .)
KUBE_PACKAGES  ?= $(sort $(dir $(KUBE_FILES)))
KUBE_TESTS     ?= $(call tests,$(KUBE_FILES))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/bricklayer, static, and kubectl's plug-in beside it, which is the same
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/bricklayer ./cmd/bricklayer
	ln -sf bricklayer bin/kubectl-bricklayer

# Lint and verify are not part of it: building the linter takes longer than
# the unit tests, and a finding about form must not hide one about behaviour.
# What test-k8s needs takes long to build; that is done meanwhile, with what the
# nodes of test-lab leave of the machine. Where it fails test-k8s says so. Nice is not
# enough: a kernel that groups processes by session (autogroup) weighs the groups.
.PHONY: test
test: test-unit test-alerts ## Run test-unit, then test-alerts, test-lab, test-k8s (root)
	@mkdir -p bin; \
	setsid sh -c 'echo 19 >/proc/self/autogroup || true; exec nice -n 19 $(MAKE) kube-parts' >bin/kube-parts.log 2>&1 & parts=$$!; \
	echo "make: Kubernetes is built meanwhile; see bin/kube-parts.log"; \
	trap 'kill -- -$$parts 2>/dev/null || true' EXIT; trap 'exit 130' INT TERM; \
	$(MAKE) test-lab; \
	$(MAKE) test-k8s

.PHONY: test-unit
test-unit: compiler ## Run the tests that need nothing but Go, with the race detector and the fuzz seeds
	$(GO) test -race -timeout 20m $(PACKAGES)

# The lab is taken down whatever happens, quietly, so that the closing lines are
# go test's. One package at a time: they share the lab.
.PHONY: test-lab
test-lab: promtool ## Bring up a lab of real storage nodes, run the tests that need one, take it down (root)
	@trap '$(LAB_GO) down --name $(TEST_LAB) >/dev/null 2>&1 || echo "make: the lab could not be taken down: try $(LAB_GO) down --name $(TEST_LAB)" >&2' EXIT; \
	trap 'exit 130' INT TERM; \
	$(LAB_GO) up --name $(TEST_LAB); \
	LAB_NAME=$(TEST_LAB) CGO_ENABLED=0 $(GO) test -tags lab -p 1 -count 1 -timeout 20m -v -exec $(CURDIR)/.ci/in-guest $(GUEST_PACKAGES); \
	$(GO) test -tags lab -p 1 -count 1 -timeout 40m -v $(LAB_FLAGS) -run '$(LAB_TESTS)' $(LAB_PACKAGES)

.PHONY: test-lab-long
test-lab-long: ## The same with the tests that take minutes each: heketi killed at its steps, storms on it
	@$(MAKE) test-lab LAB_FLAGS=

# What tests in the lab's Kubernetes need besides the lab and the image. It is built
# once, for some twenty minutes; a later run takes it from the caches. The External
# Storage suite takes some minutes more, and is for the targets that run it.
.PHONY: kube-parts
kube-parts:
	@mkdir -p bin
	@echo "make: building Helm"
	@$(GO) build -modfile=internal/tools/helm/go.mod -o bin/helm helm.sh/helm/v3/cmd/helm
	@$(MAKE) promtool
	@$(LAB_GO) build $(if $(SHORT),,--e2e)

define kube-lab
$(MAKE) kube-parts; \
trap '$(LAB_GO) down --name $(TEST_LAB) >/dev/null 2>&1 || echo "make: the lab could not be taken down: try $(LAB_GO) down --name $(TEST_LAB)" >&2' EXIT; \
trap 'exit 130' INT TERM; \
NAME=localhost/bricklayer VERSION=test deploy/image/build bin/image-test.tar; \
$(if $(SHORT),,NAME=localhost/bricklayer VERSION=test deploy/bench/build bin/image-bench-test.tar;) \
$(LAB_GO) up --name $(TEST_LAB) --heketi --kubernetes
endef

.PHONY: test-k8s
test-k8s: ## Test claims and pods in a lab with Kubernetes (root)
	@$(kube-lab); \
	$(GO) test -tags 'lab kube' -p 1 -count 1 -timeout 40m -v $(LAB_FLAGS) -run '$(KUBE_TESTS)' $(KUBE_PACKAGES); \
	$(if $(SHORT),,$(GO) test -tags 'lab kube' -count 1 -timeout 20m -v -short -run 'TestExternalStorage/plain' ./deploy/e2e;) \
	$(LAB_GO) down --name $(TEST_LAB); \
	$(if $(SHORT),,$(GO) test -tags kube -count 1 -timeout 20m -v -run 'TestKubernetes|TestDownOfHalfACluster' ./lab;) \
	$(GO) test -tags kube -count 1 -timeout 20m -v ./api/v1alpha1 ./internal/operator

.PHONY: test-k8s-long
test-k8s-long: ## The same with the lab's cluster itself, a few specs of the External Storage suite, 200 claims, 50 under kills, the benchmarks' Job, and beside the standard sidecars, which are built once
	@$(MAKE) test-k8s LAB_FLAGS=

# E2E_FLAGS=-short runs one spec of each kind.
.PHONY: test-e2e
test-e2e: ## Run Kubernetes' External Storage suite on the driver, for each class, in a lab of its own (root)
	@$(MAKE) kube-parts SHORT=; \
	$(kube-lab); \
	$(GO) test -tags 'lab kube' -count 1 -timeout 5h -v $(E2E_FLAGS) ./deploy/e2e

.PHONY: race
race: compiler ## Run the unit tests ten times with the race detector, in random order
	$(GO) test -race -count 10 -shuffle on -timeout 40m $(PACKAGES)

.PHONY: fuzz
fuzz: ## Fuzz each target for FUZZTIME (10s)
	@for pkg in $$(grep -rl '^func Fuzz' --include='*_test.go' . | xargs -r -n1 dirname | sort -u); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "fuzz $$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

.PHONY: lint
lint: ## Run the linters (.golangci.yml); the first run builds them, for some minutes
	$(TOOL) golangci-lint run ./...

.PHONY: fmt
fmt: ## Format the code
	$(TOOL) golangci-lint fmt ./...

.PHONY: fix
fix: ## Mend what the linters can mend by themselves
	$(TOOL) golangci-lint run --fix ./...

.PHONY: generate
generate: ## Write generated files anew: clients, protobuf code (needs protoc), docs/reference
	$(GO) generate ./...

.PHONY: verify
verify: ## Check that generating changes nothing and that go.mod is tidy
	@before=$$(.ci/tree-state); \
	$(MAKE) generate; \
	if [ "$$before" != "$$(.ci/tree-state)" ]; then \
		git status --short; echo "make: generated files were not up to date; they are now: look at them and commit" >&2; exit 1; \
	fi
	$(GO) mod tidy -diff
	$(GO) mod verify

# govulncheck's exit code does not tell an unreachable database from a finding.
.PHONY: vuln
vuln: ## Look for known vulnerabilities; needs vuln.go.dev, or VULN_DB=URL
	@out=$$(mktemp); trap 'rm -f "$$out"' EXIT; rc=0; \
	$(TOOL) govulncheck $(if $(VULN_DB),-db $(VULN_DB)) ./... >"$$out" 2>&1 || rc=$$?; \
	cat "$$out"; \
	if grep -q 'fetching vulnerabilities' "$$out"; then \
		echo "make: the vulnerability database could not be reached: NOTHING was checked. Name another with VULN_DB=URL (file:///DIR or https://HOST)." >&2; exit 2; \
	fi; \
	exit $$rc

.PHONY: lab-up
lab-up: ## Bring up a lab of three storage nodes, or mend it (root; LAB=name)
	$(LAB_GO) up --name $(LAB)

.PHONY: lab-down
lab-down: ## Take that lab down (LAB=name)
	$(LAB_GO) down --name $(LAB)

.PHONY: demo
demo: ## Image, lab, Kubernetes, chart; then a claim of each class from create to delete beside a volume made by hand (root)
	$(GO) run ./cmd/demo

.PHONY: bench
bench: ## Compare lvm false and true and volumes made by hand with fio, with disks unlimited and like an SSD, in a lab of its own (root)
	bench/in-lab full bin/bench

.PHONY: bench-quick
bench-quick: ## The same with few jobs, within five minutes (root)
	bench/in-lab quick bin/bench-quick

.PHONY: bench-go
bench-go: ## Compare the Go benchmarks with those of another commit (BASE, default the last tag); fails beyond 1.5 times
	bench/go-code $(BASE)

.PHONY: test-browser
test-browser: ## Open a report of the benchmarks in a real browser and look (chromium)
	$(GO) test -tags browser -count 1 -run InBrowser -v ./bench/report

.PHONY: test-alerts
test-alerts: promtool ## Test the alert rules and dashboards, ours and old ones, with Debian's Prometheus
	PATH="$$PATH:$(CURDIR)/bin/prometheus/usr/bin" $(GO) test -count 1 -v ./deploy/monitoring ./internal/doctor/dashboard

.PHONY: cross
cross: ## Compile the image's program for each of its platforms
	@for arch in amd64 arm64; do \
		echo "linux/$$arch"; \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o /dev/null ./cmd/bricklayer; \
	done

.PHONY: image
image: ## Build the container image into bin/image.tar, and what is in it into bin/image.sbom.json, with no registry (root)
	deploy/image/build bin/image.tar

# The plain manifests are the chart's, so that the two cannot differ.
.PHONY: chart
chart: ## Check the Helm chart and write deploy/manifests from it; the first run builds Helm
	@$(HELM) lint --strict deploy/helm/bricklayer
	@mkdir -p deploy/manifests
	$(HELM) template bricklayer deploy/helm/bricklayer --namespace bricklayer --kube-version 1.36.0 \
		--values deploy/manifests/values.yaml >deploy/manifests/bricklayer.yaml

.PHONY: clean
clean: ## Remove what was built here; labs and the image cache stay
	rm -rf bin

# The race detector needs a C compiler.
.PHONY: compiler
compiler:
	@command -v $$($(GO) env CC) >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "make: installing gcc for the race detector"; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get install -qq -y gcc libc6-dev >/dev/null || { apt-get update -qq && apt-get install -qq -y gcc libc6-dev >/dev/null; }; \
	else \
		echo "make: the race detector needs a C compiler: run apt-get install gcc libc6-dev" >&2; exit 1; \
	fi

# Only unpacked: installed, the package would start a Prometheus on this machine.
.PHONY: promtool
promtool:
	@PATH="$$PATH:$(CURDIR)/bin/prometheus/usr/bin"; command -v promtool >/dev/null && exit 0; \
	if ! command -v apt-get >/dev/null; then \
		echo "make: testing alerts needs promtool, which comes with Prometheus: put it into the PATH" >&2; exit 1; \
	fi; \
	echo "make: fetching promtool into bin/prometheus"; \
	mkdir -p bin/prometheus; cd bin/prometheus; \
	apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq; apt-get download -qq prometheus; }; \
	dpkg -x prometheus_*.deb .; rm -rf prometheus_*.deb usr/share/doc # which has Go files
