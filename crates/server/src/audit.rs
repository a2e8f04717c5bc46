//! `audit.log`: what this peer applied, line by line, never purged. For comparing peers and resolving unknown outcomes.
//!
//! ```text
//! loaded <index or -> <revision> .                               the state at start, or after a checkpoint was installed
//! <index> <term>.<peer> .                                        an entry without commands
//! <index> <term>.<peer> <command> <command> ... .                command = session.number:command number:hash:revision:result
//! ```
//! The result is 0 or the number of an error. A command that completes a task or expires a claim has `:job.task.fence` behind it.
//! A line without its last dot was torn by a crash; the next one is `loaded`.

use prost::Message;
use quorate_consensus::applier::{Audit, AuditEvent};
use quorate_state_machine::commands::{CompleteTask, ExpireClaim, Numbered};
use quorate_state_machine::frame::Frame;
use quorate_state_machine::{Answer, EntryInput, EntryKind, frame, session};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

/// Opens the file in `dir`, or begins it. Not synced: it outlives the process, not a power cut.
pub fn open(dir: &Path) -> io::Result<Audit> {
    let path = dir.join("audit.log");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    // Ends a torn line; the empty one it makes otherwise says nothing.
    file.write_all(b"\n")?;
    Ok(Box::new(move |event| {
        let text = match event {
            AuditEvent::Loaded { applied, revision } => {
                let applied = applied.map_or("-".to_owned(), |index| index.to_string());
                format!("loaded {applied} {revision} .\n", revision = revision.0)
            }
            AuditEvent::Applied { entries, answers } => entries.iter().zip(answers).map(|(entry, answers)| line(entry, answers)).collect(),
        };
        if let Err(error) = (&file).write_all(text.as_bytes()) {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }))
}

fn line(entry: &EntryInput, answers: &[Answer]) -> String {
    let at = entry.position;
    let mut line = format!("{} {}.{}", at.index, at.term, at.peer);
    if let EntryKind::Commands(payload) = &entry.kind {
        // What was just applied can be unpacked.
        let frames = frame::unpack(payload).map(|(_, frames)| frames).unwrap_or_default();
        for (frame, answer) in frames.iter().zip(answers) {
            let result = answer.body.as_ref().map_or_else(|error| error.code.row().number, |_| 0);
            let _ = write!(
                line,
                " {}.{}:{}:{:016x}:{}:{result}",
                frame.request.session.0,
                frame.request.number,
                frame.number,
                session::request_hash(frame),
                answer.revision.0
            );
            if let Some((job, task, fence)) = claim(frame) {
                let _ = write!(line, ":{job}.{task}.{fence}");
            }
        }
    }
    line + " .\n"
}

/// Job, task and fence of a command that completes a task or expires a claim: whether a task was completed once cannot be told from how many were.
fn claim(frame: &Frame) -> Option<(u64, u32, u64)> {
    if frame.number == CompleteTask::NUMBER {
        let command = CompleteTask::decode(frame.payload.clone()).ok()?;
        return Some((command.job, command.task, command.fence));
    }
    if frame.number == ExpireClaim::NUMBER {
        let command = ExpireClaim::decode(frame.payload.clone()).ok()?;
        return Some((command.job, command.task, command.fence));
    }
    None
}
