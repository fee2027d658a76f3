//! What the model sees of a text: hashed words in a row and concepts in a row.
//!
//! Training and judging read text through this one module, so what was learned is what is judged.
//! A feature belongs to the token it ends at. Weights are then sums along the text, and every
//! window costs two subtractions instead of a second reading.

use crate::detect::{Hit, Reading, RuleMatch};
use std::ops::Range;

/// Buckets of one head, as a power of two. Half a million: what one more bit gained was noise.
pub(crate) const BITS: u32 = 19;

/// How far concepts of one row may stand apart, in words.
const GAP: u32 = 6;

/// The most concepts in a row.
const ROW: usize = 4;

/// Longer words say no more than their shape: identifiers, hashes, keys.
const LONG_WORD: usize = 32;

/// Takes features as they are found, in the order of the text.
pub(crate) trait Sink {
    /// Words in a row.
    fn word(&mut self, bucket: u32);
    /// Concepts in a row.
    fn concept(&mut self, bucket: u32);
    /// Everything before this call since the last one belongs to the token that stands here.
    fn token(&mut self, source: Range<usize>);
}

/// A token: a word, or what stands between two words.
#[derive(Clone, Copy)]
struct Token {
    hash: u64,
    /// The concepts of the hit it belongs to, when it is one.
    concepts: u64,
    is_mark: bool,
}

impl Token {
    const fn mark(hash: u64) -> Self {
        Self {
            hash,
            concepts: 0,
            is_mark: true,
        }
    }
}

/// Reads a text into a sink.
pub(crate) fn read(reading: &Reading<'_>, sink: &mut impl Sink) {
    let (source, normal) = (reading.source, reading.normal);
    let mut reader = Reader {
        tail: Tail::default(),
        hits: reading.hits,
        next_hit: 0,
        rules: by_last(reading.rules),
        next_rule: 0,
    };
    let mut from = 0;
    for (index, word) in normal.words.iter().enumerate() {
        let between = source.get(from..word.source.start).unwrap_or_default();
        if let Some(mark) = mark(between) {
            reader.take(Token::mark(mark), sink);
            sink.token(from..word.source.start);
        }
        from = word.source.end.max(from);
        let concepts = reader.concepts_at(index);
        let hash = word_hash(normal.word(index));
        let token = Token {
            hash,
            concepts,
            is_mark: false,
        };
        reader.take(token, sink);
        reader.rows_ending_at(index, sink);
        sink.token(word.source.clone());
    }
    if let Some(mark) = mark(source.get(from..).unwrap_or_default()) {
        reader.take(Token::mark(mark), sink);
        sink.token(from..source.len());
    }
}

/// The bucket of a named fact about a whole reading, such as how it was encoded.
pub(crate) fn named(name: &str) -> u32 {
    bucket(bytes_hash(0x51, name.as_bytes()))
}

/// The last tokens, newest first: word hashes, and the same with concepts in their place.
#[derive(Default)]
struct Tail {
    words: [u64; 3],
    is_mark: [bool; 3],
    mixed: [u64; 4],
    /// Whether each of `mixed` is a concept.
    is_concept: [bool; 4],
    length: usize,
}

struct Reader<'h> {
    tail: Tail,
    hits: &'h [Hit],
    next_hit: usize,
    rules: Vec<(usize, u64)>,
    next_rule: usize,
}

impl Reader<'_> {
    /// The concepts of the hit that covers a word.
    fn concepts_at(&self, index: usize) -> u64 {
        self.hits
            .get(self.next_hit)
            .filter(|hit| hit.first <= index && index <= hit.last)
            .map_or(0, |hit| hit.concepts)
    }

    /// Word rows that end at this token.
    fn take(&mut self, token: Token, sink: &mut impl Sink) {
        let tail = &mut self.tail;
        let [before, second, _] = tail.words;
        let this = token.hash;
        let [_, second_is_mark, _] = tail.is_mark;
        // Marks by themselves, and two with something between, are what tables and lists in code
        // are made of: they say how long a list is, not what it wants.
        if !token.is_mark {
            sink.word(bucket(this));
        }
        if tail.length >= 1 {
            let pair = mix(before.rotate_left(17) ^ this);
            sink.word(bucket(pair));
            if tail.length >= 2 {
                sink.word(bucket(mix(second.rotate_left(34) ^ pair)));
                if !(token.is_mark && second_is_mark) {
                    sink.word(bucket(mix(second.rotate_left(5) ^ this ^ 0x5c1b)));
                }
            }
        }
        tail.words = [this, before, second];
        let [first_is_mark, second_is_mark, _] = tail.is_mark;
        tail.is_mark = [token.is_mark, first_is_mark, second_is_mark];
        let is_concept = token.concepts != 0;
        let mixed = if is_concept {
            mix(token.concepts ^ 0xc0de_0000_0000_0000)
        } else {
            this
        };
        let [a, b, c, _] = tail.mixed;
        let [ia, ib, ic, _] = tail.is_concept;
        tail.mixed = [mixed, a, b, c];
        tail.is_concept = [is_concept, ia, ib, ic];
        tail.length += 1;
        if is_concept || ia {
            self.mixed_rows(sink);
        }
    }

    /// Rows of words with concepts in their place, where one of the last two is a concept.
    fn mixed_rows(&self, sink: &mut impl Sink) {
        let [this, a, b, _] = self.tail.mixed;
        if self.tail.length >= 2 {
            let pair = mix(a.rotate_left(11) ^ this ^ 0x1111);
            sink.concept(bucket(pair));
            if self.tail.length >= 3 {
                sink.concept(bucket(mix(b.rotate_left(23) ^ pair)));
            }
        }
    }

    /// Rows of concepts, and rules, that end at this word.
    fn rows_ending_at(&mut self, index: usize, sink: &mut impl Sink) {
        while let Some(hit) = self.hits.get(self.next_hit).filter(|hit| hit.last <= index) {
            let mut row = mix(hit.concepts ^ 0x0abc_0000_0000_0000);
            sink.concept(bucket(row));
            let mut last = hit;
            let before = self.hits.get(..self.next_hit).unwrap_or_default();
            for (between, earlier) in before.iter().rev().take(ROW - 1).enumerate() {
                if last.number.saturating_sub(earlier.number) > GAP {
                    break;
                }
                // The pair whatever stands between: one strange word more is no way out.
                if between > 0 {
                    let ends = mix(hit.concepts ^ 0x0abc_0000_0000_5c1b);
                    sink.concept(bucket(mix(ends.rotate_left(9) ^ earlier.concepts)));
                }
                row = mix(row.rotate_left(9) ^ earlier.concepts);
                sink.concept(bucket(row));
                last = earlier;
            }
            self.next_hit += 1;
        }
        while let Some((_, rule)) = self.rules.get(self.next_rule).filter(|r| r.0 <= index) {
            sink.concept(bucket(*rule));
            self.next_rule += 1;
        }
    }
}

/// Rules by the word they end at, each only once at one place.
fn by_last(rules: &[RuleMatch]) -> Vec<(usize, u64)> {
    let mut found: Vec<_> = rules
        .iter()
        .map(|m| (m.last, bytes_hash(0x77, m.rule.name.as_bytes())))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// What stands between two words, when it is more than a space: its first sign, or a line's end.
fn mark(between: &str) -> Option<u64> {
    if between.len() <= 1 && between.bytes().all(|b| b == b' ') {
        return None;
    }
    let sign = between
        .chars()
        .find(|c| !c.is_whitespace() && !c.is_alphanumeric());
    if let Some(sign) = sign {
        let sign = if matches!(sign, '\'' | '’' | '‘' | '“' | '”') {
            '"'
        } else {
            sign
        };
        return Some(mix(u64::from(u32::from(sign)) ^ 0x5160_0000_0000));
    }
    between.contains('\n').then(|| mix(0x00e0_1000_0000))
}

/// A word's hash; numbers count as one word, and so do words too long to be words.
fn word_hash(word: &str) -> u64 {
    if word.len() > LONG_WORD && word.is_ascii() {
        return mix(0x1011_6000_0000);
    }
    bytes_hash(1, word.as_bytes())
}

fn bytes_hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed;
    let mut digits = false;
    for byte in bytes {
        if byte.is_ascii_digit() {
            if digits {
                continue;
            }
            digits = true;
            hash ^= u64::from(b'0');
        } else {
            digits = false;
            hash ^= u64::from(*byte);
        }
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(hash)
}

/// One round of a multiply-and-shift mixer.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ (x >> 29)
}

fn bucket(hash: u64) -> u32 {
    (hash >> (64 - BITS)) as u32
}
