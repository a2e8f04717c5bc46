//! The life of snapshots.
//!
//! ```text
//! shelf:  create -> pending -(reconciler)-> committed -> dropped          not dropped while pinned
//! image:  begin  -> pending -(commit or abort, one of them)-> committed | aborted -> dropped   not dropped while a clone is there
//! clone:  of a committed image -> dropped                                     shows the mark that the album had at the image's begin
//! ```
//! A clone that was dropped may go on holding its image until it has been collected.
//! [`SnapshotRules`] replay it by revision. [`check`] looks at values and real time alone: no id twice, no state behind the one
//! seen before, nothing seen after its drop, one drop, one end, no drop of what was pinned or had a clone all the while, and no
//! clone that shows first one thing and then another.

use super::witness::{Role, Rules};
use crate::history::{Kind, Op};
use crate::operation::{Operation, operations};
use crate::verdict::Verdict;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const NAME: &str = "snapshot-lifecycle";

/// A snapshot as the replay has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    is_image: bool,
    place: u64,
    name: String,
    state: &'static str,
    pins: BTreeSet<i64>,
    /// Pins whose number nobody was told.
    nameless_pins: u64,
    /// Of its album when it was begun.
    mark: Json,
    clones: BTreeSet<String>,
    /// They let go at some time.
    dropped_clones: u64,
}

impl Life {
    fn pins(&self) -> u64 {
        self.pins.len() as u64 + self.nameless_pins
    }
}

type Lives = BTreeMap<String, Life>;

/// All that there is, as the replay has it.
#[derive(Default)]
pub struct World {
    lives: Lives,
    /// By album.
    marks: BTreeMap<u64, Json>,
    /// What each clone shows.
    clones: BTreeMap<String, Json>,
}

/// The meaning of the operations on snapshots.
pub struct SnapshotRules;

fn text(operation: &Operation<'_>, position: usize) -> String {
    operation.input()[position].as_str().unwrap_or_default().to_owned()
}

/// The id that a snapshot made at a revision has.
fn id_of(revision: u64) -> String {
    format!("{revision:016x}0000")
}

impl Rules for SnapshotRules {
    type State = World;

    fn role(&self, operation: &Operation<'_>, output: Option<&Json>) -> Role {
        let found_nothing = |position: usize| output.is_some_and(|output| output[position] == json!(false));
        match operation.f() {
            "create-snapshot" | "pin-snapshot" | "begin-image" | "commit-image" | "abort-image" | "drop-image" => Role::Write,
            "mark-album" | "clone-image" | "drop-clone" => Role::Write,
            "drop-snapshot" if found_nothing(2) => Role::Read,
            "unpin-snapshot" if found_nothing(3) => Role::Read,
            "drop-snapshot" | "unpin-snapshot" => Role::Write,
            "list-snapshots" | "list-images" | "read-clone" => Role::Read,
            _ => Role::Other,
        }
    }

    fn step(&self, world: &mut World, operation: &Operation<'_>, output: Option<&Json>, revision: u64) -> Result<(), String> {
        match operation.f() {
            "mark-album" => drop(world.marks.insert(place(operation), operation.input()[1].clone())),
            "clone-image" => make_clone(world, operation)?,
            "read-clone" => output.map_or(Ok(()), |output| show_clone(world, operation, output))?,
            "drop-clone" => drop_clone(world, operation)?,
            "begin-image" => {
                let mark = world.marks.get(&place(operation)).cloned().unwrap_or(Json::Null);
                create(&mut world.lives, operation, output, revision, mark)?;
            }
            _ => self.step_of_snapshots(&mut world.lives, operation, output, revision)?,
        }
        Ok(())
    }

    fn explains(&self, world: &World, operation: &Operation<'_>) -> bool {
        let life = world.lives.get(&text(operation, 1));
        match operation.f() {
            // Who wants to read or drop a clone names it, not the image.
            "read-clone" | "drop-clone" => !world.clones.contains_key(&text(operation, 0)),
            "mark-album" => false,
            // Whether a clone that was dropped has let go, nobody is told.
            "drop-image" if life.is_some_and(|life| life.dropped_clones > 0) => true,
            // Whether the reconciler has committed yet, only a list tells: until then a pin may be refused.
            "pin-snapshot" if life.is_some_and(|life| life.state == "pending") => true,
            _ => obstacle(&world.lives, operation).is_some(),
        }
    }
}

impl SnapshotRules {
    fn step_of_snapshots(&self, lives: &mut Lives, operation: &Operation<'_>, output: Option<&Json>, revision: u64) -> Result<(), String> {
        match operation.f() {
            "create-snapshot" => create(lives, operation, output, revision, Json::Null),
            "list-snapshots" | "list-images" => output.map_or(Ok(()), |output| compare(lives, operation, output)),
            "unpin-snapshot" => unpin(lives, operation, output),
            "drop-snapshot" if self.role(operation, output) == Role::Read => match lives.contains_key(&text(operation, 1)) {
                true => Err("it was answered that there is no such snapshot, but there was".to_owned()),
                false => Ok(()),
            },
            _ => change(lives, operation, output),
        }
    }
}

/// The shelf or album.
fn place(operation: &Operation<'_>) -> u64 {
    operation.input()[0].as_u64().unwrap_or(u64::MAX)
}

fn make_clone(world: &mut World, operation: &Operation<'_>) -> Result<(), String> {
    if let Some(obstacle) = obstacle(&world.lives, operation) {
        return Err(obstacle);
    }
    let clone = text(operation, 2);
    if let Some(life) = world.lives.get_mut(&text(operation, 1)) {
        life.clones.insert(clone.clone());
        world.clones.insert(clone, life.mark.clone());
    }
    Ok(())
}

fn show_clone(world: &World, operation: &Operation<'_>, output: &Json) -> Result<(), String> {
    match world.clones.get(&text(operation, 0)) {
        None => Err("there was no such clone".to_owned()),
        Some(mark) if *mark != output[1] => Err(format!("the clone shows {}, its image was begun with {mark}", output[1])),
        Some(_) => Ok(()),
    }
}

fn drop_clone(world: &mut World, operation: &Operation<'_>) -> Result<(), String> {
    let clone = text(operation, 0);
    if world.clones.remove(&clone).is_none() {
        return Err("there was no such clone".to_owned());
    }
    if let Some(life) = world.lives.get_mut(&text(operation, 1)) {
        life.clones.remove(&clone);
        life.dropped_clones += 1;
    }
    Ok(())
}

fn create(lives: &mut Lives, operation: &Operation<'_>, output: Option<&Json>, revision: u64, mark: Json) -> Result<(), String> {
    let id = output
        .and_then(|output| output[2].as_str())
        .map_or_else(|| id_of(revision), str::to_owned);
    let life = Life {
        is_image: operation.f() == "begin-image",
        place: place(operation),
        name: text(operation, 1),
        state: "pending",
        pins: BTreeSet::new(),
        nameless_pins: 0,
        mark,
        clones: BTreeSet::new(),
        dropped_clones: 0,
    };
    if id != id_of(revision) {
        return Err(format!("its id is {id}, the snapshot of its revision has {}", id_of(revision)));
    }
    match lives.insert(id.clone(), life) {
        Some(_) => Err(format!("id {id} was given out before")),
        None => Ok(()),
    }
}

/// Why an operation cannot be done in this state. A reconciler commits at some time: whether it has, only a list tells.
fn obstacle(lives: &Lives, operation: &Operation<'_>) -> Option<String> {
    let life = lives.get(&text(operation, 1));
    let is_taken = || {
        lives
            .values()
            .any(|life| !life.is_image && life.place == operation.input()[0] && life.name == text(operation, 1))
    };
    match (operation.f(), life) {
        ("create-snapshot", _) => is_taken().then(|| "the name was taken".to_owned()),
        ("begin-image" | "list-snapshots" | "list-images" | "unpin-snapshot", _) => None,
        (_, None) => Some("there was no such snapshot".to_owned()),
        ("drop-snapshot" | "drop-image", Some(life)) if life.pins() > 0 => Some(format!("{} pins held it", life.pins())),
        ("drop-image", Some(life)) if !life.clones.is_empty() => Some(format!("{:?} read through it", life.clones)),
        ("clone-image", Some(life)) => (life.state != "committed").then(|| format!("it was {}", life.state)),
        ("drop-image", Some(life)) => (life.state == "pending").then(|| "it was pending".to_owned()),
        // All commits of an image say the same: one of them again is right.
        ("commit-image", Some(life)) => (life.state == "aborted").then(|| "it was aborted".to_owned()),
        ("abort-image", Some(life)) => (life.state == "committed").then(|| "it was committed".to_owned()),
        _ => None,
    }
}

fn change(lives: &mut Lives, operation: &Operation<'_>, output: Option<&Json>) -> Result<(), String> {
    if let Some(obstacle) = obstacle(lives, operation) {
        return Err(obstacle);
    }
    let id = text(operation, 1);
    match (operation.f(), lives.get_mut(&id)) {
        ("drop-snapshot" | "drop-image", _) => drop(lives.remove(&id)),
        ("commit-image", Some(life)) => life.state = "committed",
        ("abort-image", Some(life)) => life.state = "aborted",
        ("pin-snapshot", Some(life)) => {
            // Only what is committed can be pinned.
            life.state = "committed";
            match output.and_then(|output| output[2].as_i64()) {
                Some(pin) if !life.pins.insert(pin) => return Err(format!("pin {pin} was given out before")),
                Some(_) => {}
                None => life.nameless_pins += 1,
            }
        }
        _ => {}
    }
    Ok(())
}

fn unpin(lives: &mut Lives, operation: &Operation<'_>, output: Option<&Json>) -> Result<(), String> {
    let pin = operation.input()[2].as_i64().unwrap_or(0);
    let was_there = lives.get_mut(&text(operation, 1)).is_some_and(|life| life.pins.remove(&pin));
    let said = output.is_none_or(|output| output[3] == json!(true));
    match said == was_there {
        true => Ok(()),
        false => Err(format!("that the pin existed was answered {said}; it was {was_there}")),
    }
}

fn compare(lives: &mut Lives, operation: &Operation<'_>, output: &Json) -> Result<(), String> {
    let (is_images, place) = (operation.f() == "list-images", operation.input()[0].as_u64().unwrap_or(u64::MAX));
    let listed: BTreeMap<&str, &Json> = entries(output)
        .map(|entry| (entry[0].as_str().unwrap_or_default(), entry))
        .collect();
    for (id, life) in lives
        .iter_mut()
        .filter(|(_, life)| life.is_image == is_images && life.place == place)
    {
        let Some(entry) = listed.get(id.as_str()) else {
            return Err(format!("{id} is not listed, it was {}", life.state));
        };
        if !is_images && life.state == "pending" && entry[2] == "committed" {
            life.state = "committed";
        }
        if entry[2] != life.state || entry[3].as_u64() != Some(life.pins()) {
            return Err(format!(
                "{id} is listed as {entry}, it was {} with {} pins",
                life.state,
                life.pins()
            ));
        }
    }
    let is_known = |id: &&str| lives.get(*id).is_some_and(|life| life.is_image == is_images && life.place == place);
    match listed.keys().find(|id| !is_known(id)) {
        Some(id) => Err(format!("{id} is listed, and there was no such snapshot")),
        None => Ok(()),
    }
}

fn entries(output: &Json) -> impl Iterator<Item = &Json> {
    output[1].as_array().into_iter().flatten()
}

fn rank(state: &str) -> u8 {
    match state {
        "pending" => 0,
        "committed" | "aborted" => 1,
        _ => 2,
    }
}

type Broken = (u64, String);

/// The life of each snapshot by what was answered, in real time.
pub fn check(history: &[Op]) -> Verdict {
    let all = operations(history);
    let made = all
        .iter()
        .filter(|operation| operation.is_ok() && matches!(operation.f(), "create-snapshot" | "begin-image"));
    let mut ids: HashMap<&str, &Operation<'_>> = HashMap::new();
    for operation in made {
        let id = operation.output().and_then(|output| output[2].as_str()).unwrap_or_default();
        if let Some(other) = ids.insert(id, operation) {
            let what = format!("{} and {} both made {id}", other.name(), operation.name());
            return Verdict::invalid(NAME, Some(operation.from()), what);
        }
    }
    let lists: Vec<&Operation<'_>> = all
        .iter()
        .filter(|operation| operation.is_ok() && operation.f().starts_with("list-"))
        .collect();
    if ids.is_empty() || lists.is_empty() {
        return Verdict::unknown(NAME, format!("{} snapshots were made, {} lists read", ids.len(), lists.len()));
    }
    let broken = check_states(&lists)
        .or_else(|| check_drops(&all, &lists))
        .or_else(|| check_ends(&all))
        .or_else(|| check_pins(&all))
        .or_else(|| check_clones(&all));
    match broken {
        Some((index, what)) => Verdict::invalid(NAME, Some(index), what),
        None => {
            let what = format!("{} snapshots went their way once, as {} lists show", ids.len(), lists.len());
            Verdict::valid(NAME, what).with(json!({"snapshots": ids.len(), "lists": lists.len()}))
        }
    }
}

/// No list shows a state that comes before one which a list that had ended before showed, or the other of two ends.
fn check_states(lists: &[&Operation<'_>]) -> Option<Broken> {
    let mut by_end = lists.to_vec();
    by_end.sort_by_key(|list| list.to());
    let mut ended = by_end.into_iter().peekable();
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for list in lists {
        while let Some(before) = ended.next_if(|before| before.to() < list.from()) {
            for entry in before.output().into_iter().flat_map(entries) {
                let (id, state) = (entry[0].as_str().unwrap_or_default(), entry[2].as_str().unwrap_or_default());
                let highest = seen.entry(id).or_insert(state);
                if rank(state) > rank(highest) {
                    *highest = state;
                }
            }
        }
        for entry in list.output().into_iter().flat_map(entries) {
            let (id, state) = (entry[0].as_str().unwrap_or_default(), entry[2].as_str().unwrap_or_default());
            let before = seen.get(id).copied().unwrap_or("pending");
            if rank(state) < rank(before) || (rank(state) == rank(before) && state != before) {
                return Some((list.from(), format!("{} shows {id} {state}, it had been {before}", list.name())));
            }
        }
    }
    None
}

/// What was dropped is dropped once, and not seen in a list that began afterwards.
fn check_drops(all: &[Operation<'_>], lists: &[&Operation<'_>]) -> Option<Broken> {
    let mut dropped: HashMap<&str, &Operation<'_>> = HashMap::new();
    for operation in all.iter().filter(|operation| did_drop(operation)) {
        let id = operation.input()[1].as_str().unwrap_or_default();
        if let Some(other) = dropped.insert(id, operation) {
            return Some((
                operation.from(),
                format!("{} and {} both dropped it", other.name(), operation.name()),
            ));
        }
    }
    lists.iter().find_map(|list| {
        let shown = list.output().into_iter().flat_map(entries).filter_map(|entry| entry[0].as_str());
        let came_back = |id: &&str| dropped.get(*id).is_some_and(|operation| operation.to() < list.from());
        let id = shown.into_iter().find(came_back)?;
        Some((list.from(), format!("{} shows {id}, which had been dropped", list.name())))
    })
}

fn did_drop(operation: &Operation<'_>) -> bool {
    let existed = || operation.output().is_some_and(|output| output[2] == json!(true));
    operation.is_ok() && (operation.f() == "drop-image" || operation.f() == "drop-snapshot" && existed())
}

/// Of commit and abort one is acknowledged, as often as it is repeated.
fn check_ends(all: &[Operation<'_>]) -> Option<Broken> {
    let mut ends: HashMap<&str, &Operation<'_>> = HashMap::new();
    for operation in all
        .iter()
        .filter(|operation| operation.is_ok() && matches!(operation.f(), "commit-image" | "abort-image"))
    {
        let id = operation.input()[1].as_str().unwrap_or_default();
        match ends.insert(id, operation) {
            Some(other) if other.f() != operation.f() => {
                return Some((
                    operation.from(),
                    format!("{} and {} were both acknowledged", other.name(), operation.name()),
                ));
            }
            _ => {}
        }
    }
    None
}

/// A snapshot is not dropped while a pin is there: acknowledged before the drop began, and not taken away before it ended.
fn check_pins(all: &[Operation<'_>]) -> Option<Broken> {
    let is_pin = |operation: &&Operation<'_>| operation.is_ok() && operation.f() == "pin-snapshot";
    let pins: Vec<(&Operation<'_>, &Json)> = all.iter().filter(is_pin).filter_map(|pin| Some((pin, &pin.output()?[2]))).collect();
    let unpins: Vec<&Operation<'_>> = all
        .iter()
        .filter(|operation| operation.f() == "unpin-snapshot" && operation.kind() != Kind::Fail)
        .collect();
    for operation in all.iter().filter(|operation| did_drop(operation)) {
        let id = &operation.input()[1];
        for (pin, number) in pins.iter().filter(|(pin, _)| pin.input()[1] == *id && pin.to() < operation.from()) {
            let may_be_gone = |unpin: &&Operation<'_>| unpin.input()[2] == **number && unpin.from() < operation.to();
            if !unpins.iter().any(may_be_gone) {
                return Some((
                    operation.from(),
                    format!("{} was done while {} held it", operation.name(), pin.name()),
                ));
            }
        }
    }
    None
}

/// An image is not dropped while a clone is there: acknowledged before the drop began, and not dropped before it ended. A clone always
/// shows the same, and nothing after it was dropped.
fn check_clones(all: &[Operation<'_>]) -> Option<Broken> {
    let of = |f: &'static str| all.iter().filter(move |operation| operation.f() == f);
    let dropped: HashMap<&str, &Operation<'_>> = of("drop-clone")
        .filter(|drop| drop.kind() != Kind::Fail)
        .map(|drop| (drop.input()[0].as_str().unwrap_or_default(), drop))
        .collect();
    for drop in of("drop-image").filter(|drop| drop.is_ok()) {
        let held = of("clone-image").filter(|clone| clone.is_ok() && clone.input()[1] == drop.input()[1] && clone.to() < drop.from());
        for clone in held {
            let name = clone.input()[2].as_str().unwrap_or_default();
            if dropped.get(name).is_none_or(|dropped| dropped.from() > drop.to()) {
                let what = format!("{} was done while the clone of {} read through it", drop.name(), clone.name());
                return Some((drop.from(), what));
            }
        }
    }
    let mut shown: HashMap<&str, &Json> = HashMap::new();
    for read in of("read-clone") {
        let Some(output) = read.output() else { continue };
        let name = read.input()[0].as_str().unwrap_or_default();
        let first = *shown.entry(name).or_insert(&output[1]);
        if *first != output[1] {
            return Some((read.from(), format!("{} shows {}, it had shown {first}", read.name(), output[1])));
        }
        if dropped
            .get(name)
            .is_some_and(|dropped| dropped.is_ok() && dropped.to() < read.from())
        {
            return Some((read.from(), format!("{} reads what had been dropped", read.name())));
        }
    }
    None
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
