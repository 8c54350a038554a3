#!/usr/bin/env bash
# Builds the images as docker-archives and prints the name of the product's image as the last line of stdout.
#
#   build.sh [metallb-rs] [pause] [web]      default: all
#
#   target/image/metallb-rs.tar   localhost/metallb-rs:<workspace version>   the product
#   target/image/pause.tar        localhost/pause:1                          sandbox of the test cluster's pods
#   target/image/web.tar          localhost/metallb-test-web:1               web server of the tests
#
# PROFILE=dev builds faster and bigger programs. Needs buildah, podman or docker; buildah and podman need no privileges.
# An image whose content did not change is not built again.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=$root/target/image
profile=${PROFILE:-release}

say() { printf 'image: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

host=$(rustc -vV | sed -n 's/^host: //p')
arch=${host%%-*}
# Always an explicit target: cargo then keeps these flags away from build scripts and procedural macros.
target=$arch-unknown-linux-gnu
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
[[ -n $version ]] || die "Cargo.toml has no version in [workspace.package]"

# Static programs: the image has no libc. Builds into a folder of its own and sets $programs to the built programs.
compile() {
    local build=$root/target/image-build/$1 flags=CARGO_TARGET_${target^^}_RUSTFLAGS
    shift
    flags=${flags//-/_}
    # The linker's remark on getaddrinfo in static programs does not apply: files and DNS are inside glibc since 2.34.
    (cd "$root" && env CARGO_TARGET_DIR="$build" "$flags=-C target-feature=+crt-static" \
        "${CARGO:-cargo}" build --quiet --locked --profile "$profile" --target "$target" "$@" >&2) ||
        die "cargo build $* failed"
    local folder=$profile
    [[ $profile == dev ]] && folder=debug
    programs=$build/$target/$folder
}

# Writes $out/NAME.tar from a context folder with Containerfile and rootfs/.
pack() {
    local name=$1 image=$2 context=$3 sum archive=$out/$1.tar
    sum=$(cd "$context" && {
        find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
        find . -type l -printf '%p %l\n' | LC_ALL=C sort
        printf '%s\n' "$image"
    } | sha256sum | cut -d' ' -f1)
    if [[ -f $archive && $(cat "$out/$name.sum" 2>/dev/null) == "$sum" ]]; then
        say "$image is up to date"
        return
    fi
    rm -f "$archive" "$out/$name.sum" "$archive.part"
    if command -v buildah >/dev/null; then
        local storage=$out/storage-$name
        local -x STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
        local -a tool=(buildah --root "$storage/root" --runroot "$storage/run")
        rm -rf "$storage"
        "${tool[@]}" build --quiet --timestamp 0 --tag "$image" --file "$context/Containerfile" "$context" >/dev/null
        "${tool[@]}" push --quiet "$image" "docker-archive:$archive.part:$image" >&2
        "${tool[@]}" rmi --all --force >/dev/null
        rm -rf "$storage"
    elif command -v podman >/dev/null; then
        podman build --quiet --timestamp 0 --tag "$image" --file "$context/Containerfile" "$context" >&2
        podman save --quiet --format docker-archive --output "$archive.part" "$image" >&2
    elif command -v docker >/dev/null; then
        docker build --quiet --tag "$image" --file "$context/Containerfile" "$context" >&2
        docker save --output "$archive.part" "$image"
    else
        die "neither buildah, podman nor docker is installed: run hack/deps.sh"
    fi
    mv "$archive.part" "$archive"
    printf '%s\n' "$sum" >"$out/$name.sum"
    say "$image -> target/image/$name.tar ($(($(stat -c %s "$archive") / 1000000)) MB)"
}

# A fresh context folder with a user for what runs in the image.
context() {
    local folder=$out/context/$1
    rm -rf "$folder"
    mkdir -p "$folder/rootfs/etc"
    printf 'root:x:0:0:root:/:\nnobody:x:65534:65534:nobody:/:\n' >"$folder/rootfs/etc/passwd"
    printf 'root:x:0:\nnobody:x:65534:\n' >"$folder/rootfs/etc/group"
    cp "$2" "$folder/Containerfile"
    printf '%s\n' "$folder"
}

put() {
    install -m 0755 "$1" "$2"
    # Release programs are stripped by their profile already.
    if [[ $profile != release ]] && command -v strip >/dev/null; then strip "$2"; fi
}

build_product() {
    local image=localhost/metallb-rs:$version folder name
    say "building metallb ($profile)"
    compile metallb-rs --package image
    folder=$(context metallb-rs "$root/hack/image/Containerfile")
    put "$programs/metallb" "$folder/rootfs/metallb"
    for name in controller speaker webhook operator; do
        ln -s metallb "$folder/rootfs/$name"
    done
    pack metallb-rs "$image" "$folder"
}

build_test_image() {
    local name=$1 image=$2 folder
    compile testimages --package testimages --bin "$name"
    folder=$(context "$name" "$root/tests/images/Containerfile")
    put "$programs/$name" "$folder/rootfs/program"
    pack "$name" "$image" "$folder"
}

mkdir -p "$out"
(($#)) || set -- pause web metallb-rs
for name in "$@"; do
    # One lock per image: the small test images do not wait for the product.
    exec 9>"$out/.$name.lock"
    flock 9
    case $name in
    metallb-rs) build_product ;;
    pause) build_test_image pause localhost/pause:1 ;;
    web) build_test_image web localhost/metallb-test-web:1 ;;
    *) die "unknown image '$name': choose from metallb-rs, pause, web" ;;
    esac
done
printf 'localhost/metallb-rs:%s\n' "$version"
