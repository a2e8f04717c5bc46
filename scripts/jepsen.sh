#!/usr/bin/env bash
# Builds the fault tests and what they test, and runs them: scripts/jepsen.sh VERB ... (jepsen/README.md; --help).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/prepare.sh
install_missing "${FAULT_TOOLS[@]}"
use_target_cache
use_rocksdb_archive
cargo build --quiet --workspace --bins --lib --features quorate/failpoints,quorate/audit
exec "$CARGO_TARGET_DIR/debug/jepsen" "$@"
