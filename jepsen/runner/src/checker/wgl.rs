//! The search of Wing, Gong and Lowe, by `porcupine-rs`, register by register: it looks at values alone and trusts none of
//! the product's numbers.
//!
//! The search can explode, so it runs in a child process (`jepsen wgl FILE`) that may use so much memory and time. A child
//! that does not come to an end has proved nothing.

use super::fates::{Fate, Fates};
use crate::contract::REFUSED;
use crate::history::{Kind, Op};
use crate::operation::{Operation, operations};
use crate::verdict::Verdict;
use anyhow::Context as _;
use porcupine_rs::{CheckResult, Model, check_operations_timeout};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const NAME: &str = "linearizable-registers";
/// Address space of the child.
const MEMORY_BYTES: u64 = 4 << 30;
/// Time of the child.
const SECONDS: u64 = 60;
/// By which it must have ended by itself.
const GRACE: Duration = Duration::from_secs(5);

/// What one operation does to a register; values are numbers, absence is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Read(Option<u64>),
    Write(Option<u64>),
    Cas(Option<u64>, Option<u64>),
    /// A compare-and-set that was refused: the register held something else.
    Mismatch(Option<u64>),
}

/// An operation of one register, between two moments.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Span {
    process: u32,
    from: i64,
    to: i64,
    action: Action,
}

/// By register.
type Registers = BTreeMap<String, Vec<Span>>;

#[derive(Clone, Copy)]
struct Register;

impl Model for Register {
    type State = Option<u64>;
    type Op = Action;
    type Metadata = ();

    fn init() -> Option<u64> {
        None
    }

    fn step(state: &Option<u64>, action: &Action) -> (bool, Option<u64>) {
        match *action {
            Action::Read(value) => (value == *state, *state),
            Action::Write(value) => (true, value),
            Action::Cas(old, new) if old == *state => (true, new),
            Action::Cas(..) => (false, *state),
            Action::Mismatch(old) => (old != *state, *state),
        }
    }
}

/// What the search came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Found {
    Linearizable,
    Illegal { register: String },
    Unknown { why: String },
}

pub fn check(history: &[Op], dir: &Path) -> Verdict {
    let registers = registers(history, Fates::read(dir).ok().as_ref());
    let count: usize = registers.values().map(Vec::len).sum();
    if count == 0 {
        return Verdict::unknown(NAME, "there was nothing to check");
    }
    let found = in_a_child(&registers, dir).unwrap_or_else(|error| Found::Unknown { why: format!("{error:#}") });
    verdict(found, &registers, count, history)
}

fn verdict(found: Found, registers: &Registers, count: usize, history: &[Op]) -> Verdict {
    match found {
        Found::Linearizable => Verdict::valid(
            NAME,
            format!(
                "{count} operations on {} registers are linearizable by their values alone",
                registers.len()
            ),
        ),
        Found::Unknown { why } => Verdict::unknown(NAME, why),
        Found::Illegal { register } => {
            let first = registers.get(&register).and_then(|spans| spans.iter().map(|span| span.from).min());
            let first = first.and_then(|first| history.get(first as usize)).map(|op| op.index);
            Verdict::invalid(
                NAME,
                first,
                format!("no order of the operations on register {register} explains their answers"),
            )
        }
    }
}

fn registers(history: &[Op], fates: Option<&Fates>) -> Registers {
    let mut registers = Registers::new();
    for operation in operations(history) {
        if let Some(action) = action(&operation, fates) {
            let end = operation.to();
            registers.entry(operation.input()[0].to_string()).or_default().push(Span {
                process: operation.process() as u32,
                from: operation.from() as i64,
                to: i64::try_from(end).unwrap_or(i64::MAX),
                action,
            });
        }
    }
    registers
}

/// What is known to have happened, or may have.
fn action(operation: &Operation<'_>, fates: Option<&Fates>) -> Option<Action> {
    let input = &operation.input()[1];
    // The logs shorten the search: what no peer executed did not happen.
    let may_be = || {
        !matches!(
            fates.and_then(|fates| fates.of_operation(operation)),
            Some(Fate::Never | Fate::Refused(..))
        )
    };
    let refused = || operation.error().is_some_and(|error| error.starts_with(REFUSED));
    match (operation.f(), operation.kind()) {
        ("read", Kind::Ok) => Some(Action::Read(operation.output()?[1].as_u64())),
        ("write", Kind::Ok) => Some(Action::Write(input.as_u64())),
        ("cas", Kind::Ok) => Some(Action::Cas(input[0].as_u64(), input[1].as_u64())),
        ("cas", Kind::Fail) if refused() => Some(Action::Mismatch(input[0].as_u64())),
        ("write", Kind::Info) if may_be() => Some(Action::Write(input.as_u64())),
        ("cas", Kind::Info) if may_be() => Some(Action::Cas(input[0].as_u64(), input[1].as_u64())),
        _ => None,
    }
}

fn in_a_child(registers: &Registers, dir: &Path) -> anyhow::Result<Found> {
    let file = dir.join("registers.json");
    std::fs::write(&file, serde_json::to_vec(registers)?).with_context(|| file.display().to_string())?;
    let program = std::env::current_exe()?;
    let mut child = Command::new(program)
        .arg("wgl")
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + Duration::from_secs(SECONDS) + GRACE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(Found::Unknown {
                why: format!("the search did not end within {SECONDS} s"),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if !status.success() {
        return Ok(Found::Unknown {
            why: format!("the search ended with {status}: more than {MEMORY_BYTES} bytes?"),
        });
    }
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().context("the child has an output")?, &mut said)?;
    Ok(serde_json::from_str(&said)?)
}

/// The child: searches, and prints what it found.
pub fn child(file: &Path) -> anyhow::Result<()> {
    let limit = Rlimit {
        current: Some(MEMORY_BYTES),
        ..getrlimit(Resource::As)
    };
    setrlimit(Resource::As, limit)?;
    let registers: Registers = serde_json::from_slice(&std::fs::read(file)?)?;
    println!("{}", serde_json::to_string(&search(&registers, Duration::from_secs(SECONDS)))?);
    Ok(())
}

/// Register after register: none of them depends on another, and this way the bad one has a name.
fn search(registers: &Registers, within: Duration) -> Found {
    let deadline = Instant::now() + within;
    for (register, spans) in registers {
        let operations: Vec<porcupine_rs::Operation<Register>> = spans.iter().map(as_porcupine).collect();
        let left = deadline.saturating_duration_since(Instant::now());
        match check_operations_timeout(&operations, left) {
            CheckResult::Ok => {}
            CheckResult::Illegal => {
                return Found::Illegal {
                    register: register.clone(),
                };
            }
            CheckResult::Unknown => {
                let why = format!("no answer within {within:?}; register {register} has {} operations", spans.len());
                return Found::Unknown { why };
            }
        }
    }
    Found::Linearizable
}

fn as_porcupine(span: &Span) -> porcupine_rs::Operation<Register> {
    porcupine_rs::Operation {
        client_id: Some(span.process),
        call_time: span.from,
        return_time: span.to,
        op: span.action,
        metadata: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::fates::by_hand::fates;
    use crate::operation::by_hand::Story;
    use serde_json::json;

    fn found(story: &Story) -> Found {
        search(&registers(&story.ops, None), Duration::from_secs(10))
    }

    fn good() -> Story {
        let mut story = Story::default();
        story.done(0, "write", json!([1, 10]), json!([1, 10]), 1);
        story.invoke(0, "write", json!([1, 20])).invoke(1, "read", json!([1, null]));
        story
            .ok(1, "read", json!([1, 10]), 1)
            .done(1, "read", json!([1, null]), json!([1, 20]), 2);
        story
            .ok(0, "write", json!([1, 20]), 2)
            .done(2, "cas", json!([1, [20, 30]]), json!([1, [20, 30]]), 3);
        story
            .invoke(3, "cas", json!([1, [20, 40]]))
            .fail(3, "cas", json!([1, [20, 40]]), "refused: precondition_failed");
        story
    }

    #[test]
    fn a_good_history_is_linearizable() {
        assert_eq!(found(&good()), Found::Linearizable);
    }

    #[test]
    fn a_stale_read_is_illegal() {
        let mut story = good();
        story.done(4, "read", json!([1, null]), json!([1, 20]), 3);
        assert_eq!(found(&story), Found::Illegal { register: "1".to_owned() });
    }

    #[test]
    fn a_lost_write_is_illegal() {
        let mut story = good();
        story.done(4, "write", json!([1, 50]), json!([1, 50]), 4);
        story.done(4, "read", json!([1, null]), json!([1, 30]), 4);
        assert_eq!(found(&story), Found::Illegal { register: "1".to_owned() });
    }

    #[test]
    fn a_write_that_took_effect_twice_is_illegal() {
        let mut story = good();
        story
            .done(4, "write", json!([1, 50]), json!([1, 50]), 4)
            .done(4, "write", json!([1, 60]), json!([1, 60]), 5);
        story.done(4, "read", json!([1, null]), json!([1, 50]), 6);
        assert_eq!(found(&story), Found::Illegal { register: "1".to_owned() });
    }

    #[test]
    fn a_refusal_that_no_state_explains_is_illegal() {
        let mut story = good();
        story
            .invoke(4, "cas", json!([1, [30, 70]]))
            .fail(4, "cas", json!([1, [30, 70]]), "refused: precondition_failed");
        assert_eq!(found(&story), Found::Illegal { register: "1".to_owned() });
    }

    #[test]
    fn what_may_have_happened_explains_an_answer_unless_the_logs_say_it_did_not() {
        let mut story = good();
        story
            .invoke(4, "write", json!([1, 80]))
            .info(4, "write", json!([1, 80]))
            .under(7, 1);
        story.done(5, "read", json!([1, null]), json!([1, 80]), 4);
        assert_eq!(found(&story), Found::Linearizable);
        let with_logs = registers(&story.ops, Some(&fates(&["7.2:20:1:0"])));
        assert_eq!(
            search(&with_logs, Duration::from_secs(10)),
            Found::Illegal { register: "1".to_owned() }
        );
    }

    #[test]
    fn a_search_without_time_has_proved_nothing() {
        let found = search(&registers(&good().ops, None), Duration::ZERO);
        assert!(matches!(found, Found::Unknown { .. } | Found::Linearizable), "{found:?}");
        let verdict = verdict(
            Found::Unknown { why: "late".to_owned() },
            &registers(&good().ops, None),
            7,
            &good().ops,
        );
        assert_eq!(verdict.valid, crate::verdict::Validity::Unknown);
    }

    #[test]
    fn the_first_operation_on_an_illegal_register_is_named() {
        let story = good();
        let verdict = verdict(
            Found::Illegal { register: "1".to_owned() },
            &registers(&story.ops, None),
            7,
            &story.ops,
        );
        assert_eq!((verdict.first_bad, verdict.valid), (Some(0), crate::verdict::Validity::Invalid));
    }
}
