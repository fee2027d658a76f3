//! What was looked at already and held nothing.
//!
//! A client sends its whole conversation with every message, and the same text under the same settings
//! is judged the same. So what held nothing is remembered, by a keyed hash and by who sent it, and is
//! not judged again: a second look costs a hash. A finding is never remembered; it is made anew.

use crate::guard::Guard;
use clawdbot_domain::Channel;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// How many texts are remembered. Each has one place, which the next one of that place takes: 128 KB.
const PLACES: usize = 8192;

/// A shorter text is judged about as fast as it is hashed.
const LEAST_BYTES: usize = 64;

/// Texts that held nothing.
pub struct Seen {
    /// Nobody outside this process can tell which texts would share a place.
    key: [u8; 32],
    places: Mutex<Vec<u128>>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seen")
    }
}

impl Seen {
    /// An empty memory. The key is random and nobody else's.
    pub fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            places: Mutex::new(Vec::new()),
        }
    }

    /// The memory of one sender's texts: whether somebody else sent a text is not for him to learn by
    /// the clock.
    pub fn of<'s>(&'s self, sender: &'s str) -> SeenOf<'s> {
        SeenOf { seen: self, sender }
    }
}

/// What one sender's texts held.
#[derive(Debug, Clone, Copy)]
pub struct SeenOf<'s> {
    seen: &'s Seen,
    sender: &'s str,
}

impl SeenOf<'_> {
    /// Whether a text holds something, asking `look` only when that is not known. The answer of `look`
    /// depends on the text, the channel and the guard's settings alone.
    pub(crate) fn or<T>(
        &self,
        guard: Guard,
        channel: Channel,
        text: &str,
        look: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        if text.len() < LEAST_BYTES {
            return look();
        }
        let mark = self.mark(guard, channel, text);
        if self.place(mark, |place| *place == mark) {
            return None;
        }
        let found = look();
        if found.is_none() {
            self.place(mark, |place| *place = mark);
        }
        found
    }

    fn mark(&self, guard: Guard, channel: Channel, text: &str) -> u128 {
        // All settings by their names, so that one that is added counts from the first day.
        let judged = format!(
            "{channel:?} {guard:?} {} {}",
            self.sender.len(),
            self.sender
        );
        let mut hash = Sha256::new();
        hash.update(self.seen.key);
        hash.update((judged.len() as u64).to_le_bytes());
        hash.update(judged);
        hash.update(text);
        let hash: [u8; 32] = hash.finalize().into();
        let half = hash.first_chunk().copied().map_or(0, u128::from_le_bytes);
        // 0 stands for an empty place.
        half.max(1)
    }

    fn place<T: Default>(&self, mark: u128, work: impl FnOnce(&mut u128) -> T) -> T {
        let places = self.seen.places.lock();
        let mut places = places.unwrap_or_else(PoisonError::into_inner);
        if places.is_empty() {
            places.resize(PLACES, 0);
        }
        let at = (mark % PLACES as u128) as usize;
        places.get_mut(at).map(work).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::GuardSettings;

    const TEXT: &str =
        "Please go through the quarterly report and list the open risks of each team.";

    /// How often `look` is asked, which finds nothing.
    fn asked(seen: SeenOf<'_>, guard: Guard, channel: Channel, text: &str) -> usize {
        let mut asked = 0;
        let found: Option<()> = seen.or(guard, channel, text, || {
            asked += 1;
            None
        });
        assert_eq!(found, None);
        asked
    }

    #[test]
    fn a_text_is_judged_once_for_each_sender_channel_and_setting() {
        let (seen, guard) = (Seen::new([7; 32]), Guard::default());
        let lenient = Guard::new(GuardSettings {
            strict: false,
            ..GuardSettings::default()
        });
        for (sender, guard, channel, text) in [
            ("ann", guard, Channel::User, TEXT),
            ("bob", guard, Channel::User, TEXT),
            ("ann", lenient, Channel::User, TEXT),
            ("ann", guard, Channel::Tool, TEXT),
            ("ann", guard, Channel::User, &TEXT.replace("open", "0pen")),
        ] {
            assert_eq!(
                asked(seen.of(sender), guard, channel, text),
                1,
                "{sender} {text}"
            );
            assert_eq!(
                asked(seen.of(sender), guard, channel, text),
                0,
                "{sender} {text}"
            );
        }
    }

    #[test]
    fn a_finding_is_made_anew_and_never_remembered() {
        let seen = Seen::new([7; 32]);
        for _ in 0..2 {
            let found = seen
                .of("ann")
                .or(Guard::default(), Channel::User, TEXT, || Some("bad"));
            assert_eq!(found, Some("bad"));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let seen = Seen::new([7; 32]);
        for nth in 0..2 * PLACES {
            asked(
                seen.of("ann"),
                Guard::default(),
                Channel::User,
                &format!("{nth} {TEXT}"),
            );
        }
        assert_eq!(seen.places.lock().unwrap().len(), PLACES);
    }
}
