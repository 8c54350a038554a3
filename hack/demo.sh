#!/usr/bin/env bash
# make demo: from a fresh checkout to a client on another host that reaches a Service, also after a node is cut off.
# KEEP=1 leaves the cluster running.
set -euo pipefail
cd "$(dirname "$0")/.."

started=$SECONDS
step() { printf '\n==> %s (%d s)\n' "$1" "$((SECONDS - started))"; }

step "packages"
hack/deps.sh
step "Kubernetes programs"
hack/control-plane/build.sh
step "images"
hack/image/build.sh
step "test programs"
cargo build --package e2e --bins
cluster=${CARGO_TARGET_DIR:-target}/debug/cluster

leave() {
    code=$?
    trap - EXIT
    if [[ ${KEEP:-} == 1 ]]; then
        printf '\nThe cluster stays. `make cluster-down ID=demo` removes it. Commands on it:\n'
        printf '  %s --id demo kubectl get pods -A\n  %s --id demo exec client -- curl ...\n' "$cluster" "$cluster"
    else
        "$cluster" --id demo down || code=1
    fi
    exit "$code"
}
"$cluster" --id demo down >/dev/null
trap leave EXIT
trap 'exit 130' INT TERM HUP
step "cluster"
"$cluster" --id demo up
step "the product at work"
"${cluster%/cluster}/demo" --id demo
