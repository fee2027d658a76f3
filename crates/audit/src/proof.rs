//! Proofs that one record is in the log, and that a later log continues an earlier one, without
//! showing any other record; and the upkeep of the hashes they are made of.

use crate::error::AuditError;
use crate::note::{Signed, VerifierKey, to_base64};
use crate::seal::{CHECKPOINT, read_epochs};
use crate::tiles::{self, Nodes};
use crate::tree::{Hash, node};
use crate::verify::{Verdict, verify};
use serde::Serialize;
use std::path::Path;

/// The public key that everything in this log rests on: that of epoch 0.
///
/// # Errors
/// [`AuditError::Unsigned`] when there is none.
pub fn root_key(folder: &Path) -> Result<VerifierKey, AuditError> {
    let first = read_epochs(folder)?.all.into_iter().next();
    let folder = folder.to_owned();
    first
        .map(|epoch| epoch.key)
        .ok_or(AuditError::Unsigned { folder })
}

/// An inclusion proof of a record in the newest checkpoint, as C2SP tlog-proof text. It was checked.
///
/// # Errors
/// [`AuditError::Key`] when the record is not covered by the checkpoint, or hashes are missing.
pub fn prove(folder: &Path, index: u64) -> Result<String, AuditError> {
    let signed = checkpoint(folder)?;
    let (size, root) = (signed.checkpoint.size, signed.checkpoint.root);
    let tiles = folder.join("tile");
    if index >= size {
        let why = "the newest checkpoint does not cover that record";
        return Err(AuditError::key(&folder.join(CHECKPOINT), why));
    }
    let mut nodes = Nodes::new(folder, size);
    let path = inclusion(&mut nodes, index, 0, size).zip(nodes.root(index, index + 1));
    let (path, leaf) = path.ok_or_else(|| missing(&tiles))?;
    if from_inclusion(index, size, leaf, &path) != Some(root) {
        return Err(AuditError::key(&tiles, WRONG));
    }
    let hashes: String = path.iter().map(|h| to_base64(h) + "\n").collect();
    Ok(format!(
        "c2sp.org/tlog-proof@v1\nindex {index}\n{hashes}\n{}",
        signed.text
    ))
}

/// A consistency proof from one size of the log to a later one, one hash a line.
///
/// # Errors
/// [`AuditError::Key`] when the sizes are not in order and covered by the checkpoint.
pub fn consistency(folder: &Path, from: u64, to: u64) -> Result<Vec<String>, AuditError> {
    let size = checkpoint(folder)?.checkpoint.size;
    if from == 0 || from > to || to > size {
        let why = "the sizes must be at least 1, in order, and covered by the newest checkpoint";
        return Err(AuditError::key(&folder.join(CHECKPOINT), why));
    }
    let mut nodes = Nodes::new(folder, size);
    let proof = subproof(&mut nodes, from, 0, to, true);
    let proof = proof.ok_or_else(|| missing(&folder.join("tile")))?;
    Ok(proof.iter().map(|hash| to_base64(hash)).collect())
}

const WRONG: &str = "its hashes do not give the root that was signed";

fn missing(tiles: &Path) -> AuditError {
    AuditError::key(
        tiles,
        "hashes are missing; `clawdbot audit fsck` makes them again",
    )
}

fn checkpoint(folder: &Path) -> Result<Signed, AuditError> {
    let path = folder.join(CHECKPOINT);
    let text = std::fs::read_to_string(&path).map_err(AuditError::io("read", &path))?;
    let signed = Signed::parse(&text).filter(|s| read_epochs(folder).is_ok_and(|e| e.vouch(s)));
    signed.ok_or_else(|| AuditError::key(&path, "it is not signed by the key of its epoch"))
}

/// RFC 6962, 2.1.1.
fn inclusion(nodes: &mut Nodes<'_>, index: u64, low: u64, high: u64) -> Option<Vec<Hash>> {
    if high - low == 1 {
        return Some(Vec::new());
    }
    let middle = low + (high - low).next_power_of_two() / 2;
    let (mut path, other) = if index < middle {
        (inclusion(nodes, index, low, middle)?, (middle, high))
    } else {
        (inclusion(nodes, index, middle, high)?, (low, middle))
    };
    path.push(nodes.root(other.0, other.1)?);
    Some(path)
}

/// RFC 9162, 2.1.3.2: the root that an inclusion proof gives.
fn from_inclusion(index: u64, size: u64, leaf: Hash, path: &[Hash]) -> Option<Hash> {
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for other in path {
        if last == 0 {
            return None;
        }
        if at % 2 == 1 || at == last {
            hash = node(other, &hash);
            while at.is_multiple_of(2) && at != 0 {
                (at, last) = (at / 2, last / 2);
            }
        } else {
            hash = node(&hash, other);
        }
        (at, last) = (at / 2, last / 2);
    }
    (last == 0).then_some(hash)
}

/// RFC 6962, 2.1.2. `whole` while the earlier tree is a node of the later one that both sides know.
fn subproof(
    nodes: &mut Nodes<'_>,
    from: u64,
    low: u64,
    high: u64,
    whole: bool,
) -> Option<Vec<Hash>> {
    if from == high {
        return if whole {
            Some(Vec::new())
        } else {
            Some(vec![nodes.root(low, high)?])
        };
    }
    let middle = low + (high - low).next_power_of_two() / 2;
    let (mut proof, other) = if from <= middle {
        (subproof(nodes, from, low, middle, whole)?, (middle, high))
    } else {
        (subproof(nodes, from, middle, high, false)?, (low, middle))
    };
    proof.push(nodes.root(other.0, other.1)?);
    Some(proof)
}

/// What the upkeep found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fsck {
    /// Files of hashes that were missing or wrong.
    pub wrong: Vec<String>,
    /// They were made again from the records.
    pub repaired: bool,
}

/// Compares the hashes on disk with the records, which must verify; `repair` makes those again that
/// are wrong. Records are never touched.
///
/// # Errors
/// [`AuditError`] when the log does not verify or cannot be written.
pub fn fsck(folder: &Path, repair: bool) -> Result<Fsck, AuditError> {
    let found = verify(folder)?;
    if !matches!(found.verdict, Verdict::Intact | Verdict::Torn { .. }) {
        return Err(AuditError::key(
            folder,
            "the records do not verify; `clawdbot audit verify` tells why",
        ));
    }
    let size = checkpoint(folder)?.checkpoint.size;
    let tiles = crate::verify::tiles_of(folder, size)?;
    let is_wrong = |tile: &&crate::tree::Tile| {
        let read = tiles::read(folder, tile.level, tile.number, tile.hashes.len());
        read.as_ref() != Some(&tile.hashes)
    };
    let mut wrong = Vec::new();
    for tile in tiles.iter().filter(is_wrong) {
        let path = tiles::path(folder, tile.level, tile.number, tile.hashes.len());
        let shown = path.strip_prefix(folder).unwrap_or(&path);
        wrong.push(shown.display().to_string());
        if repair {
            // One of the right length and wrong content would be left as it is.
            let _ = std::fs::remove_file(&path);
            tiles::write(folder, tile)?;
        }
    }
    let repaired = repair && !wrong.is_empty();
    Ok(Fsck { wrong, repaired })
}
