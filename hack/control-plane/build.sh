#!/usr/bin/env bash
# Finds or builds the Kubernetes programs of the test cluster and prints their directory as the last line of stdout.
#
#   KUBEBUILDER_ASSETS  ->  user cache  ->  built once from Go modules into that cache
#
# The version is the one go.mod requires. Progress goes to stderr. A build that was interrupted goes on where it stopped:
# each program is written to NAME.part and renamed when complete. Two builds at once wait for each other.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The apiserver first: it compiles most of what the others share, and it is what one misses first.
programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)

say() { printf 'control-plane: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

version=$(awk '$1 == "k8s.io/kubernetes" || ($1 == "require" && $2 == "k8s.io/kubernetes") { print $NF == "indirect" ? $(NF - 2) : $NF; exit }' "$here/go.mod")
[[ $version =~ ^v([0-9]+)\.([0-9]+)\.[0-9]+$ ]] || die "go.mod names no version of k8s.io/kubernetes (found '$version')"
major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}

# Prints the version a program reports, such as v1.36.1; nothing when it does not run.
version_of() {
    local program=$1
    case ${program##*/} in
    kubectl) "$program" version --client 2>/dev/null | sed -n 's/^Client Version: //p' ;;
    *) "$program" --version 2>/dev/null | sed -n 's/^Kubernetes //p' ;;
    esac
}

# True when the directory holds all six programs, each of this minor version.
usable() {
    local directory=$1 program found
    for program in "${programs[@]}"; do
        if [[ ! -x $directory/$program ]]; then
            reason="it has no $program"
            return 1
        fi
        found=$(version_of "$directory/$program")
        if [[ $found != "v$major.$minor."* ]]; then
            reason="its $program is '${found:-unknown}', needed is v$major.$minor"
            return 1
        fi
    done
}

reason=
if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
    if usable "$KUBEBUILDER_ASSETS"; then
        printf '%s\n' "$KUBEBUILDER_ASSETS"
        exit 0
    fi
    say "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS is not used: $reason"
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/metallb-rs/kubernetes/$version
mkdir -p "$cache"

# Everything in the cache was renamed into place by this script, so being there and executable is enough.
missing() {
    local program
    for program in "${programs[@]}"; do
        [[ -x $cache/$program ]] || printf '%s\n' "$program"
    done
}

if [[ -n $(missing) ]]; then
    exec 9>"$cache/.lock"
    if ! flock --nonblock 9; then
        say "another build is running, waiting for it"
        flock 9
    fi
fi

if [[ -n $(missing) ]]; then
    command -v go >/dev/null || die "go is not installed: install Go 1.26 or later, or set KUBEBUILDER_ASSETS to a directory with ${programs[*]}"
    export GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0
    stamp=k8s.io/component-base/version
    client=k8s.io/client-go/pkg/version
    flags="-s -w"
    for package in "$stamp" "$client"; do
        flags+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor"
        flags+=" -X $package.gitTreeState=clean -X $package.gitCommit=metallb-rs -X $package.buildDate=2026-01-01T00:00:00Z"
    done
    say "building Kubernetes $version once into $cache (about 10 minutes on two cores)"
    number=0
    for program in "${programs[@]}"; do
        number=$((number + 1))
        if [[ -x $cache/$program ]]; then
            say "[$number/${#programs[@]}] $program is there"
            continue
        fi
        say "[$number/${#programs[@]}] $program ..."
        start=$SECONDS
        # Descriptor 9 is the lock: a compiler left behind by an interruption must not hold it.
        (cd "$here" && go build -trimpath -ldflags "$flags" -o "$cache/$program.part" "k8s.io/kubernetes/cmd/$program") 9>&- ||
            die "building $program failed; run the command again, finished programs are kept"
        mv "$cache/$program.part" "$cache/$program"
        say "[$number/${#programs[@]}] $program $((SECONDS - start)) s"
    done
fi

printf '%s\n' "$cache"
