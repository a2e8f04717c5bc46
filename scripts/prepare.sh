#!/usr/bin/env bash
# Sourced by the other scripts: installs what a Debian machine with Rust lacks, and makes RocksDB compile once.
# Its archive does not depend on our build flags, so the first build leaves it in a cache that every later build links: other
# profiles, other features, a release.

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
  local version archive started=$SECONDS
  version=$(grep -A1 '^name = "librocksdb-sys"' Cargo.lock | sed -n 's/^version = "\(.*\)"/\1/p')
  archive="${XDG_CACHE_HOME:-$HOME/.cache}/quorate-rocksdb/$version-$(uname -m)"
  if [ ! -f "$archive/librocksdb.a" ]; then
    mkdir -p "$archive"
    echo "building RocksDB once (about four minutes on two cores; later builds reuse it)"
    if ! build_rocksdb_in_groups "$archive/librocksdb.a.new" 2>"$archive/groups.log"; then
      echo "it could not be built in groups ($archive/groups.log); building it file by file, which takes twice as long"
      cargo build --quiet --package quorate-storage
      cp "$(ls -t "$CARGO_TARGET_DIR"/debug/build/librocksdb-sys-*/out/librocksdb.a | head -1)" "$archive/librocksdb.a.new"
    fi
    mv "$archive/librocksdb.a.new" "$archive/librocksdb.a"
    echo "built RocksDB in $((SECONDS - started)) s"
  fi
  export ROCKSDB_LIB_DIR="$archive" ROCKSDB_STATIC=1
}

crate_dir() { # crate_dir NAME: where cargo keeps its sources
  cargo metadata --format-version 1 --locked | jq -r --arg name "$1" '.packages[] | select(.name == $name).manifest_path' | xargs dirname
}

# What its crate's build script does on Linux, with 24 sources to a translation unit: the headers, which are most of the work, are
# read 15 times instead of 342. RocksDB is kept fit for that ("unity" in its Makefile). Where anything fails, cargo builds it.
build_rocksdb_in_groups() { # build_rocksdb_in_groups ARCHIVE
  local sources lz4 work
  sources=$(crate_dir librocksdb-sys) && lz4=$(crate_dir lz4-sys)/liblz4/lib && work=$(mktemp -d) || return 1
  local flags=(-O2 -fPIC -ffunction-sections -fdata-sections -std=c++20 -include cstdint -w
    -Irocksdb/include -Irocksdb -I. "-I$lz4" -DLZ4=1 -DNDEBUG=1 -DHAVE_ALIGNED_NEW -DHAVE_UINT128_EXTENSION
    -DOS_LINUX -DROCKSDB_PLATFORM_POSIX -DROCKSDB_LIB_IO_POSIX -DROCKSDB_SCHED_GETCPU_PRESENT
    -DROCKSDB_AUXV_GETAUXVAL_PRESENT -DROCKSDB_FALLOCATE_PRESENT -DROCKSDB_RANGESYNC_PRESENT)
  # The crate has a build_version.cc of its own.
  { sed 's|^|rocksdb/|' "$sources/rocksdb_lib_sources.txt" | grep -v '/util/build_version.cc$' && echo build_version.cc; } |
    sed 's|.*|#include "&"|' | split --lines 24 --additional-suffix .cc - "$work/group-" &&
    (cd "$sources" && printf '%s\n' "$work"/group-*.cc | xargs -P "$(nproc)" -I SOURCE g++ "${flags[@]}" -c SOURCE -o SOURCE.o) &&
    rm -f "$1" && ar crs "$1" "$work"/group-*.o && rm -r "$work"
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
