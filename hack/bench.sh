#!/usr/bin/env bash
# make bench: what the product does in a cluster, then what its cores cost.
#
#   bench.sh                      everything; the tables are in target/bench/
#   bench.sh --only PART ...      one part of the cluster's figures: allocation, restart, churn, admission, failover
#   bench.sh --cores              only the cores (criterion: time; gungraun: instructions)
#
# The cluster's figures need root. They are taken with the image as users get it (release).
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n==> %s (%d s)\n' "$1" "$((SECONDS - started))" >&2; }
started=$SECONDS
out=target/bench
mkdir -p "$out"

cluster() {
    say "packages"
    hack/deps.sh
    say "Kubernetes programs"
    hack/control-plane/build.sh >/dev/null
    say "image"
    hack/image/build.sh >/dev/null
    say "cluster"
    cargo run --quiet --package e2e --bin bench -- "$@"
}

# The runner that counts instructions must be of the version the benchmarks were built with.
runner() {
    local version
    version=$(sed -n '/^name = "gungraun"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)
    if [[ $(target/tools/bin/gungraun-runner --version 2>/dev/null) != *" $version"* ]]; then
        say "gungraun-runner $version"
        cargo install --quiet --locked --root target/tools --version "$version" gungraun-runner
    fi
    export GUNGRAUN_RUNNER=$PWD/target/tools/bin/gungraun-runner
}

cores() {
    hack/deps.sh valgrind
    runner
    say "cores"
    cargo bench --quiet --package config --package controller --package speaker --package webhook --bench '*' 2>&1 | tee "$out/cores.txt"
}

case ${1:-} in
'') cluster && cluster --only failover && cores ;;
--cores) cores ;;
*) cluster "$@" ;;
esac
say "done; the tables are in $out"
