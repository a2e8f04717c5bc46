//! Asking before something is removed. With --dry-run the cluster is asked instead: it checks the change as if it were made, and
//! changes nothing.

use crate::doris::{Answer, Connection, Outgoing, not_found};
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

impl ConfirmArguments {
    /// Whether nothing is to be changed.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }
}

/// What a dry run says of a change that would be refused.
pub const WOULD_BE_REFUSED: &str = "--dry-run: nothing was changed, and this would be refused";

/// What it says when nobody has answered what the cluster would say.
pub const NOT_ANSWERED: &str = "--dry-run: nothing was changed, and whether this would be done is not known";

/// Makes a change, once `what` has been said and agreed to. With --dry-run nothing is changed: the answer is what the cluster would say, and
/// a change that it would refuse is an error all the same.
pub async fn change(connection: &Connection, arguments: &ConfirmArguments, what: &str, change: Outgoing) -> anyhow::Result<Answer> {
    eprintln!("{}", printable_lines(what));
    if arguments.dry_run {
        return preview(connection, change).await;
    }
    ask(arguments)?;
    connection.anew().perform(&change).await
}

/// What the cluster would answer to a change; one that it would refuse is an error.
pub async fn preview(connection: &Connection, change: Outgoing) -> anyhow::Result<Answer> {
    let answer = connection.anew().perform_dry(change).await;
    answer.context(WOULD_BE_REFUSED)
}

/// An error unless the cluster found the object that was to be dropped. A try that is repeated gets the first one's answer, so this is
/// never said of what an earlier try of the same command has dropped.
pub fn found(answer: &Answer, object: &str) -> anyhow::Result<()> {
    match answer.result["existed"].as_bool() {
        Some(false) => Err(missing(answer, &format!("{object} was not found"))),
        _ => Ok(()),
    }
}

/// The error about what is not there, in words that fit a dry run too.
pub fn missing(answer: &Answer, message: &str) -> anyhow::Error {
    let error = not_found(message);
    if answer.was_dry_run {
        error.context(WOULD_BE_REFUSED)
    } else {
        error
    }
}

/// Whether to go on, once `what` has been said; false in a dry run only.
pub fn agreed(arguments: &ConfirmArguments, what: &str) -> anyhow::Result<bool> {
    eprintln!("{}", printable_lines(what));
    if arguments.dry_run {
        eprintln!("--dry-run: nothing was changed");
        return Ok(false);
    }
    ask(arguments).map(|()| true)
}

/// Asks on standard error and reads the answer from standard input, unless it was given in advance. No answer is no.
fn ask(arguments: &ConfirmArguments) -> anyhow::Result<()> {
    if arguments.yes {
        return Ok(());
    }
    eprint!("Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if is_yes(&answer) {
        return Ok(());
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
    use serde_json::{Value as Json, json};

    #[test]
    fn what_was_not_there_is_an_error_that_names_it() {
        let refused = |result, was_dry_run| {
            let found = found(&Answer::by_hand(result, was_dry_run), "partition p of collection c");
            found.err().map(|error| format!("{error:#}"))
        };
        for result in [json!({"existed": true}), json!({"holds_files": false}), Json::Null] {
            assert_eq!(refused(result, false), None);
        }
        let told = refused(json!({"existed": false}), false).expect("it is an error");
        assert!(
            told.starts_with("partition p of collection c was not found (not_found); "),
            "{told}"
        );
        let told = refused(json!({"existed": false}), true).expect("it is one in a dry run, too");
        assert!(
            told.starts_with("--dry-run: nothing was changed") && told.contains("partition p"),
            "{told}"
        );
    }

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
