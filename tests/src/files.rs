//! Files to import and to copy.

/// Bytes that no two numbers have in common, and that do not compress.
pub fn content(number: usize, size: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}
