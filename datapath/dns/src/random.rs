//! Numbers that nobody can guess.

/// 32 random bits.
pub(crate) fn u32() -> u32 {
    // The kernel's generator fails only before it is seeded, or where seccomp bars it.
    getrandom::u32().unwrap_or_else(|_| {
        use std::hash::{BuildHasher as _, Hasher as _};
        let hasher = std::collections::hash_map::RandomState::new().build_hasher();
        hasher.finish() as u32
    })
}
