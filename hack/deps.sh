#!/usr/bin/env bash
# Installs the Debian packages the testbed, the image build and the demo need. Needs root; does nothing when all are there.
set -euo pipefail

packages=(
    # the cluster: datastore, container runtime, pod networking
    etcd-server containerd runc containernetworking-plugins
    # images
    buildah
    # networks and hosts
    nftables iproute2 conntrack procps util-linux
    # what tests and people look at the network with
    arping ndisc6 tcpdump curl iputils-ping
    # what the Rust build needs
    gcc libc6-dev
)
# More, as arguments: what only one of the callers needs.
packages+=("$@")

say() { printf 'deps: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null || true)
    [[ $status == ii* ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
    say "all ${#packages[@]} Debian packages are installed"
    exit 0
fi

[[ $EUID -eq 0 ]] || die "root is needed to install: ${missing[*]}"
command -v apt-get >/dev/null || die "apt-get is not here (this is made for Debian 12); install by hand: ${missing[*]}"

# The testbed starts its own containerd and etcd. Packages would start system services beside them: policy-rc.d with
# exit code 101 is Debian's way to forbid that while packages are being installed. An existing policy is the machine
# owner's and is respected.
policy=/usr/sbin/policy-rc.d
made_policy=
cleanup() {
    if [[ -n $made_policy ]]; then rm -f "$policy"; fi
}
trap cleanup EXIT
if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\n# Written by metallb-rs hack/deps.sh for the time of one installation.\nexit 101\n' >"$policy"
    chmod 0755 "$policy"
    made_policy=yes
fi

say "installing ${#missing[@]} Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >&2 || die "apt-get update failed; check the package sources and the network"
apt-get install -q -y --no-install-recommends "${missing[@]}" >&2 || die "apt-get install failed; see above"

# The packages enable their services for the next boot; those that were not here before stay off.
if [[ -d /run/systemd/system ]]; then
    for service in etcd containerd; do
        for package in "${missing[@]}"; do
            if [[ $package == "$service" || $package == "$service-server" ]]; then
                systemctl disable --quiet "$service.service" 2>/dev/null || say "note: could not disable $service.service"
            fi
        done
    done
fi
say "done"
