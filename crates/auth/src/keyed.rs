//! HMAC-SHA256 over parts, so that no two lists of parts hash alike.

use crate::files::Key;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A keyed hash. Cloned for each use: that is cheaper than keying anew.
#[derive(Clone)]
pub(crate) struct Keyed(Hmac<Sha256>);

impl Keyed {
    pub(crate) fn new(key: &Key) -> Self {
        // HMAC pads a short key with zeros to one block; done here, it cannot fail.
        let mut block = Zeroizing::new([0; 64]);
        for (slot, byte) in block.iter_mut().zip(key.iter()) {
            *slot = *byte;
        }
        Self(hmac::digest::KeyInit::new((&*block).into()))
    }

    /// The hash of these parts, for one purpose.
    pub(crate) fn tag(&self, purpose: &'static str, parts: &[&[u8]]) -> [u8; 32] {
        self.over(purpose, parts).finalize().into_bytes().into()
    }

    /// Compares in constant time.
    pub(crate) fn matches(&self, purpose: &'static str, parts: &[&[u8]], tag: &[u8; 32]) -> bool {
        self.over(purpose, parts).verify_slice(tag).is_ok()
    }

    fn over(&self, purpose: &'static str, parts: &[&[u8]]) -> Hmac<Sha256> {
        #[cfg(test)]
        made::one_more();
        let mut mac = self.0.clone();
        for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac
    }
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyed([secret])")
    }
}

/// How many hashes this thread has made: what a refusal costs is shown by counting, not by a clock.
#[cfg(test)]
pub(crate) mod made {
    use std::cell::Cell;

    thread_local!(static MADE: Cell<u64> = const { Cell::new(0) });

    pub(super) fn one_more() {
        MADE.with(|made| made.set(made.get() + 1));
    }

    /// Hashes made while this ran.
    pub(crate) fn during(work: impl FnOnce()) -> u64 {
        let before = MADE.with(Cell::get);
        work();
        MADE.with(Cell::get) - before
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Keyed};

    #[test]
    fn moving_a_byte_from_one_part_to_the_next_changes_the_hash() {
        let keyed = Keyed::new(&Key::new([7; 32]));
        assert_ne!(
            keyed.tag("p", &[b"ab", b"c"]),
            keyed.tag("p", &[b"a", b"bc"])
        );
        assert_ne!(keyed.tag("p", &[b"a"]), keyed.tag("q", &[b"a"]));
        assert!(keyed.matches("p", &[b"a"], &keyed.tag("p", &[b"a"])));
        assert!(!keyed.matches("p", &[b"b"], &keyed.tag("p", &[b"a"])));
    }
}
