//! `quorate gc abandon`: gives what is to be deleted from a vault up as lost.
//!
//! First every page is asked for as a dry run, so that it is said how much is forgotten before anybody agrees. What is condemned meanwhile
//! goes too: nothing is kept in the vault.

use crate::amounts::{counted, number};
use crate::api::{path, posting};
use crate::confirm::{self, ConfirmArguments, WOULD_BE_REFUSED};
use crate::context::Context;
use crate::doris::{Answer, Connection};
use crate::output::{self, text};
use anyhow::Context as _;
use serde_json::json;

/// What was forgotten, or would be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Forgotten {
    directories: u64,
    /// Those of them of which all was to be deleted.
    whole_directories: u64,
    /// Named in the others.
    files: u64,
    /// Of the last page.
    revision: String,
}

impl Forgotten {
    fn add(&mut self, page: &Answer) {
        self.directories += number(&page.result, "directories");
        self.whole_directories += number(&page.result, "whole_directories");
        self.files += number(&page.result, "files");
        self.revision.clone_from(&page.revision);
    }

    /// As one reply about all pages.
    fn answer(self, was_dry_run: bool) -> Answer {
        Answer {
            result: json!({
                "directories": self.directories.to_string(), "whole_directories": self.whole_directories.to_string(),
                "files": self.files.to_string()
            }),
            revision: self.revision,
            message: String::new(),
            was_dry_run,
        }
    }

    /// How much it is: of directories of which all was to go nobody knows what is there.
    fn amount(&self) -> String {
        let files = counted(self.files, "file");
        let directories = match self.directories {
            1 => "1 directory".to_owned(),
            count => format!("{count} directories"),
        };
        match self.whole_directories {
            0 => format!("{files} in {directories}"),
            whole => format!("{files}, and whatever is in {whole} of {directories}"),
        }
    }
}

/// Whether pages are only asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Preview,
    Forget,
}

pub async fn run(
    instance: &str,
    vault: &str,
    confirm: &ConfirmArguments,
    connection: &Connection,
    context: &Context,
) -> anyhow::Result<()> {
    let place = match vault {
        "" => "the peers' local vault".to_owned(),
        name => format!("vault {name} of instance {instance}"),
    };
    let planned = forget(connection, instance, vault, Deed::Preview).await;
    let planned = match confirm.is_dry_run() {
        true => planned.context(WOULD_BE_REFUSED)?,
        false => planned?,
    };
    if planned.directories == 0 {
        output::done(
            &context.output,
            &format!("nothing is to be deleted from {place}"),
            &planned.answer(confirm.is_dry_run()),
        );
        return Ok(());
    }
    let what = format!(
        "This forgets what is to be deleted from {place}: {}; sizes are not recorded. Nothing is deleted, and what is there after all stays \
         there unknown: do it only when the vault is gone for ever.",
        planned.amount()
    );
    if !confirm::agreed(confirm, &what)? {
        output::data_only(&context.output, planned.answer(true).result);
        return Ok(());
    }
    let forgotten = forget(connection, instance, vault, Deed::Forget).await?;
    let sentence = format!("{} of {place} given up as lost", forgotten.amount());
    output::done(&context.output, &sentence, &forgotten.answer(false));
    Ok(())
}

/// All pages.
async fn forget(connection: &Connection, instance: &str, vault: &str, deed: Deed) -> anyhow::Result<Forgotten> {
    let (path, by) = (path(&["instances", instance, "vault", "abandon"]), asked_by());
    let mut forgotten = Forgotten::default();
    let mut page_token = String::new();
    loop {
        let change = posting(&path, &json!({"vault": vault, "page_token": page_token, "by": by}));
        // Each page has its whole time: there may be many.
        let connection = connection.anew();
        let page = match deed {
            Deed::Preview => connection.perform_dry(change).await,
            Deed::Forget => connection.perform(&change).await,
        };
        let page = match (page, so_far(&forgotten, deed)) {
            (Err(error), Some(done)) => return Err(error.context(done)),
            (page, _) => page?,
        };
        forgotten.add(&page);
        page_token = text(&page.result, "next_page_token");
        if page_token.is_empty() {
            return Ok(forgotten);
        }
    }
}

/// What there is to say of the pages before one that failed.
fn so_far(forgotten: &Forgotten, deed: Deed) -> Option<String> {
    match (forgotten.directories, deed) {
        (0, _) | (_, Deed::Preview) => None,
        _ => Some(format!(
            "given up as lost so far: {}; the same command run again goes on",
            forgotten.amount()
        )),
    }
}

/// Who runs this, for the logs of the peers.
fn asked_by() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let by = format!("{}@{}", user.as_deref().unwrap_or("unknown"), machine.trim());
    by.chars().filter(|letter| !letter.is_control()).take(MOST_LETTERS).collect()
}

/// Of who asks: what the cluster takes of any text, if each letter has four bytes.
const MOST_LETTERS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_add_up_to_what_was_forgotten() {
        let mut forgotten = Forgotten::default();
        assert_eq!(so_far(&forgotten, Deed::Forget), None);
        for page in [
            json!({"directories": "2", "whole_directories": "1", "files": "5"}),
            json!({"directories": "1", "files": "1"}),
        ] {
            forgotten.add(&Answer::by_hand(page, false));
        }
        assert_eq!(forgotten.amount(), "6 files, and whatever is in 1 of 3 directories");
        assert_eq!(so_far(&forgotten, Deed::Preview), None);
        assert!(so_far(&forgotten, Deed::Forget).is_some_and(|told| told.contains("run again")));
        let answer = forgotten.answer(false);
        assert_eq!(answer.result, json!({"directories": "3", "whole_directories": "1", "files": "6"}));
        assert_eq!(answer.revision, "7");
        let one = Forgotten {
            directories: 1,
            files: 1,
            ..Forgotten::default()
        };
        assert_eq!(one.amount(), "1 file in 1 directory");
    }

    #[test]
    fn who_asks_is_a_text_that_the_cluster_takes() {
        let by = asked_by();
        assert!(by.contains('@') && by.len() <= 4 * MOST_LETTERS, "{by}");
    }
}
