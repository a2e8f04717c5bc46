#!/usr/bin/env bash
# Runs every check and every test. Changes no file of the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/prepare.sh
started=$SECONDS
step() { printf '\n== %s (%d s)\n' "$*" "$((SECONDS - started))"; }

step "tools"
install_missing perl:perl chattr:e2fsprogs "${FAULT_TOOLS[@]}"
use_target_cache
use_rocksdb_archive
install_s3_server

step "format"
cargo fmt --all --check

step "clippy"
cargo clippy --quiet --workspace --all-targets --features quorate/failpoints,quorate/audit -- --deny warnings

step "dependencies"
if command -v cargo-deny >/dev/null 2>&1; then
  cargo deny --offline --log-level error check bans licenses sources
else
  echo "SKIPPED: cargo-deny is not installed (cargo install cargo-deny --locked)"
fi

step "build"
cargo build --quiet --workspace --all-targets --features quorate/failpoints,quorate/audit

# The suites that harm peers have a step of their own; the step before leaves their tests out by name.
fault_suites=(--test crash --test failpoints --test audit)
fault_tests=$(cargo test --quiet --workspace --features quorate/failpoints,quorate/audit "${fault_suites[@]}" -- --list --format terse)
mapfile -t skip < <(sed -n 's/^\(.*\): test$/--skip\n\1/p' <<<"$fault_tests")

step "tests"
cargo test --no-fail-fast --workspace --features quorate/failpoints,quorate/audit -- --test-threads=2 "${skip[@]}"

step "fault injection: kill -9 (crash), death or a failing disk at every step (failpoints), one story in all logs (audit)"
cargo test --no-fail-fast --workspace --features quorate/failpoints,quorate/audit "${fault_suites[@]}" -- --test-threads=2

step "fault injection: real clusters under real faults (jepsen smoke; what this machine cannot do is said above its cells)"
"${CARGO_TARGET_DIR:-target}/debug/jepsen" smoke

step "fault injection: seeds of the simulation (any of them again: scripts/jepsen.sh sim --seed N)"
"${CARGO_TARGET_DIR:-target}/debug/jepsen" sim --seeds 10 --out "${CARGO_TARGET_DIR:-target}/jepsen/sim"

# Others each day; JEPSEN_FIRST_SEED takes those of another.
step "fault injection: seeds of the day (all of them again: JEPSEN_FIRST_SEED=N, which is said below)"
of_the_day=(--of-the-day)
[ -z "${JEPSEN_FIRST_SEED:-}" ] || of_the_day=(--first-seed "$JEPSEN_FIRST_SEED")
"${CARGO_TARGET_DIR:-target}/debug/jepsen" sim --seeds 50 "${of_the_day[@]}" --out "${CARGO_TARGET_DIR:-target}/jepsen/sim"

step "the test of the tests: the deliberate defects of the day are caught, one by seeds and one by a test"
"${CARGO_TARGET_DIR:-target}/debug/jepsen" mutants --rotating

step "done"
