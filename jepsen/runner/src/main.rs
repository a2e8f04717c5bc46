//! `jepsen`: breaks a cluster on purpose and says what held.

mod history;
mod seeded;
mod verdict;

fn main() {}
