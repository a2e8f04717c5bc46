//! Clients of the product's own: each writes, writes on condition, and reads a few registers.

use super::INSTANCE;
use crate::entropy::Dice;
use crate::front;
use crate::invariants::RegisterFloor;
use crate::peer::name;
use crate::world::World;
use quorate_client::{Client, ClientError, ErrorCode, Outcome, Read};
use std::sync::Arc;
use std::time::Duration;

const REGISTERS: u64 = 3;

struct User {
    world: Arc<World>,
    number: usize,
    dice: Dice,
    client: Client,
    /// A client for each peer alone.
    single: Vec<Client>,
    written: u64,
    /// The revision this client last saw each register at.
    known: [u64; REGISTERS as usize],
    /// Whether it was answered about the instance: what it reads from then on is of no state without it.
    has_seen_instance: bool,
}

/// Writes and reads until the run is over.
pub async fn run(world: Arc<World>, number: usize) -> turmoil::Result {
    let client = front::client((0..world.plan.founders).map(name));
    let mut user = User {
        world: world.clone(),
        number,
        dice: Dice::new(),
        client,
        single: (0..world.plan.hosts())
            .map(|position| front::client([name(position)].into_iter()))
            .collect(),
        written: 0,
        known: [0; REGISTERS as usize],
        has_seen_instance: false,
    };
    while !user.world.is_over() {
        let register = user.dice.roll(REGISTERS);
        match user.dice.roll(10) {
            0..3 => user.put(register, false).await,
            3..5 => user.put(register, true).await,
            5..8 => user.read(register, false).await,
            8 => user.read(register, true).await,
            _ => user.read_stale(register).await,
        }
        tokio::time::sleep(Duration::from_millis(user.dice.roll(60))).await;
    }
    Ok(())
}

impl User {
    async fn put(&mut self, number: u64, conditional: bool) {
        let register = format!("register{number}");
        self.written += 1;
        let value = format!("{}-{}", self.number, self.written);
        let floor = self.world.register_write_begins(&register, &value);
        let expected = conditional.then_some(self.known[number as usize]);
        let was_there = self.world.is_instance_there();
        let result = match expected {
            None => self.client.put(INSTANCE, &register, value.clone()).await,
            Some(expected) => self.client.put_if(INSTANCE, &register, value.clone(), expected).await,
        };
        match result {
            Ok(answer) => {
                self.known[number as usize] = answer.revision;
                self.has_seen_instance = true;
                self.world
                    .register_written(self.number, &register, &value, answer.revision, floor, expected);
            }
            Err(error) if error.outcome() == Outcome::NotApplied => {
                self.world.note(format!("register client {}: {error}", self.number));
                self.world.register_refused(&register, &value);
                if error.code() == Some(ErrorCode::PreconditionFailed) {
                    self.condition_failed(&register, &value, expected);
                }
                self.refused(was_there, &error);
            }
            Err(error) => self.world.note(format!("register client {}: {error}", self.number)),
        }
    }

    /// What the state said no to must have been so.
    fn condition_failed(&self, register: &str, value: &str, expected: Option<u64>) {
        match expected {
            Some(expected) => self.world.register_outdated(register, value, expected),
            None => {
                let what = format!("{value} was refused for a condition it did not have");
                self.world.broken("a write is executed in the end", what);
            }
        }
    }

    fn refused(&self, was_there: bool, error: &ClientError) {
        if let Some(code) = error.code() {
            self.world
                .call_refused(was_there, code, &format!("register client {}", self.number));
        }
    }

    /// Reads what is newest, or whatever a peer has that is not older than what this client has seen.
    async fn read(&mut self, number: u64, own: bool) {
        let register = format!("register{number}");
        let seen_before = RegisterFloor {
            revision: self.client.last_revision(),
            written_after: None,
        };
        let (how, floor, was_there) = match own {
            true => (Read::at_least(seen_before.revision), seen_before, self.has_seen_instance),
            false => (
                Read::linearizable(),
                self.world.register_begins(&register),
                self.world.is_instance_there(),
            ),
        };
        let answer = match self.client.get(INSTANCE, &register, how).await {
            Ok(answer) => answer,
            Err(error) => return self.refused(was_there, &error),
        };
        self.has_seen_instance = true;
        let seen = answer
            .value
            .map(|attribute| (String::from_utf8_lossy(&attribute.value).into_owned(), attribute.revision));
        self.known[number as usize] = seen.as_ref().map_or(0, |(_, revision)| *revision);
        self.world.register_read(&register, seen, answer.revision, floor, !own);
    }

    /// Asks one peer for whatever it has.
    async fn read_stale(&mut self, number: u64) {
        let position = self.dice.roll(self.single.len() as u64) as usize;
        let floor = self.world.stale_begins(position);
        let client = self.single[position].with_deadline(Duration::from_millis(500));
        if let Ok(answer) = client.get(INSTANCE, &format!("register{number}"), Read::stale()).await {
            self.world.stale_answered(position, answer.revision, floor);
        }
    }
}
