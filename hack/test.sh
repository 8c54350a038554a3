#!/usr/bin/env bash
# Everything `make test` checks, in the order in which a mistake shows soonest. The last line counts the tests.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
started=$SECONDS

step() { printf '\n==> %s (%d s)\n' "$1" "$((SECONDS - started))"; }

counts() {
    awk '/^test result: /{ for (i = 1; i < NF; i++) { if ($(i+1) ~ /^passed/) passed += $i; if ($(i+1) ~ /^failed/) failed += $i } }
         END { printf "%d passed, %d failed\n", passed, failed }' "$log"
}

# Runs a command, keeps its output for the count, and stops with the count when it fails.
run() {
    if ! "$@" 2>&1 | tee -a "$log"; then
        printf '\nfailed: %s\n' "$*"
        # A step without tests of its own counts as one failure.
        counts | awk '{ if ($3 == 0) $3 = 1; print }'
        exit 1
    fi
}

step "packages"
run hack/deps.sh
step "formatting"
run cargo fmt --all --check
step "lints"
run cargo clippy --workspace --all-targets --quiet -- -D warnings
step "unit and property tests, generated files, crate edges"
run cargo test --workspace --exclude e2e --quiet
run cargo test --package e2e --lib --bins --quiet
step "a hundred thousand histories of addresses"
# As plain a build as the rest would take a quarter of an hour for these.
METALLB_HISTORIES=100000 run cargo test --package controller --test histories --quiet \
    --config profile.dev.package.controller.opt-level=1 --config profile.dev.package.config.opt-level=1
step "Kubernetes programs"
run hack/control-plane/build.sh
step "images"
run hack/image/build.sh
step "cluster tests"
run cargo test --package e2e --test e2e
step "nothing outlives a cluster, however it ends"
run cargo test --package e2e --test lifecycle
step "done"
counts
