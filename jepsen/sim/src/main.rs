//! `quorate-sim`: runs seeds of the simulation, one process each, and says which rule was broken where.

use clap::Parser;
use quorate_sim::{Fuzzer, Report};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

/// Each day has so many seeds of its own, behind those that are run everywhere.
const SEEDS_A_DAY: u64 = 1_000;
const SECONDS_A_DAY: u64 = 86_400;

/// Simulated clusters from seeds.
#[derive(Parser)]
#[command(name = "quorate-sim", version)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first of them.
    #[arg(long, visible_alias = "first-seed", default_value_t = 1)]
    from: u64,
    /// Those of today, which no other day has: the first of them is printed.
    #[arg(long, conflicts_with = "from")]
    of_the_day: bool,
    /// One seed only, with its trace on standard output.
    #[arg(long, conflicts_with_all = ["seeds", "from", "of_the_day"])]
    seed: Option<u64>,
    /// Seeds at a time; one per core unless said.
    #[arg(long)]
    jobs: Option<usize>,
    /// Where traces of broken seeds are left.
    #[arg(long, default_value = "target/sim")]
    out: PathBuf,
    /// Stop at the first broken seed.
    #[arg(long)]
    until_broken: bool,
    /// The summary as JSON.
    #[arg(long)]
    json: bool,
    /// A file the summary is written to as well, as JSON: for `jepsen sim`, which reads it.
    #[arg(long, hide = true)]
    summary: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    if Fuzzer::be_child()? {
        return Ok(ExitCode::SUCCESS);
    }
    #[cfg(feature = "mutants")]
    if let Err(why) = quorate_model::mutants::check() {
        eprintln!("quorate-sim: {why}");
        return Ok(ExitCode::from(2));
    }
    let arguments = Arguments::parse();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let from = match arguments.of_the_day {
        true => {
            anyhow::ensure!(
                arguments.seeds <= SEEDS_A_DAY,
                "a day has {SEEDS_A_DAY} seeds; name the first with --from"
            );
            first_of_the_day(SystemTime::now())
        }
        false => arguments.seed.unwrap_or(arguments.from),
    };
    if arguments.of_the_day {
        eprintln!(
            "seeds of the day; again: ./scripts/jepsen.sh sim --first-seed {from} --seeds {}",
            arguments.seeds
        );
    }
    let fuzzer = Fuzzer {
        program: std::env::current_exe()?,
        arguments: Vec::new(),
        from,
        seeds: arguments.seed.map_or(arguments.seeds, |_| 1),
        jobs: arguments.jobs.unwrap_or(cores),
        out: arguments.out,
        until_broken: arguments.until_broken,
    };
    let summary = fuzzer.run(|report| {
        if arguments.seed.is_some() {
            print!("{}", report.trace);
        }
        tell(report);
    })?;
    if let Some(path) = &arguments.summary {
        std::fs::write(path, serde_json::to_vec(&summary)?)?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        println!(
            "{} seeds in {:.0} s ({:.0} a minute): {} broken; {} s simulated, {} writes, {} checkpoints installed, slowest recovery {} ms",
            summary.seeds,
            summary.seconds,
            summary.seeds_per_minute,
            summary.broken.len(),
            summary.simulated_seconds,
            summary.writes,
            summary.checkpoints,
            summary.slowest_recovery_ms
        );
        println!("faults: {:?}", summary.faults);
    }
    Ok(if summary.broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The first seed of a day.
fn first_of_the_day(now: SystemTime) -> u64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    let day = since.map_or(0, |since| since.as_secs() / SECONDS_A_DAY);
    day * SEEDS_A_DAY
}

fn tell(report: &Report) {
    if let Some(broken) = &report.broken {
        let what = broken.what.lines().next().unwrap_or_default();
        eprintln!("seed {} breaks \"{}\": {what}", report.seed, broken.rule);
        eprintln!("  again: quorate-sim --seed {}", report.seed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_day_has_seeds_of_its_own() {
        let of = |day: u64, second: u64| first_of_the_day(SystemTime::UNIX_EPOCH + Duration::from_secs(day * SECONDS_A_DAY + second));
        assert_eq!(of(20_779, 0), of(20_779, SECONDS_A_DAY - 1), "the same all day");
        assert_eq!(of(20_780, 0) - of(20_779, 0), SEEDS_A_DAY);
    }

    #[test]
    fn the_first_seed_is_named_or_that_of_the_day() {
        let parse = |line: &[&str]| Arguments::try_parse_from(std::iter::once("quorate-sim").chain(line.iter().copied()));
        let named = parse(&["--first-seed", "20779000", "--seeds", "50"]).expect("what is printed can be run");
        assert_eq!((named.from, named.seeds, named.of_the_day), (20_779_000, 50, false));
        assert!(parse(&["--of-the-day", "--seeds", "50"]).is_ok_and(|arguments| arguments.of_the_day));
        assert!(parse(&["--of-the-day", "--from", "7"]).is_err());
        assert!(parse(&["--of-the-day", "--seed", "7"]).is_err());
    }
}
