#!/usr/bin/env bash
# Sourced by the other scripts: installs what a Debian machine with Rust lacks, and makes RocksDB compile once.
# RocksDB takes about 13 minutes on two cores. Its archive does not depend on our build flags, so the first build leaves it
# in a cache that every later build links: other profiles, other features, a release.

# What fault injection uses beside the kernel; `jepsen doctor` says what each is for.
FAULT_TOOLS=(ip:iproute2 nft:nftables iptables:iptables tc:iproute2 losetup:mount mkfs.ext4:e2fsprogs)

need() { # need COMMAND-OR-FILE PACKAGE...
  local probe=$1
  shift
  { [ -e "$probe" ] || command -v "$probe" >/dev/null 2>&1; } && return 0
  missing+=("$@")
}

install_missing() {
  missing=()
  need g++ g++
  need make make
  need curl curl
  need jq jq
  ls /usr/lib/llvm-*/lib/libclang.so* >/dev/null 2>&1 || missing+=(libclang-dev)
  for extra in "$@"; do need "${extra%%:*}" "${extra##*:}"; done
  [ ${#missing[@]} -eq 0 ] || install_packages
}

install_packages() { # those in the list `missing`
  local sudo=""
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  echo "installing ${missing[*]}"
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq "${missing[@]}" >/dev/null
}

use_target_cache() {
  if [ -z "${CARGO_TARGET_DIR:-}" ]; then
    export CARGO_TARGET_DIR="${XDG_CACHE_HOME:-$HOME/.cache}/quorate-target"
  fi
  mkdir -p "$CARGO_TARGET_DIR"
}

use_rocksdb_archive() {
  [ -n "${ROCKSDB_LIB_DIR:-}" ] && return 0
  local version archive built
  version=$(grep -A1 '^name = "librocksdb-sys"' Cargo.lock | sed -n 's/^version = "\(.*\)"/\1/p')
  archive="${XDG_CACHE_HOME:-$HOME/.cache}/quorate-rocksdb/$version-$(uname -m)"
  if [ ! -f "$archive/librocksdb.a" ]; then
    echo "building RocksDB once (about 13 minutes on two cores; later builds reuse it)"
    cargo build --quiet --package quorate-storage
    built=$(ls -t "$CARGO_TARGET_DIR"/debug/build/librocksdb-sys-*/out/librocksdb.a | head -1)
    mkdir -p "$archive"
    cp "$built" "$archive/librocksdb.a.new"
    mv "$archive/librocksdb.a.new" "$archive/librocksdb.a"
  fi
  export ROCKSDB_LIB_DIR="$archive" ROCKSDB_STATIC=1
}

# The S3 server that the suite objects_s3 starts: from PyPI, in a directory of its own, with the versions it was written against.
install_s3_server() {
  export QUORATE_S3_SERVER="${QUORATE_S3_SERVER:-${XDG_CACHE_HOME:-$HOME/.cache}/quorate-s3-server/5.2.5/bin/moto_server}"
  [ -x "$QUORATE_S3_SERVER" ] && return 0
  local home
  home=$(dirname "$(dirname "$QUORATE_S3_SERVER")")
  if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
    missing=()
    need /nonexistent python3 python3-venv
    install_packages
  fi
  echo "installing an S3 server for tests"
  rm -rf "$home"
  python3 -m venv "$home"
  if ! "$home/bin/pip" install --quiet --disable-pip-version-check 'moto[s3]==5.2.5' 'flask==3.1.3' 'flask-cors==6.0.5' 'awscrt==0.38.1'; then
    rm -rf "$home"
    return 1
  fi
}
