//! The shapes of partitions: who no longer hears whom.

use crate::field::network::CLIENTS;
use crate::seeded::Random;
use std::collections::BTreeSet;

/// All shapes.
pub const MODES: &[&str] = &[
    "leader-in-minority",
    "halves",
    "isolate",
    "scatter",
    "deaf",
    "mute",
    "flapping",
    "cable",
    "reset",
    "clients",
    "ring",
    "bridge",
    "weak-bridge",
];
/// Of these, those that are something else, or nothing, among three nodes.
pub const NEED_FIVE: [&str; 3] = ["ring", "bridge", "weak-bridge"];
/// What one namespace no longer hears, and where it no longer gets through. Places count from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    pub place: usize,
    pub from: Vec<usize>,
    pub to: Vec<usize>,
}

impl Cut {
    /// Nothing between a place and these, either way.
    fn silence(place: usize, away: Vec<usize>) -> Cut {
        Cut {
            place,
            from: away.clone(),
            to: away,
        }
    }
}

/// Who no longer hears whom: what the first says does not reach the second.
pub fn pairs(cuts: &[Cut]) -> Vec<(String, String)> {
    let mut pairs = BTreeSet::new();
    for cut in cuts {
        pairs.extend(cut.from.iter().map(|from| (name(*from), name(cut.place))));
        pairs.extend(cut.to.iter().map(|to| (name(cut.place), name(*to))));
    }
    pairs.into_iter().collect()
}

fn name(place: usize) -> String {
    match place {
        CLIENTS => "clients".to_owned(),
        place => format!("n{place}"),
    }
}

/// A place whose cable is out: nobody hears it, and it hears nobody.
pub fn unplugged(place: usize, nodes: usize) -> Vec<Cut> {
    let others: Vec<usize> = (1..=nodes).filter(|other| *other != place).chain([CLIENTS]).collect();
    vec![Cut::silence(place, others)]
}

/// The shape of a mode in words, and its cuts. `leader` is a place.
pub fn cuts(mode: &str, leader: usize, nodes: usize, random: &mut Random) -> (String, Vec<Cut>) {
    let all: Vec<usize> = (1..=nodes).collect();
    let others = all_but(leader, &all);
    let shuffled = random.choose(others.len(), &others);
    let node = if random.chance(50) { leader } else { *random.pick(&all) };
    let nobody = Vec::new;
    match mode {
        "leader-in-minority" | "flapping" | "reset" => {
            let mut small = vec![leader];
            if mode == "leader-in-minority" {
                small.extend(&shuffled[..(nodes - 1) / 2 - 1]);
            }
            (format!("n{leader} leads among {small:?}"), between(&small, &all))
        }
        "halves" => {
            let half = random.choose(nodes / 2, &all);
            (format!("{half:?} and the rest, led by n{leader}"), between(&half, &all))
        }
        "isolate" => (format!("n{node} is alone"), between(&[node], &all)),
        "scatter" => {
            let alone = |place: &usize| Cut::silence(*place, all_but(*place, &all));
            ("everybody is alone".to_owned(), all.iter().map(alone).collect())
        }
        "deaf" => {
            let (place, from, to) = (node, all_but(node, &all), nobody());
            (format!("n{node} hears nobody"), vec![Cut { place, from, to }])
        }
        "mute" => {
            let (place, from, to) = (node, nobody(), all_but(node, &all));
            (format!("nobody hears n{node}"), vec![Cut { place, from, to }])
        }
        "clients" => {
            let away = random.choose(nodes / 2 + 1, &all);
            (format!("clients do not reach {away:?}"), vec![Cut::silence(CLIENTS, away)])
        }
        "ring" => {
            let ring: Vec<usize> = [leader].into_iter().chain(shuffled).collect();
            (format!("each hears its neighbours in {ring:?}"), ring_of(&ring))
        }
        "weak-bridge" => {
            let (bridge, lonely) = (shuffled[0], shuffled[1]);
            let shape = format!("n{leader} leads and hears n{bridge} only, n{lonely} is alone");
            (shape, weak_bridge(leader, bridge, lonely, &all))
        }
        // The leader on one side, and one node that both sides reach.
        _ => {
            let (near, bridge, far) = (shuffled[0], shuffled[1], &shuffled[2..]);
            let side = [leader, near];
            let cuts = between(&side, &[&side[..], far].concat());
            (format!("{side:?} and {far:?}, with n{bridge} between"), cuts)
        }
    }
}

fn all_but(place: usize, all: &[usize]) -> Vec<usize> {
    all.iter().copied().filter(|other| *other != place).collect()
}

/// The leader reaches the bridge only, without which nobody else is a majority: while its heartbeats keep the bridge from
/// voting, nobody can be elected (openraft issue 2080).
fn weak_bridge(leader: usize, bridge: usize, lonely: usize, all: &[usize]) -> Vec<Cut> {
    let hear = |one: usize, other: usize| {
        let pair = [one, other];
        !pair.contains(&lonely) && (!pair.contains(&leader) || pair.contains(&bridge))
    };
    let cut = |place: &usize| {
        let away = all_but(*place, all).into_iter().filter(|other| !hear(*place, *other));
        Cut::silence(*place, away.collect())
    };
    all.iter().map(cut).collect()
}

/// Both directions between `side` and the rest of `all`.
fn between(side: &[usize], all: &[usize]) -> Vec<Cut> {
    let cut = |place: &usize| {
        let inside = side.contains(place);
        let away: Vec<usize> = all.iter().copied().filter(|other| side.contains(other) != inside).collect();
        Cut::silence(*place, away)
    };
    all.iter().map(cut).collect()
}

/// Each is cut from all but the two beside it.
fn ring_of(ring: &[usize]) -> Vec<Cut> {
    let count = ring.len();
    let cut = |position: usize| {
        let beside = [ring[(position + 1) % count], ring[(position + count - 1) % count], ring[position]];
        let away: Vec<usize> = ring.iter().copied().filter(|other| !beside.contains(other)).collect();
        Cut::silence(ring[position], away)
    };
    (0..count).map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether what `from` says reaches `to`.
    fn reaches(cuts: &[Cut], from: usize, to: usize) -> bool {
        let stopped = |cut: &Cut| (cut.place == to && cut.from.contains(&from)) || (cut.place == from && cut.to.contains(&to));
        !cuts.iter().any(stopped)
    }

    /// Nodes that hear `node` and are heard by it, itself included.
    fn degree(cuts: &[Cut], node: usize) -> usize {
        (1..=5)
            .filter(|other| reaches(cuts, node, *other) && reaches(cuts, *other, node))
            .count()
    }

    #[test]
    fn every_shape_is_what_its_name_says() {
        for seed in 0..50 {
            let random = &mut Random::new(seed);
            let leader = 1 + seed as usize % 5;
            let minority = cuts("leader-in-minority", leader, 5, random).1;
            assert_eq!(degree(&minority, leader), 2);
            let ring = cuts("ring", leader, 5, random).1;
            assert!((1..=5).all(|node| degree(&ring, node) == 3), "{ring:?}");
            let bridge = cuts("bridge", leader, 5, random).1;
            let mut degrees: Vec<usize> = (1..=5).map(|node| degree(&bridge, node)).collect();
            degrees.sort_unstable();
            assert_eq!(degrees, [3, 3, 3, 3, 5], "{bridge:?}");
            assert_eq!(degree(&bridge, leader), 3, "the leader is not the bridge");
            let weak = cuts("weak-bridge", leader, 5, random).1;
            let mut degrees: Vec<usize> = (1..=5).map(|node| degree(&weak, node)).collect();
            assert_eq!(degree(&weak, leader), 2);
            degrees.sort_unstable();
            assert_eq!(degrees, [1, 2, 3, 3, 4], "{weak:?}");
            let scatter = cuts("scatter", leader, 5, random).1;
            assert!((1..=5).all(|node| degree(&scatter, node) == 1));
            let deaf = cuts("deaf", leader, 5, random).1;
            let node = deaf[0].place;
            assert!(
                (1..=5)
                    .filter(|other| *other != node)
                    .all(|other| !reaches(&deaf, other, node) && reaches(&deaf, node, other))
            );
            let three = cuts("leader-in-minority", 1, 3, random).1;
            assert!(!reaches(&three, 1, 2) && !reaches(&three, 3, 1) && reaches(&three, 2, 3));
        }
    }

    #[test]
    fn cuts_are_told_by_name_and_direction() {
        let told = |mode: &str, leader| pairs(&cuts(mode, leader, 3, &mut Random::new(1)).1);
        let has = |pairs: &[(String, String)], from: &str, to: &str| pairs.contains(&(from.to_owned(), to.to_owned()));
        let minority = told("leader-in-minority", 1);
        assert!(has(&minority, "n1", "n2") && has(&minority, "n3", "n1") && !has(&minority, "n2", "n3"));
        let deaf = told("deaf", 1);
        assert_eq!(deaf.len(), 2, "{deaf:?}");
        assert_eq!(deaf[0].1, deaf[1].1, "one node hears nobody");
        assert!(told("clients", 1).iter().any(|(from, _)| from == "clients"));
        let out = pairs(&unplugged(2, 3));
        assert!(has(&out, "n2", "clients") && has(&out, "n1", "n2") && !has(&out, "n1", "n3"));
    }
}
