//! The Merkle tree over the records, RFC 6962, kept as the unfinished tiles of its right edge.
//!
//! A tile holds 256 hashes of one level; the next level up hashes whole tiles. What is kept in memory
//! is therefore never more than 255 hashes a level, and a record costs one push.

use sha2::{Digest as _, Sha256};

/// A node of the tree.
pub(crate) type Hash = [u8; 32];

/// Hashes in a whole tile.
pub(crate) const WIDTH: usize = 256;

/// A tile that is finished: it never changes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tile {
    pub(crate) level: u8,
    pub(crate) number: u64,
    pub(crate) hashes: Vec<Hash>,
}

/// The tree, as far as it is needed to add to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    size: u64,
    /// The hashes of the unfinished tile of each level.
    edge: Vec<Vec<Hash>>,
    /// Tiles that were finished and are not written yet.
    finished: Vec<Tile>,
}

impl Tree {
    /// How many records it covers.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The newest leaf hash; `None` when it lies in a finished tile, or there is none.
    pub(crate) fn last_leaf(&self) -> Option<Hash> {
        self.last_of(0)
    }

    /// The newest hash of a level's unfinished tile.
    pub(crate) fn last_of(&self, level: usize) -> Option<Hash> {
        self.edge.get(level)?.last().copied()
    }

    /// A hash of a level, if it lies in the unfinished tile.
    pub(crate) fn unfinished(&self, level: u8, index: u64) -> Option<Hash> {
        let first = shifted(self.size, level) / WIDTH as u64 * WIDTH as u64;
        let at = usize::try_from(index.checked_sub(first)?).ok()?;
        self.edge.get(usize::from(level))?.get(at).copied()
    }

    /// The tree of that size whose unfinished tiles are these, lowest level first.
    pub(crate) fn from_edge(size: u64, edge: Vec<Vec<Hash>>) -> Self {
        Self {
            size,
            edge,
            finished: Vec::new(),
        }
    }

    /// Adds a record by its leaf hash.
    pub(crate) fn push(&mut self, leaf: Hash) {
        self.size += 1;
        let (mut hash, mut done) = (leaf, self.size);
        for level in 0..u8::MAX {
            let at = usize::from(level);
            if self.edge.len() <= at {
                self.edge.push(Vec::with_capacity(WIDTH));
            }
            let Some(edge) = self.edge.get_mut(at) else {
                return;
            };
            edge.push(hash);
            if edge.len() < WIDTH {
                return;
            }
            let hashes = std::mem::replace(edge, Vec::with_capacity(WIDTH));
            hash = root_of(&hashes);
            done /= WIDTH as u64;
            self.finished.push(Tile {
                level,
                number: done - 1,
                hashes,
            });
        }
    }

    /// The root.
    pub(crate) fn root(&self) -> Hash {
        let mut whole: Vec<Hash> = Vec::new();
        for edge in self.edge.iter().rev() {
            whole.extend(perfect_parts(edge));
        }
        fold(&whole)
    }

    /// The unfinished tiles that hold something.
    pub(crate) fn edge(&self) -> impl Iterator<Item = Tile> + '_ {
        let tiles = self.edge.iter().zip(0_u8..).map(|(hashes, level)| Tile {
            level,
            number: shifted(self.size, level) / WIDTH as u64,
            hashes: hashes.clone(),
        });
        tiles.filter(|tile| !tile.hashes.is_empty())
    }

    /// Tiles that were finished since the last call.
    pub(crate) fn take_finished(&mut self) -> Vec<Tile> {
        std::mem::take(&mut self.finished)
    }

    /// They could not be written.
    pub(crate) fn give_back(&mut self, mut tiles: Vec<Tile>) {
        tiles.append(&mut self.finished);
        self.finished = tiles;
    }
}

/// How many whole hashes of that level a tree of that size has.
pub(crate) fn shifted(size: u64, level: u8) -> u64 {
    size.checked_shr(8 * u32::from(level)).unwrap_or(0)
}

/// An inner node.
pub(crate) fn node(left: &Hash, right: &Hash) -> Hash {
    let mut sha = Sha256::new();
    sha.update([1]);
    sha.update(left);
    sha.update(right);
    sha.finalize().into()
}

/// The root over these neighbours; the hash of nothing when there are none.
pub(crate) fn root_of(hashes: &[Hash]) -> Hash {
    fold(&perfect_parts(hashes))
}

/// The roots of the perfect trees these neighbours divide into, largest first.
fn perfect_parts(mut hashes: &[Hash]) -> Vec<Hash> {
    let mut parts = Vec::new();
    while !hashes.is_empty() {
        let (first, rest) = hashes.split_at(1 << hashes.len().ilog2());
        let mut row = first.to_vec();
        while row.len() > 1 {
            row = row
                .as_chunks::<2>()
                .0
                .iter()
                .map(|[left, right]| node(left, right))
                .collect();
        }
        parts.append(&mut row);
        hashes = rest;
    }
    parts
}

/// Joins perfect trees, the smaller ones first.
fn fold(parts: &[Hash]) -> Hash {
    let Some((last, rest)) = parts.split_last() else {
        return Sha256::digest([]).into();
    };
    rest.iter()
        .rev()
        .fold(*last, |right, left| node(left, &right))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962, 2.1, word for word.
    fn by_the_book(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            many => {
                let half = many.len().next_power_of_two() / 2;
                node(&by_the_book(&many[..half]), &by_the_book(&many[half..]))
            }
        }
    }

    #[test]
    fn the_root_is_that_of_rfc_6962_at_every_size_and_across_tiles() {
        let mut tree = Tree::default();
        let mut leaves: Vec<Hash> = Vec::new();
        for at in 0..1_100_u32 {
            if at < 40 || at % 61 == 0 || at % 256 < 2 {
                assert_eq!(tree.root(), by_the_book(&leaves), "size {at}");
            }
            let leaf = Sha256::digest(at.to_le_bytes()).into();
            leaves.push(leaf);
            tree.push(leaf);
        }
        let finished = tree.take_finished();
        let numbers: Vec<_> = finished.iter().map(|t| (t.level, t.number)).collect();
        assert_eq!(numbers, [(0, 0), (0, 1), (0, 2), (0, 3)]);
        assert_eq!(finished[2].hashes, leaves[512..768]);
    }

    #[test]
    fn the_reference_values_of_certificate_transparency_come_out() {
        // The empty tree and the leaf of no bytes, as published with RFC 6962.
        let hex = |hash: Hash| crate::note::hex(&hash);
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(Tree::default().root()), empty);
        let mut tree = Tree::default();
        for leaf in [&[][..], &[0], &[0x10]] {
            let mut sha = Sha256::new();
            sha.update([0]);
            sha.update(leaf);
            tree.push(sha.finalize().into());
        }
        let known = "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77";
        assert_eq!(hex(tree.root()), known);
    }
}
