//! One record as one line: how it is written, hashed and checked.
//!
//! A line is a JSON object that ends `,"prev":"<64 hex>","hash":"<64 hex>"}`. `hash` is the leaf hash
//! of RFC 6962, SHA-256 over a zero byte and the line as it would be without `hash`; `prev` is the
//! `hash` of the record before, 64 zeros in the first of all.

use crate::age::Moment;
use crate::error::Fault;
use crate::redact::Redactor;
use crate::text::LogText;
use crate::tree::Hash;
use clawdbot_domain::{Event, Level, Outcome, UnixTime, Who};
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// The longest line, newline included.
pub(crate) const MAX_LINE: usize = 60 * 1024;

/// A hash in lower-case hex.
pub(crate) type HexHash = [u8; 64];

/// `prev` of the first record.
pub(crate) const NO_RECORD: HexHash = [b'0'; 64];

/// The wall clock, and nanoseconds since boot.
pub(crate) fn clocks() -> (UnixTime, u64) {
    let mono = since_boot();
    (UnixTime::now(), mono)
}

/// Nanoseconds since boot, those asleep among them.
pub(crate) fn since_boot() -> u64 {
    let mono = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let nanos = mono
        .tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(mono.tv_nsec);
    u64::try_from(nanos).unwrap_or(0)
}

/// What is to be written; the writer adds the index and the hashes.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) at: UnixTime,
    /// Nanoseconds since boot: tells the order and the distance even when the wall clock jumps.
    pub(crate) mono: u64,
    pub(crate) who: Who,
    pub(crate) outcome: Outcome,
    pub(crate) event: Event,
    pub(crate) begin: Option<u64>,
    /// So many of its kind it stands for.
    pub(crate) repeats: Option<u64>,
    /// Set once it is durable.
    pub(crate) index: u64,
}

impl Entry {
    /// Stamps what is to be written with the time.
    pub(crate) fn now(who: Who, outcome: Outcome, event: Event, begin: Option<u64>) -> Self {
        let (at, mono) = clocks();
        Self {
            at,
            mono,
            who,
            outcome,
            event,
            begin,
            repeats: None,
            index: 0,
        }
    }

    /// One record for so many that happened.
    pub(crate) fn standing_for(self, repeats: u64) -> Self {
        Self {
            repeats: Some(repeats),
            ..self
        }
    }

    /// One of the log's own records.
    pub(crate) fn own(event: Event) -> Self {
        Self::now(Who::default(), Outcome::Ok, event, None)
    }

    pub(crate) fn level(&self) -> Level {
        let at_least = match self.outcome {
            Outcome::Begin | Outcome::Ok => Level::Debug,
            Outcome::Denied | Outcome::Abandoned => Level::Warn,
            Outcome::Failed => Level::Error,
        };
        self.event.level().max(at_least)
    }
}

/// The end of the chain: which record is next, and what it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) next: u64,
    pub(crate) prev: HexHash,
}

impl Tip {
    /// Of a log without records.
    pub(crate) const START: Self = Self {
        next: 0,
        prev: NO_RECORD,
    };

    /// Checks that the line (without its newline) is the next record, and moves on.
    pub(crate) fn accept(&mut self, line: &[u8]) -> Result<(), Fault> {
        let parts = Parts::of(line).ok_or(Fault::NotARecord)?;
        if hash(parts.body).as_slice() != parts.hash {
            return Err(Fault::Changed);
        }
        if parts.index != self.next {
            return Err(Fault::OutOfOrder { found: parts.index });
        }
        if parts.prev != self.prev {
            return Err(Fault::Unlinked);
        }
        self.follow(parts.index, parts.hash);
        Ok(())
    }

    /// The leaf hash of the newest record.
    pub(crate) fn leaf(&self) -> Hash {
        let value = |digit: u8| match digit {
            b'0'..=b'9' => digit - b'0',
            _ => digit.wrapping_sub(b'a' - 10),
        };
        let mut leaf = [0; 32];
        for (byte, pair) in leaf.iter_mut().zip(self.prev.as_chunks::<2>().0) {
            let [high, low] = *pair;
            *byte = value(high) << 4 | value(low) & 0xf;
        }
        leaf
    }

    fn follow(&mut self, index: u64, hash: &[u8]) {
        // No log gets that far; a file of somebody else's may say so.
        self.next = index.saturating_add(1);
        for (to, from) in self.prev.iter_mut().zip(hash) {
            *to = *from;
        }
    }
}

/// The parts of a line that the chain is made of.
pub(crate) struct Parts<'a> {
    pub(crate) index: u64,
    pub(crate) prev: &'a [u8],
    pub(crate) hash: &'a [u8],
    /// The line up to and without `,"hash":…}`.
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Takes a line (without its newline) apart; `None` when it has not the shape of a record.
    pub(crate) fn of(line: &'a [u8]) -> Option<Self> {
        let (body, hash) = split_hash(line.strip_suffix(b"\"}")?, b",\"hash\":\"")?;
        let (_, prev) = split_hash(body.strip_suffix(b"\"")?, b",\"prev\":\"")?;
        let digits = body.strip_prefix(b"{\"index\":")?;
        let (digits, _) = digits.split_at_checked(memchr::memchr(b',', digits)?)?;
        let index = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some(Self {
            index,
            prev,
            hash,
            body,
        })
    }

    /// Where the chain stands after this record, if its bytes give its hash.
    pub(crate) fn tip_after(&self) -> Result<Tip, Fault> {
        let mut tip = Tip {
            next: self.index,
            prev: NO_RECORD,
        };
        if hash(self.body).as_slice() != self.hash {
            return Err(Fault::Changed);
        }
        tip.follow(self.index, self.hash);
        Ok(tip)
    }
}

fn split_hash<'a>(text: &'a [u8], label: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (before, hash) = text.split_at_checked(text.len().checked_sub(64)?)?;
    let is_hex = hash.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then_some((before.strip_suffix(label)?, hash))
}

fn hash(body: &[u8]) -> HexHash {
    let mut sha = Sha256::new();
    sha.update([0]);
    sha.update(body);
    sha.update(b"}");
    hex(&sha.finalize())
}

fn hex(bytes: &[u8]) -> HexHash {
    let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
    let mut text = NO_RECORD;
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
    text
}

#[derive(Serialize)]
struct Line<'a, E> {
    index: u64,
    time: Shown,
    boot: &'a str,
    mono: u64,
    level: Level,
    #[serde(flatten)]
    event: &'a E,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    begin: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeats: Option<u64>,
    #[serde(flatten)]
    who: &'a Who,
}

/// A time as RFC 3339 text, written without a string of its own.
struct Shown(UnixTime);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

/// Writes lines. Holds what is the same in all of them, and the memory they are made in.
pub(crate) struct LineWriter {
    boot: String,
    string: Vec<u8>,
}

impl LineWriter {
    pub(crate) fn new() -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            boot: boot.trim().to_owned(),
            string: Vec::new(),
        }
    }

    /// This very moment, as a record would tell it.
    pub(crate) fn moment(&self) -> Moment {
        Moment::now(&self.boot)
    }

    /// Appends the entry to `buffer` as the next record after `tip`, and moves `tip` on.
    pub(crate) fn write(
        &mut self,
        entry: &mut Entry,
        tip: &mut Tip,
        redactor: &Redactor,
        buffer: &mut Vec<u8>,
    ) {
        let start = buffer.len();
        entry.index = tip.next;
        let written = self.write_object(entry, &entry.event, redactor, buffer);
        if !written || buffer.len() - start > MAX_LINE - 256 {
            buffer.truncate(start);
            self.write_object(entry, &Cut::of(&entry.event), redactor, buffer);
        }
        // Off with the closing brace: the chain comes last.
        buffer.pop();
        buffer.extend_from_slice(b",\"prev\":\"");
        buffer.extend_from_slice(&tip.prev);
        buffer.push(b'"');
        let hash = hash(buffer.get(start..).unwrap_or_default());
        buffer.extend_from_slice(b",\"hash\":\"");
        buffer.extend_from_slice(&hash);
        buffer.extend_from_slice(b"\"}\n");
        tip.follow(entry.index, &hash);
    }

    fn write_object<E: Serialize>(
        &mut self,
        entry: &Entry,
        event: &E,
        redactor: &Redactor,
        buffer: &mut Vec<u8>,
    ) -> bool {
        let line = Line {
            index: entry.index,
            time: Shown(entry.at),
            boot: &self.boot,
            mono: entry.mono,
            level: entry.level(),
            event,
            outcome: entry.outcome,
            begin: entry.begin,
            repeats: entry.repeats,
            who: &entry.who,
        };
        let text = LogText::new(redactor, &mut self.string);
        let mut json = serde_json::Serializer::with_formatter(buffer, text);
        line.serialize(&mut json).is_ok()
    }
}

/// An event whose details are too many for a line: that it happened, at least.
#[derive(Serialize)]
struct Cut {
    event: serde_json::Value,
    cut: bool,
}

impl Cut {
    fn of(event: &Event) -> Self {
        let whole = serde_json::to_value(event).unwrap_or_default();
        Self {
            event: whole.get("event").cloned().unwrap_or_default(),
            cut: true,
        }
    }
}
