//! The order in which a fault goes through its modes.

use crate::seeded::Random;

/// Each mode once in random order, then each again.
pub struct Modes {
    all: Vec<&'static str>,
    left: Vec<&'static str>,
}

impl Modes {
    pub fn new(all: Vec<&'static str>) -> Modes {
        Modes { left: Vec::new(), all }
    }

    pub fn next(&mut self, random: &mut Random) -> &'static str {
        if self.left.is_empty() {
            self.left = random.choose(self.all.len(), &self.all);
        }
        self.left.pop().expect("a fault has a mode")
    }

    /// That one could not be done now: it is the next again.
    pub fn put_back(&mut self, mode: &'static str) {
        self.left.push(mode);
    }
}
