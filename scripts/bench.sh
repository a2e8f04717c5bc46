#!/usr/bin/env bash
# Compares Quorate with etcd on this machine: builds a release, starts three peers of each, prints a table, leaves JSON.
#
#   scripts/bench.sh                 the whole comparison (about an hour)
#   scripts/bench.sh --quick         two minutes; shows that everything works, not how fast it is
#   scripts/bench.sh --dir DIR ...   data, logs and result.json in DIR (new or empty); further options as in
#                                    `quorate-bench compare --help`
#   scripts/bench.sh --binary FILE ...
#                                    measures this `quorate`, for instance the one of scripts/release.sh, and builds only the load
#   scripts/bench.sh --instances ... 10,000 instances of 10 clusters of 20 nodes instead, without etcd; further options as in
#                                    `quorate-bench instances --help`
#   scripts/bench.sh --jobs ...      snapshots and copy jobs beside cp instead, without etcd; further options as in
#                                    `quorate-bench jobs --help`
#   scripts/bench.sh --growth ...    writes, reads, memory and disk from 1,000 to 10,000,000 records instead (about half an hour),
#                                    without etcd; further options as in `quorate-bench growth --help`
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
    echo "bench.sh: $*" >&2
    exit 1
}

find_etcd() {
    command -v etcd && return
    command -v apt-get >/dev/null || die "etcd is not installed and there is no apt-get; install etcd and put it on PATH"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "etcd is not installed; as root: apt-get install etcd-server"
        as_root=(sudo)
    fi
    echo "installing etcd-server" >&2
    "${as_root[@]}" apt-get update -qq >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq etcd-server >&2
    # The package starts a server of its own, which would take part in the measurement.
    if [ -d /run/systemd/system ]; then
        "${as_root[@]}" systemctl disable --now etcd >&2
    fi
    command -v etcd || die "etcd-server was installed, but etcd is not on PATH"
}

directory=""
json=""
binary=""
options=()
verb=compare
while [ $# -gt 0 ]; do
    case "$1" in
        --dir) directory="${2:?--dir needs a directory}"; shift 2 ;;
        --json) json="${2:?--json needs a file}"; shift 2 ;;
        --binary) binary="${2:?--binary needs a file}"; shift 2 ;;
        --instances) verb=instances; shift ;;
        --jobs) verb=jobs; shift ;;
        --growth) verb=growth; shift ;;
        -h | --help) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) options+=("$1"); shift ;;
    esac
done

if [ "$verb" = compare ]; then
    etcd_binary="$(find_etcd)"
    options=(--etcd-bin "$etcd_binary" ${options[@]+"${options[@]}"})
fi
. scripts/prepare.sh
install_missing
use_target_cache
use_rocksdb_archive
target="$CARGO_TARGET_DIR/release"
if [ -n "$binary" ]; then
    [ -x "$binary" ] || die "$binary is no program; build one with scripts/release.sh"
    cargo build --release -p quorate-bench >&2
else
    binary="$target/quorate"
    cargo build --release -p quorate -p quorate-bench >&2
fi
# Not in a memory file system: a sync that costs nothing is not what is measured.
if [ -z "$directory" ]; then
    mkdir -p target
    directory="$(mktemp -d -p "$PWD/target")"
    # Also after a failure: `--jobs` and `--growth` take tens of GiB.
    trap 'find "$directory" -mindepth 1 -maxdepth 1 ! -name result.json -exec rm -rf {} +' EXIT
fi
json="${json:-$directory/result.json}"

"$target/quorate-bench" "$verb" --quorate-bin "$binary" --dir "$directory" --json "$json" \
    ${options[@]+"${options[@]}"}
echo "JSON: $json"
