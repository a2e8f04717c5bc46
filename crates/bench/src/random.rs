//! Random bytes and key numbers, cheap enough not to show up in the load generator's CPU time.

use bytes::Bytes;

/// Size of every value written.
pub const VALUE_BYTES: usize = 256;

/// SplitMix64: passes the usual statistical tests, is one multiplication or two a word, and its bytes do not compress.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    pub fn value(&mut self) -> Bytes {
        let mut value = vec![0; VALUE_BYTES];
        self.fill(&mut value);
        Bytes::from(value)
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            word.copy_from_slice(&self.next_u64().to_le_bytes()[..word.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_differ_and_use_every_byte() {
        let mut random = Random::new(1);
        let mut seen = [false; 256];
        let mut last = Bytes::new();
        for _ in 0..200 {
            let value = random.value();
            assert_eq!(value.len(), VALUE_BYTES);
            assert_ne!(value, last);
            value.iter().for_each(|byte| seen[usize::from(*byte)] = true);
            last = value;
        }
        assert!(seen.iter().all(|seen| *seen));
        assert_ne!(Random::new(1).value(), Random::new(2).value());
    }
}
