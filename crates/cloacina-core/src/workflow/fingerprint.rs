//! The version of a workflow.

use std::fmt;

/// A stable hash over the ids, edges and rules of a workflow's tasks.
///
/// FNV-1a of 64 bits over the task ids in the order of declaration, each with its rule and its dependencies,
/// every text preceded by its length (Fowler, Noll, Vo; <https://datatracker.ietf.org/doc/html/rfc9923>). It
/// tells versions of one workflow apart that somebody wrote, not texts that somebody chose to collide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub i64);

impl Fingerprint {
    /// That of an execution that was submitted by name and has no tasks yet: whoever expands it decides which
    /// version it is of. No workflow has it.
    pub const UNKNOWN: Self = Self(0);
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// FNV-1a of 64 bits, fed with texts and numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StableHash(u64);

impl StableHash {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.number(text.len()).bytes(text.as_bytes())
    }

    pub(crate) fn number(self, number: usize) -> Self {
        self.bytes(&(number as u64).to_le_bytes())
    }

    pub(crate) fn finish(self) -> i64 {
        self.0.cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(StableHash::new().bytes(b"foobar").finish().cast_unsigned(), 0x8594_4171_f739_67e8);
    }
}
