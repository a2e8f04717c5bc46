//! Asking before something is removed. With --dry-run the cluster is asked instead: it checks the change as if it were made, and
//! changes nothing.

use crate::doris::{Answer, Connection, Outgoing};
use crate::output::printable_lines;
use anyhow::Context as _;
use clap::Args;
use std::io::{BufRead, Write};

#[derive(Clone, Args)]
pub struct ConfirmArguments {
    /// Say what would be done, or why the cluster would refuse it, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

/// Makes a change, once `what` has been said and agreed to. With --dry-run nothing is changed, and a change that the cluster would refuse is
/// an error all the same. `None`: there was nothing to do but to say so.
pub async fn change(connection: &Connection, arguments: &ConfirmArguments, what: &str, change: Outgoing) -> anyhow::Result<Option<Answer>> {
    if !arguments.dry_run {
        return match agreed(arguments, what)? {
            true => connection.anew().perform(&change).await.map(Some),
            false => Ok(None),
        };
    }
    eprintln!("{}", printable_lines(what));
    preview(connection, change).await.map(|()| None)
}

/// Says what the cluster would answer to a change; one that it would refuse is an error.
pub async fn preview(connection: &Connection, change: Outgoing) -> anyhow::Result<()> {
    let answer = connection.anew().perform_dry(change).await;
    let answer = answer.context("--dry-run: nothing was changed, and this would be refused")?;
    let said = match answer.result["existed"].as_bool() {
        Some(false) => "there is nothing to change",
        _ => "the cluster would do this",
    };
    eprintln!("--dry-run: nothing was changed; {said}");
    Ok(())
}

/// Whether to go on, once `what` has been said. Asks on standard error and reads the answer from standard input: no answer
/// is no.
pub fn agreed(arguments: &ConfirmArguments, what: &str) -> anyhow::Result<bool> {
    eprintln!("{}", printable_lines(what));
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
