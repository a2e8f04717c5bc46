//! `jepsen sim`: the simulation, which is a program of its own because it takes the place of functions of libc.

use anyhow::{Context, bail};
use std::process::{Command, ExitCode};

/// Runs `quorate-sim`, which lies beside this program.
pub fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let own = std::env::current_exe().context("the path of this program")?;
    let program = own.with_file_name("quorate-sim");
    if !program.exists() {
        bail!("{} is absent; cargo build -p quorate-sim", program.display());
    }
    let status = Command::new(program).args(arguments).status()?;
    Ok(ExitCode::from(status.code().map_or(1, |code| code.clamp(0, 255) as u8)))
}
