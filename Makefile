# metallb-rs: the verbs of the repository. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
# Name of the cluster of `make cluster`.
ID ?= main
CLUSTER := $(CARGO) run --quiet --package e2e --bin cluster -- --id $(ID)

.PHONY: help demo test bench unit e2e fuzz lint fmt gen check-gen image deps control-plane cluster cluster-down deny clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Build everything, start a cluster, reach a Service from another host, cut the node, reach it again (KEEP=1 leaves the cluster up)
	@hack/demo.sh

test: ## Formatting, lints, unit and property tests, generated files, cluster tests
	@hack/test.sh

bench: ## Measure speed and size beside the API server's own limits; tables in target/bench (ARGS='--only PART')
	@hack/bench.sh $(ARGS)

unit: ## Unit and property tests: no cluster (the speaker's need root and make deps)
	$(CARGO) test --workspace --exclude e2e --quiet
	$(CARGO) test --package e2e --lib --bins --quiet

e2e: deps control-plane image ## Cluster tests only; ARGS='NAME --nocapture' selects
	$(CARGO) test --package e2e --test e2e -- $(ARGS)

fuzz: ## Fuzz everything that reads foreign input, SECONDS=600 per target (TARGET=compile for one; seeds are in fuzz/corpus)
	@SECONDS_EACH=$(or $(SECONDS),600) hack/fuzz.sh $(TARGET)

lint: ## clippy with warnings as errors
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings

fmt: ## Format the sources
	$(CARGO) fmt --all

gen: ## Write manifests/ from the code
	$(CARGO) run --quiet --package gen

check-gen: ## Fail when manifests/ is stale
	$(CARGO) run --quiet --package gen -- --check

image: ## Build target/image/metallb-rs.tar and print the image's name
	@hack/image/build.sh

deps: ## Install the Debian packages that the cluster needs (root)
	@hack/deps.sh

control-plane: ## Find or build the Kubernetes programs of the test cluster and print their folder
	@hack/control-plane/build.sh

cluster: deps control-plane image ## Start a cluster of three nodes and leave it running
	@$(CLUSTER) up

cluster-down: ## Remove the cluster of `make cluster` and whatever killed runs left (ID=demo for that of make demo KEEP=1)
	@$(CLUSTER) down

deny: ## Licences, bans and sources of every dependency (installs cargo-deny into target/tools)
	$(CARGO) install --quiet --locked --root target/tools cargo-deny
	target/tools/bin/cargo-deny check bans licenses sources

clean: ## Remove build output
	$(CARGO) clean
