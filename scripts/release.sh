#!/usr/bin/env bash
# Builds `quorate` the way a release is built: optimized by a profile of what it does under load. One build that counts, two
# minutes of load on its peers and their jobs, one build that goes by the counts: about 20 minutes on two cores.
#
#   scripts/release.sh               prints where the binary is
#
# `scripts/bench.sh --binary FILE` measures it.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
    "") ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "release.sh: unknown option $1; see --help" >&2; exit 64 ;;
esac
. scripts/prepare.sh
install_missing
use_target_cache
use_rocksdb_archive

# The target is named, so that the flags are not for build scripts too.
host=$(rustc -vV | sed -n 's/^host: //p')
target="$CARGO_TARGET_DIR/optimized"
binary="$target/$host/release/quorate"
work=$(mktemp -d -p "$CARGO_TARGET_DIR")
stop_peers() { [ ! -e "$work/peers/dev.json" ] || "$binary" dev stop --dir "$work/peers" >&2; }
trap 'stop_peers || true; rm -rf "$work"' EXIT

build() { # build RUSTFLAGS
    RUSTFLAGS="$1" CARGO_TARGET_DIR="$target" cargo build --release --package quorate --target "$host" >&2
}

# What deployments do: small writes of few and of many clients, reads, many instances over HTTP, snapshots and copies of files.
# Whatever never happens here is taken for rare, and made small instead of fast.
load() {
    local bench="$CARGO_TARGET_DIR/release/quorate-bench" token=load-of-the-release endpoints workload clients seconds
    "$binary" dev --dir "$work/peers" --base-port "${QUORATE_RELEASE_PORT:-18600}" --token "$token" --detach >&2
    endpoints=$(jq -r '[.[].public] | join(",")' "$work/peers/dev.json")
    while read -r workload clients seconds; do
        "$bench" run --system quorate --endpoints "$endpoints" --token "$token" --runs 1 \
            --workload "$workload" --clients "$clients" --seconds "$seconds" >&2
    done <<'END'
put 64 8
put 1 4
put 256 6
get 64 6
get-stale 64 3
mixed 64 6
END
    stop_peers
    "$bench" instances --quorate-bin "$binary" --dir "$work/instances" --instances 300 --seconds 5 >&2
    "$bench" jobs --quorate-bin "$binary" --dir "$work/jobs" --small-files 2000 --large-files 1 --segments 20000 --runs 1 >&2
}

profdata="$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata"
[ -x "$profdata" ] || rustup component add llvm-tools >&2
cargo build --release --package quorate-bench >&2
# Always under the same names: cargo builds anew what has other flags.
rm -rf "$target/counts"
build "-Cprofile-generate=$target/counts"
load
"$profdata" merge --output="$target/profile" "$target/counts"
build "-Cprofile-use=$target/profile"
echo "$binary"
