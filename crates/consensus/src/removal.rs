//! Whether a member may leave: arithmetic over who votes and who answers, and nothing else.

use std::collections::BTreeSet;

/// What taking one member out of the cluster would come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovalPlan {
    pub peer: u64,
    /// A learner has no vote: its removal changes no quorum.
    pub is_voter: bool,
    pub voters_before: usize,
    pub voters_after: usize,
    /// Voters that stay and answer now.
    pub answering_after: usize,
    /// Voters that stay and do not answer.
    pub silent_after: BTreeSet<u64>,
}

impl RemovalPlan {
    /// The plan of removing `peer` from `voters`, of whom `answering` are heard from.
    pub fn new(peer: u64, voters: &BTreeSet<u64>, answering: &BTreeSet<u64>) -> RemovalPlan {
        let stay: BTreeSet<u64> = voters.iter().copied().filter(|voter| *voter != peer).collect();
        let silent_after: BTreeSet<u64> = stay.difference(answering).copied().collect();
        RemovalPlan {
            peer,
            is_voter: voters.contains(&peer),
            voters_before: voters.len(),
            voters_after: stay.len(),
            answering_after: stay.len() - silent_after.len(),
            silent_after,
        }
    }

    /// Votes that a decision needs afterwards.
    pub fn quorum_after(&self) -> usize {
        self.voters_after / 2 + 1
    }

    /// Whether nothing could be decided afterwards. The change itself is already decided by both quorums, so it would not
    /// even come to an end before a silent voter is back.
    pub fn loses_quorum(&self) -> bool {
        self.is_voter && self.answering_after < self.quorum_after()
    }

    /// Whether nobody would be left, which no force makes sense of.
    pub fn leaves_nobody(&self) -> bool {
        self.is_voter && self.voters_after == 0
    }

    /// The arithmetic in words.
    pub fn explanation(&self) -> String {
        if !self.is_voter {
            return format!(
                "peer {} is a learner: it has no vote, and the {} voters stay",
                self.peer, self.voters_before
            );
        }
        let silent: Vec<String> = self.silent_after.iter().map(u64::to_string).collect();
        let silent = match silent.as_slice() {
            [] => String::new(),
            peers => format!(" (not: {})", peers.join(", ")),
        };
        let survives = match self.answering_after.checked_sub(self.quorum_after()) {
            Some(spare) => format!("the cluster would survive {spare} more failures"),
            None => "nothing could be written or read until a silent voter is back".to_owned(),
        };
        format!(
            "of {} voters, {} would stay; a decision needs {} of them, and {} answer now{silent}: {survives}",
            self.voters_before,
            self.voters_after,
            self.quorum_after(),
            self.answering_after
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(peers: &[u64]) -> BTreeSet<u64> {
        peers.iter().copied().collect()
    }

    #[test]
    fn a_removal_loses_the_quorum_exactly_when_too_few_of_those_who_stay_answer() {
        let cases: &[(&[u64], &[u64], u64, bool)] = &[
            (&[1, 2, 3], &[1, 2, 3], 3, false),
            (&[1, 2, 3], &[1, 2], 3, false),
            // A healthy voter of three while another one is down: two stay, both are needed, one answers.
            (&[1, 2, 3], &[1, 2], 2, true),
            (&[1, 2, 3, 4], &[1, 2, 3], 3, false),
            (&[1, 2, 3, 4], &[1, 2], 2, true),
            (&[1, 2, 3, 4, 5], &[1, 2, 3], 3, true),
            (&[1, 2, 3, 4, 5], &[1, 2, 3], 5, false),
            (&[1, 2], &[1], 2, false),
            (&[1, 2], &[1], 1, true),
            // A learner has no say.
            (&[1, 2, 3], &[1], 4, false),
        ];
        for (voters, answering, peer, loses) in cases {
            let plan = RemovalPlan::new(*peer, &set(voters), &set(answering));
            assert_eq!(plan.loses_quorum(), *loses, "{peer} of {voters:?}, {answering:?} answer");
        }
    }

    #[test]
    fn the_last_voter_stays_and_a_learner_may_always_go() {
        assert!(RemovalPlan::new(1, &set(&[1]), &set(&[1])).leaves_nobody());
        assert!(!RemovalPlan::new(2, &set(&[1]), &set(&[1])).leaves_nobody());
        assert!(!RemovalPlan::new(2, &set(&[1, 2]), &set(&[1])).leaves_nobody());
    }

    #[test]
    fn the_arithmetic_is_told_with_its_numbers() {
        let plan = RemovalPlan::new(2, &set(&[1, 2, 3]), &set(&[1, 2]));
        assert_eq!(
            plan.explanation(),
            "of 3 voters, 2 would stay; a decision needs 2 of them, and 1 answer now (not: 3): nothing could be written or read \
             until a silent voter is back"
        );
        let plan = RemovalPlan::new(5, &set(&[1, 2, 3, 4, 5]), &set(&[1, 2, 3, 4, 5]));
        assert!(
            plan.explanation()
                .ends_with("4 answer now: the cluster would survive 1 more failures"),
            "{}",
            plan.explanation()
        );
    }
}
