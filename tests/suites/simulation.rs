//! A few seeds of the simulated cluster (jepsen/sim); its own tests and `quorate-sim` run more.

use quorate_sim::Fuzzer;

/// Run by [`seeds_hold_every_rule`] in processes of its own.
#[test]
fn one_seed() {
    Fuzzer::be_child().expect("the seed runs and leaves its report");
}

#[test]
fn seeds_hold_every_rule() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let fuzzer = Fuzzer {
        program: std::env::current_exe().expect("known"),
        arguments: ["--exact", "one_seed", "--test-threads=1"].map(str::to_owned).to_vec(),
        from: 1,
        seeds: 8,
        jobs: 2,
        out: dir.path().to_owned(),
        until_broken: false,
    };
    let summary = fuzzer.run(|_| {}).expect("processes start");
    assert!(summary.broken.is_empty(), "{:#?}", summary.broken);
    assert!(
        summary.writes > 100 * fuzzer.seeds && summary.checkpoints > 0,
        "hardly anything happened: {summary:?}"
    );
}
