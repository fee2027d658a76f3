//! The hashes of the tree on disk, in the layout of C2SP tlog-tiles: `tile/<level>/<number>`, 256
//! hashes each, `.p/<width>` for the unfinished one of a level.
//!
//! Tiles are derived from the records. They are written with the checkpoints of each second, and
//! made durable before the records they stand for are pruned.

use crate::disk;
use crate::error::AuditError;
use crate::segment::{self, Segment};
use crate::tree::{Hash, Tile, Tree, WIDTH, root_of, shifted};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// So many whole tiles of leaves at most are written with one checkpoint: a second of traffic.
const UNWRITTEN: u64 = 4096;

/// The file of a tile, below the folder of the log.
pub(crate) fn path(folder: &Path, level: u8, number: u64, width: usize) -> PathBuf {
    let mut name = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        name = format!("x{:03}/{name}", rest % 1000);
        rest /= 1000;
    }
    if width < WIDTH {
        name = format!("{name}.p/{width}");
    }
    folder.join("tile").join(level.to_string()).join(name)
}

/// Writes a tile under its final name at once. One that is there already is left if it is the same; a power
/// cut may have left another.
pub(crate) fn write(folder: &Path, tile: &Tile) -> Result<(), AuditError> {
    let path = path(folder, tile.level, tile.number, tile.hashes.len());
    let bytes = tile.hashes.concat();
    if std::fs::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        disk::make_folder(parent)?;
    }
    disk::replace(&path, &bytes, false, false)
}

/// Removes the unfinished versions of a tile but the one of this width.
pub(crate) fn drop_partial(folder: &Path, level: u8, number: u64, keep: usize) {
    let some = path(folder, level, number, 1);
    let Some(parent) = some.parent() else { return };
    let kept = keep.to_string();
    let mut left = 0;
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_str() == Some(&kept) {
            left += 1;
        } else {
            // A leftover costs a few bytes and confuses nobody: readers ask for a width.
            let _ = disk::remove(&entry.path());
        }
    }
    if left == 0 {
        let _ = std::fs::remove_dir(parent);
    }
}

/// Reads a tile; `None` when it is missing or has not that width, or has a block that never reached the disk:
/// tiles are not flushed, so a power cut may leave zeros in one, which no record hashes to.
pub(crate) fn read(folder: &Path, level: u8, number: u64, width: usize) -> Option<Vec<Hash>> {
    let bytes = std::fs::read(path(folder, level, number, width)).ok()?;
    let (hashes, rest) = bytes.as_chunks::<32>();
    let whole = rest.is_empty() && hashes.len() == width && !hashes.contains(&[0; 32]);
    whole.then(|| hashes.to_vec())
}

/// The tree of that size, from its unfinished tiles; `None` when one of them is missing.
pub(crate) fn load(folder: &Path, size: u64) -> Option<Tree> {
    let mut edge = Vec::new();
    for level in 0..8 {
        let count = shifted(size, level);
        if count == 0 {
            break;
        }
        let width = (count % WIDTH as u64) as usize;
        edge.push(match width {
            0 => Vec::new(),
            width => read(folder, level, count / WIDTH as u64, width)?,
        });
    }
    Some(Tree::from_edge(size, edge))
}

/// The tree of the whole tiles of leaves on disk, as many as a tree of that size has, less those at its end
/// that were not written yet. `None` when an older one is missing.
pub(crate) fn load_finished(folder: &Path, size: u64) -> Option<Tree> {
    let width = WIDTH as u64;
    let most = size / width;
    let least = most.saturating_sub(UNWRITTEN);
    let there = |number: &u64| read(folder, 0, *number, WIDTH).is_some();
    let tiles = (least..most)
        .rev()
        .find(there)
        .map_or(least, |number| number + 1);
    let (mut edge, mut count, mut level) = (vec![Vec::new()], tiles, 0);
    while count > 0 {
        // The unfinished tile of the next level holds the roots of the whole ones that have no parent yet.
        let orphans = (count - count % width)..count;
        let roots = orphans.map(|number| Some(root_of(&read(folder, level, number, WIDTH)?)));
        edge.push(roots.collect::<Option<Vec<Hash>>>()?);
        (count, level) = (count / width, level + 1);
    }
    Some(Tree::from_edge(tiles * width, edge))
}

/// The leaf hashes before `end`, read from whole and unfinished tiles of a tree of `size`.
pub(crate) fn leaves_before(folder: &Path, end: u64, size: u64) -> Option<Vec<Hash>> {
    // `end` is what a file name says: no memory is taken on its word.
    let mut leaves = Vec::new();
    for number in 0..end.div_ceil(WIDTH as u64) {
        leaves.append(&mut leaf_tile(folder, number, size)?);
    }
    let enough = leaves.len() as u64 >= end;
    leaves.truncate(end as usize);
    enough.then_some(leaves)
}

/// True when all whole tiles of leaves from that record to before `end` are on disk, and give the hashes that
/// the tree holds above them. The unfinished one was just written.
pub(crate) fn vouched(folder: &Path, tree: &Tree, first: u64, end: u64) -> bool {
    let width = WIDTH as u64;
    let whole = end.div_ceil(width).min(tree.size() / width);
    let mut parents = HashMap::new();
    (first / width..whole).all(|number| {
        let tile = read(folder, 0, number, WIDTH);
        tile.is_some_and(|tile| {
            Some(root_of(&tile)) == above(folder, tree, 1, number, &mut parents)
        })
    })
}

/// A hash of a level above the leaves: from the tree, or from a tile that the tree vouches for.
fn above(
    folder: &Path,
    tree: &Tree,
    level: u8,
    index: u64,
    known: &mut HashMap<(u8, u64), Vec<Hash>>,
) -> Option<Hash> {
    if let Some(hash) = tree.unfinished(level, index) {
        return Some(hash);
    }
    let (number, at) = (index / WIDTH as u64, (index % WIDTH as u64) as usize);
    if !known.contains_key(&(level, number)) {
        let tile = read(folder, level, number, WIDTH)?;
        let vouched = above(folder, tree, level.checked_add(1)?, number, known)? == root_of(&tile);
        known.insert((level, number), vouched.then_some(tile)?);
    }
    known.get(&(level, number))?.get(at).copied()
}

/// Sees to it that the leaf hashes of the records from `first` on are on disk, for the records are about
/// to go. Tiles are not flushed, so a power cut may have taken some.
pub(crate) fn hold(
    folder: &Path,
    first: u64,
    leaves: &[Hash],
    size: u64,
) -> Result<(), AuditError> {
    let width = WIDTH as u64;
    let end = first + leaves.len() as u64;
    for number in first / width..end.div_ceil(width) {
        let start = number * width;
        let skip = first.saturating_sub(start) as usize;
        let from = start.saturating_sub(first) as usize;
        let part = leaves.get(from..).unwrap_or_default();
        let part = part.get(..WIDTH - skip).unwrap_or(part);
        let there = leaf_tile(folder, number, size).unwrap_or_default();
        if there.get(skip..skip + part.len()) == Some(part) {
            continue;
        }
        let path = path(folder, 0, number, WIDTH);
        let missing = || AuditError::key(&path, "hashes of records before it are missing");
        let mut hashes = there.get(..skip).ok_or_else(missing)?.to_vec();
        hashes.extend_from_slice(part);
        if path.exists() {
            // A wrong one would be read before the part that is known.
            disk::remove(&path)?;
        }
        let level = 0;
        write(
            folder,
            &Tile {
                level,
                number,
                hashes,
            },
        )?;
    }
    Ok(())
}

fn leaf_tile(folder: &Path, number: u64, size: u64) -> Option<Vec<Hash>> {
    read(folder, 0, number, WIDTH).or_else(|| {
        let width = size.checked_sub(number * WIDTH as u64)?.min(WIDTH as u64) as usize;
        // A crash between a tile and its checkpoint leaves a wider one.
        let wide = (width.max(1)..WIDTH).find_map(|wide| read(folder, 0, number, wide));
        wide.or_else(|| {
            (1..width)
                .rev()
                .find_map(|wide| read(folder, 0, number, wide))
        })
    })
}

/// Nodes of a tree of `size`, from its tiles, each tile read once.
#[derive(Debug)]
pub(crate) struct Nodes<'a> {
    folder: &'a Path,
    size: u64,
    tiles: HashMap<(u8, u64), Vec<Hash>>,
}

impl<'a> Nodes<'a> {
    pub(crate) fn new(folder: &'a Path, size: u64) -> Self {
        Self {
            folder,
            size,
            tiles: HashMap::new(),
        }
    }

    /// The root over the leaves from `low` to before `high`, which must be a node of the tree or its
    /// right edge. `None` when a tile is missing.
    pub(crate) fn root(&mut self, low: u64, high: u64) -> Option<Hash> {
        let count = high.checked_sub(low).filter(|count| *count > 0)?;
        for level in (0..8).rev() {
            let step = 1_u64 << (8 * u32::from(level));
            if count == step {
                return self.hash(level, low / step);
            }
        }
        let half = count.next_power_of_two() / 2;
        let (left, right) = (self.root(low, low + half)?, self.root(low + half, high)?);
        Some(crate::tree::node(&left, &right))
    }

    fn hash(&mut self, level: u8, index: u64) -> Option<Hash> {
        let (number, at) = (index / WIDTH as u64, (index % WIDTH as u64) as usize);
        let (count, width) = (shifted(self.size, level), WIDTH as u64);
        let wide = count.checked_sub(number * width)?.min(width) as usize;
        if !self.tiles.contains_key(&(level, number)) {
            let tile = read(self.folder, level, number, wide)
                .or_else(|| read(self.folder, level, number, WIDTH))
                .or_else(|| self.made(level, number, wide))?;
            self.tiles.insert((level, number), tile);
        }
        self.tiles.get(&(level, number))?.get(at).copied()
    }

    /// A tile that is not written yet, from the records: those of the last second are, at most.
    fn made(&mut self, level: u8, number: u64, wide: usize) -> Option<Vec<Hash>> {
        let first = number * WIDTH as u64;
        let indices = first..first + wide as u64;
        let Some(below) = level.checked_sub(1) else {
            let segments = Segment::list(self.folder).ok()?;
            return segment::leaves_of(&segments, indices);
        };
        let row = |this: &mut Self, parent: u64| {
            let first = parent * WIDTH as u64;
            let children = (first..first + WIDTH as u64).map(|child| this.hash(below, child));
            Some(root_of(&children.collect::<Option<Vec<Hash>>>()?))
        };
        indices.map(|parent| row(self, parent)).collect()
    }
}
