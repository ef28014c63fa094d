//! Hashes that give the same number on every run, build and machine, so that a
//! pod keeps its address, names and identity without anyone remembering them.

use sha2::{Digest, Sha256};

/// The 64-bit hash of `parts` for one purpose. Purposes never collide with each
/// other, nor `["a", "bc"]` with `["ab", "c"]`.
pub(crate) fn hash64(purpose: &str, parts: &[&str]) -> u64 {
    let mut hasher = Sha256::new();
    for part in std::iter::once(&purpose).chain(parts) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

/// The first number of `0..len`, counted from the hash onwards and around, that
/// `is_free` accepts: linear probing.
pub(crate) fn probe(hash: u64, len: u32, mut is_free: impl FnMut(u32) -> bool) -> Option<u32> {
    let len = u64::from(len);
    let start = hash.checked_rem(len)?;
    (start..len)
        .chain(0..start)
        .map(|slot| u32::try_from(slot).expect("slots are below a u32"))
        .find(|&slot| is_free(slot))
}

#[cfg(test)]
mod tests {
    use super::{hash64, probe};

    #[test]
    fn the_hash_of_a_key_never_changes() {
        // A new number here would move every pod of every lab that is up.
        assert_eq!(
            hash64("address", &["default/curl-pod"]),
            9_807_929_107_021_454_595
        );
    }

    #[test]
    fn purposes_and_parts_are_kept_apart() {
        assert_ne!(hash64("a", &["x"]), hash64("b", &["x"]));
        assert_ne!(hash64("a", &["x", "yz"]), hash64("a", &["xy", "z"]));
    }

    #[test]
    fn probing_wraps_around_and_ends() {
        assert_eq!(probe(5, 8, |slot| slot == 2), Some(2));
        assert_eq!(probe(5, 8, |_| true), Some(5));
        assert_eq!(probe(5, 8, |_| false), None);
        assert_eq!(probe(5, 0, |_| true), None);
    }
}
