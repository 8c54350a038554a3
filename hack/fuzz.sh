#!/usr/bin/env bash
# Runs fuzz targets one after the other, each for SECONDS_EACH (600): hack/fuzz.sh [TARGET...]; without names, all of them.
# What is found beyond the seeds of fuzz/corpus stays in fuzz/work; an input that breaks something is left in
# fuzz/artifacts/TARGET and ends the run with exit code 1. MERGE=1 keeps the smallest seeds with the same coverage instead.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

seconds=${SECONDS_EACH:-600}
tools=$PWD/../target/tools
version=0.13.2
if ! "$tools/bin/cargo-fuzz" --version 2>/dev/null | grep -q "$version"; then
    cargo install --quiet --locked --root "$tools" --version "$version" cargo-fuzz
fi
# The pinned compiler has all that is needed. No sanitizer: the only unsafe code is not behind a parser.
export RUSTC_BOOTSTRAP=1
fuzz() { "$tools/bin/cargo-fuzz" "$@"; }

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    mapfile -t targets < <(fuzz list --fuzz-dir .)
fi
failed=()
for target in "${targets[@]}"; do
    mkdir -p "work/$target" "artifacts/$target"
    if [ "${MERGE:-}" = 1 ]; then
        fresh=$(mktemp -d)
        fuzz run --fuzz-dir . --sanitizer none "$target" "$fresh" "corpus/$target" "work/$target" -- -merge=1 -max_len=4096
        # The smallest hundred are enough to start from.
        find "corpus/$target" -type f ! -name 'seed-*' -delete
        find "$fresh" -type f -printf '%s %p\n' | sort -n | head -n 100 | cut -d' ' -f2 | xargs -I{} cp {} "corpus/$target/"
        rm -rf "$fresh"
        continue
    fi
    printf '==> %s, %s s\n' "$target" "$seconds"
    fuzz run --fuzz-dir . --sanitizer none "$target" "work/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -max_len=8192 -timeout=20 -rss_limit_mb=2048 -dict=dictionary.txt \
        -artifact_prefix="artifacts/$target/" -print_final_stats=1 || failed+=("$target")
done
if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s; the inputs are in fuzz/artifacts\n' "${failed[*]}"
    exit 1
fi
