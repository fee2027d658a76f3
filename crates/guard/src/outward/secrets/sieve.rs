//! A quick no: whether the letters of a secret may stand in a text.
//!
//! Four letters of every spelling are marked in a table, at each place of its first few, and of a text
//! only every few letters are looked up: a spelling that stands there covers one of those places. What
//! the table knows is then walked by the search itself, so that the answer is no other than its own.

use super::is_kept;
use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::contiguous::NFA;
use std::collections::HashMap;

/// So many letters are looked up together.
const GRAM: usize = 4;

/// The widest step. Wider ones gain little and mark more.
const MOST_STRIDE: usize = 16;

/// So many places of the table for each that is marked: one look-up in so many is in vain.
const SPARSE: usize = 64;

/// The sizes of the table, in bits of its index: a kilobyte at least, 128 KB at most.
const LEAST_BITS: u32 = 13;
const MOST_BITS: u32 = 20;

/// What each ASCII byte is read as: letters small, digits as they are, all else left out.
const READ_AS: [u8; 128] = {
    let mut table = [0; 128];
    let mut at = 0u8;
    while at < 128 {
        if at.is_ascii_alphanumeric() {
            #[allow(
                clippy::indexing_slicing,
                reason = "at is below 128, checked when it is compiled"
            )]
            {
                table[at as usize] = at.to_ascii_lowercase();
            }
        }
        at += 1;
    }
    table
};

/// Which letters stand at the beginning of spellings.
#[derive(Clone)]
pub(super) struct Sieve {
    marked: Vec<u64>,
    bits: u32,
    stride: usize,
}

impl Sieve {
    /// For spellings of letters alone; none is shorter than [`super::SHORTEST`].
    pub(super) fn new<'w>(spellings: impl Iterator<Item = &'w str> + Clone) -> Self {
        let shortest = spellings.clone().map(str::len).min().unwrap_or(0);
        let stride = (shortest + 1).saturating_sub(GRAM).clamp(1, MOST_STRIDE);
        let places = spellings.clone().count() * stride * SPARSE;
        let bits = places.max(1).ilog2().clamp(LEAST_BITS, MOST_BITS);
        let mut sieve = Self {
            marked: vec![0; 1 << (bits - 6)],
            bits,
            stride,
        };
        for spelling in spellings {
            let letters = spelling.to_ascii_lowercase();
            for gram in letters.as_bytes().windows(GRAM).take(stride) {
                let at = sieve.place(gram);
                if let Some(word) = sieve.marked.get_mut(at / 64) {
                    *word |= 1 << (at % 64);
                }
            }
        }
        sieve
    }

    /// False when the search finds no spelling among the letters of a text.
    pub(super) fn may_find(
        &self,
        text: &str,
        search: &NFA,
        depths: &HashMap<StateID, usize>,
    ) -> bool {
        let letters = letters_of(text);
        let mut grams = letters.windows(GRAM).enumerate();
        let sampled = std::iter::once(grams.next())
            .chain(std::iter::repeat_with(|| grams.nth(self.stride - 1)))
            .map_while(|gram| gram);
        // A text made to be walked again and again is left to the search, so that the time is linear.
        let mut spare = letters.len();
        sampled
            .filter(|(_, gram)| self.is_marked(gram))
            .any(|(at, _)| {
                self.walks(at, &letters, search, depths, &mut spare)
                    .unwrap_or(true)
            })
    }

    /// Whether a spelling stands there that covers this place; nothing when that cannot be said.
    fn walks(
        &self,
        place: usize,
        letters: &[u8],
        search: &NFA,
        depths: &HashMap<StateID, usize>,
        spare: &mut usize,
    ) -> Option<bool> {
        let from = place.saturating_sub(self.stride - 1);
        let mut state = search.start_state(Anchored::No).ok()?;
        for (at, letter) in letters.iter().enumerate().skip(from) {
            // Letters that begin after the place are for the next one to look at.
            let open = depths.get(&state).copied().unwrap_or(0);
            if at > place && open < at - place {
                return Some(false);
            }
            *spare = spare.checked_sub(1)?;
            state = search.next_state(Anchored::No, state, *letter);
            if search.is_match(state) {
                return Some(true);
            }
        }
        Some(false)
    }

    fn is_marked(&self, gram: &[u8]) -> bool {
        let at = self.place(gram);
        let word = self.marked.get(at / 64).copied().unwrap_or(0);
        word >> (at % 64) & 1 == 1
    }

    /// Multiplicative hashing: the high bits depend on all of the letters.
    fn place(&self, gram: &[u8]) -> usize {
        let letters = gram.try_into().map_or(0, u32::from_le_bytes);
        let mixed = letters.wrapping_mul(0x9e37_79b1);
        (mixed >> (u32::BITS - self.bits)) as usize
    }
}

/// The letters and digits of a text, ASCII ones small.
fn letters_of(text: &str) -> Vec<u8> {
    let mut letters = vec![0; text.len()];
    let mut end = 0;
    // Without a branch for each byte: which ones are kept is anybody's guess, the processor's too.
    let mut put = |letter: u8| {
        if let Some(place) = letters.get_mut(end) {
            *place = letter;
        }
        end += usize::from(letter != 0);
    };
    if text.is_ascii() {
        let read = |byte: u8| READ_AS.get(usize::from(byte)).copied().unwrap_or(0);
        text.bytes().for_each(|byte| put(read(byte)));
    } else {
        for c in text.chars().filter(|c| is_kept(*c)) {
            let c = c.to_ascii_lowercase();
            c.encode_utf8(&mut [0; 4]).bytes().for_each(&mut put);
        }
    }
    letters.truncate(end);
    letters
}
