//! Asking before something is removed.

use clap::Args;
use std::io::{BufRead, Write};

#[derive(Clone, Args)]
pub struct ConfirmArguments {
    /// Say what would be done and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

/// Whether to go on, once `what` has been said. Asks on standard error and reads the answer from standard input: no answer
/// is no.
pub fn agreed(arguments: &ConfirmArguments, what: &str) -> anyhow::Result<bool> {
    eprintln!("{what}");
    if arguments.dry_run {
        eprintln!("--dry-run: nothing was changed");
        return Ok(false);
    }
    if arguments.yes {
        return Ok(true);
    }
    eprint!("Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if is_yes(&answer) {
        return Ok(true);
    }
    anyhow::bail!("not confirmed, so nothing was changed; answer y, or pass --yes")
}

/// As [`agreed`], for what cannot be undone: the answer is `phrase` itself, and --yes does not stand for it.
pub fn agreed_by_typing(arguments: &ConfirmArguments, what: &str, phrase: &str) -> anyhow::Result<bool> {
    agreed_to_phrase(arguments.dry_run, false, what, phrase)
}

/// Whether `phrase` was typed, or `given` in advance by a flag that says what it stands for.
pub fn agreed_to_phrase(dry_run: bool, given: bool, what: &str, phrase: &str) -> anyhow::Result<bool> {
    eprintln!("{what}");
    if dry_run {
        eprintln!("--dry-run: nothing was changed");
        return Ok(false);
    }
    if given {
        return Ok(true);
    }
    eprint!("To go on, type `{phrase}`: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == phrase {
        return Ok(true);
    }
    anyhow::bail!("not confirmed, so nothing was changed; type `{phrase}`, --yes does not stand for it")
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, expected) in [
            ("y\n", true),
            ("YES", true),
            ("", false),
            ("\n", false),
            ("n", false),
            ("yes please", false),
        ] {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }
}
