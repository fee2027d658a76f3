//! The keys that sign checkpoints: one an epoch, each made from the one before, which is then erased.
//!
//! `k(n+1) = HKDF-SHA256(k(n))`, so whoever takes today's key signs tomorrow's checkpoints, never
//! yesterday's. `epochs` in the folder of the log keeps every public key, one line an epoch:
//!
//! `<epoch> <size> <root> <key> <next key> <signature by the epoch before> <signature by its own>`
//!
//! The signatures are over the text of [`Epoch::text`]; `size` and `root` are those of the log when
//! the epoch began, so what older keys covered is fixed by keys that no longer exist.

use crate::disk;
use crate::error::AuditError;
use crate::note::{Checkpoint, Signed, VerifierKey, from_base64, to_base64};
use crate::tree::Hash;
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::path::{Path, PathBuf};

/// The file of public keys in the folder of the log.
pub(crate) const EPOCHS: &str = "epochs";

/// One epoch, as its line tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) number: u64,
    /// Records of the log when it began.
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) key: VerifierKey,
    pub(crate) next: VerifierKey,
    by_last: Vec<u8>,
    by_own: Vec<u8>,
}

impl Epoch {
    /// What is signed.
    fn text(&self) -> String {
        format!(
            "clawdbot audit epoch\n{}\n{}\n{}\n{}\n{}\n",
            self.number,
            self.size,
            to_base64(&self.root),
            self.key,
            self.next
        )
    }

    fn line(&self) -> String {
        format!(
            "{} {} {} {} {} {} {}\n",
            self.number,
            self.size,
            to_base64(&self.root),
            self.key,
            self.next,
            to_base64(&self.by_last),
            to_base64(&self.by_own)
        )
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut word = || words.next();
        let epoch = Self {
            number: word()?.parse().ok()?,
            size: word()?.parse().ok()?,
            root: from_base64(word()?)?.try_into().ok()?,
            key: VerifierKey::parse(word()?)?,
            next: VerifierKey::parse(word()?)?,
            by_last: from_base64(word()?)?,
            by_own: from_base64(word()?)?,
        };
        (format!("{line}\n") == epoch.line()).then_some(epoch)
    }

    /// True when it is the first, or the one before it signed that it follows.
    fn follows(&self, last: Option<&Self>) -> bool {
        let text = self.text();
        let own = self.key.verifies(text.as_bytes(), &self.by_own);
        let by_last = match last {
            None => self.number == 0 && self.size == 0 && self.by_last == self.by_own,
            Some(last) => {
                self.number == last.number + 1
                    && self.size >= last.size
                    && self.key == last.next
                    && last.key.verifies(text.as_bytes(), &self.by_last)
            }
        };
        own && by_last
    }
}

/// All epochs of a log, each signed for by the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Epochs {
    pub(crate) all: Vec<Epoch>,
    /// Bytes of whole lines; a crash can leave a piece after them.
    pub(crate) good: u64,
    pub(crate) torn: u64,
}

impl Epochs {
    /// Reads the file's text. The error names the epoch that is wrong.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, u64> {
        Self::parse_end(text, 0)
    }

    /// Reads the end of the file's text, which begins at that byte of it. The first whole line is believed
    /// to follow what stands before it.
    pub(crate) fn parse_end(text: &[u8], start: u64) -> Result<Self, u64> {
        let mut found = Self {
            good: start,
            ..Self::default()
        };
        let mut lines = text.split_inclusive(|b| *b == b'\n');
        if start > 0 {
            // The rest of a line.
            found.good += lines.next().map_or(0, |rest| rest.len() as u64);
        }
        for line in lines {
            let last = found.all.last();
            let number = last.map_or(0, |last| last.number + 1);
            let Some(whole) = line.strip_suffix(b"\n") else {
                found.torn = line.len() as u64;
                break;
            };
            let epoch = std::str::from_utf8(whole).ok().and_then(Epoch::parse);
            let believed = start > 0 && last.is_none();
            let epoch = epoch.filter(|epoch| believed || epoch.follows(last));
            found.all.push(epoch.ok_or(number)?);
            found.good += line.len() as u64;
        }
        Ok(found)
    }

    /// True when the checkpoint is signed by the key of the epoch that it belongs to, and no other.
    pub(crate) fn vouch(&self, signed: &Signed) -> bool {
        let size = signed.checkpoint.size;
        self.all.iter().enumerate().any(|(at, epoch)| {
            let end = self.all.get(at + 1).map_or(u64::MAX, |next| next.size);
            epoch.size <= size && size <= end && signed.is_by(&epoch.key)
        }) || self
            .all
            .last()
            .is_some_and(|last| last.size <= size && signed.is_by(&last.next))
    }

    /// True when it is signed by a key of this log that was not in charge of that size.
    pub(crate) fn knows(&self, signed: &Signed) -> bool {
        self.all.iter().any(|epoch| signed.is_by(&epoch.key))
    }
}

/// The key of the running epoch.
pub(crate) struct Signer {
    path: PathBuf,
    name: String,
    pub(crate) epoch: u64,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl Signer {
    /// A fresh key of epoch 0, written to `path`.
    pub(crate) fn create(path: &Path) -> Result<Self, AuditError> {
        let (mut seed, mut id) = ([0; 32], [0; 8]);
        let random = SystemRandom::new();
        let filled = random.fill(&mut seed).and_then(|()| random.fill(&mut id));
        filled.map_err(|_| AuditError::key(path, "the system gave no random bytes"))?;
        let id = crate::note::hex(&id);
        let signer = Self::new(path, format!("clawdbot.local/{id}"), 0, seed)?;
        signer.save()?;
        Ok(signer)
    }

    /// The key in `path`.
    pub(crate) fn load(path: &Path) -> Result<Self, AuditError> {
        let text = std::fs::read_to_string(path).map_err(AuditError::io("read", path))?;
        let mut lines = text.lines();
        let mut read = || -> Option<(String, u64, [u8; 32])> {
            (lines.next()? == "clawdbot audit key 1").then_some(())?;
            let (name, epoch) = (lines.next()?.to_owned(), lines.next()?.parse().ok()?);
            Some((name, epoch, from_base64(lines.next()?)?.try_into().ok()?))
        };
        let (name, epoch, seed) =
            read().ok_or_else(|| AuditError::key(path, "it is not a key of the audit log"))?;
        Self::new(path, name, epoch, seed)
    }

    fn new(path: &Path, name: String, epoch: u64, seed: [u8; 32]) -> Result<Self, AuditError> {
        Ok(Self {
            path: path.to_owned(),
            name,
            epoch,
            pair: pair(path, &seed)?,
            seed,
        })
    }

    fn save(&self) -> Result<(), AuditError> {
        if let Some(parent) = self.path.parent() {
            disk::make_folder(parent)?;
        }
        let seed = to_base64(&self.seed);
        let text = format!(
            "clawdbot audit key 1\n{}\n{}\n{seed}\n",
            self.name, self.epoch
        );
        disk::replace(&self.path, text.as_bytes(), true, true)
    }

    pub(crate) fn key(&self) -> VerifierKey {
        VerifierKey::new(&self.name, public(&self.pair))
    }

    pub(crate) fn sign(&self, size: u64, root: Hash) -> Signed {
        let checkpoint = Checkpoint {
            origin: self.name.clone(),
            size,
            root,
        };
        checkpoint.sign(&self.key(), |text| self.pair.sign(text).as_ref().to_vec())
    }

    /// The line that begins its epoch at that size; `last` is the signer of the epoch before.
    pub(crate) fn begin(&self, last: &Self, size: u64, root: Hash) -> Result<Epoch, AuditError> {
        let next = pair(&self.path, &next_seed(&self.path, &self.seed)?)?;
        let mut epoch = Epoch {
            number: self.epoch,
            size,
            root,
            key: self.key(),
            next: VerifierKey::new(&self.name, public(&next)),
            by_last: Vec::new(),
            by_own: Vec::new(),
        };
        let text = epoch.text();
        epoch.by_own = self.pair.sign(text.as_bytes()).as_ref().to_vec();
        epoch.by_last = last.pair.sign(text.as_bytes()).as_ref().to_vec();
        Ok(epoch)
    }

    /// The signer of the next epoch, in memory.
    pub(crate) fn next(&self) -> Result<Self, AuditError> {
        let seed = next_seed(&self.path, &self.seed)?;
        Self::new(&self.path, self.name.clone(), self.epoch + 1, seed)
    }

    /// Becomes the signer of that later epoch, and erases the older keys on disk, unless whoever began it
    /// did.
    pub(crate) fn catch_up(&mut self, epoch: u64) -> Result<(), AuditError> {
        while self.epoch < epoch {
            *self = self.next()?;
        }
        match Self::load(&self.path) {
            Ok(kept) if kept.epoch == self.epoch && kept.seed == self.seed => Ok(()),
            _ => self.save(),
        }
    }
}

/// Appends the line of an epoch after the `good` bytes of those before, durably; returns how many bytes
/// there are then. What a failed append left behind them is cut off first.
pub(crate) fn append(folder: &Path, good: u64, epoch: &Epoch) -> Result<u64, AuditError> {
    let path = folder.join(EPOCHS);
    let file = disk::open_or_create(&path)?;
    let meta = file.metadata().map_err(AuditError::io("look at", &path))?;
    if meta.len() > good {
        disk::take_back(&path, good)?;
    }
    disk::append(&file, &path, epoch.line().as_bytes())?;
    disk::sync(&file, &path)?;
    disk::sync_folder(folder)?;
    let len = file.metadata().map_err(AuditError::io("look at", &path))?;
    Ok(len.len())
}

/// Cuts off the piece of a line that a crash left: its key was never announced, and is made again when it
/// is due.
pub(crate) fn cut_torn(folder: &Path, epochs: &mut Epochs) -> Result<(), AuditError> {
    if epochs.torn > 0 {
        disk::take_back(&folder.join(EPOCHS), epochs.good)?;
        epochs.torn = 0;
    }
    Ok(())
}

/// Makes the lines durable that another process appended, or an append that was told to have failed: the key
/// before must not be erased while a power cut could take away what announces the one after it.
pub(crate) fn settle(folder: &Path) -> Result<(), AuditError> {
    let path = folder.join(EPOCHS);
    disk::sync(&disk::open_append(&path)?, &path)?;
    disk::sync_folder(folder)
}

fn pair(path: &Path, seed: &[u8; 32]) -> Result<Ed25519KeyPair, AuditError> {
    Ed25519KeyPair::from_seed_unchecked(seed)
        .map_err(|_| AuditError::key(path, "it is not an Ed25519 key"))
}

fn public(pair: &Ed25519KeyPair) -> [u8; 32] {
    pair.public_key().as_ref().try_into().unwrap_or_default()
}

struct Seed;

impl KeyType for Seed {
    fn len(&self) -> usize {
        32
    }
}

fn next_seed(path: &Path, seed: &[u8; 32]) -> Result<[u8; 32], AuditError> {
    let mut next = [0; 32];
    let key = Salt::new(HKDF_SHA256, b"clawdbot audit").extract(seed);
    let filled = key
        .expand(&[b"next epoch"], Seed)
        .and_then(|okm| okm.fill(&mut next));
    filled.map_err(|_| AuditError::key(path, "no key can be made from it"))?;
    Ok(next)
}
