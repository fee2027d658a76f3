//! Parent to child: the header in a memory file that goes with the request, the job over the child's
//! standard input as a length-prefixed frame.

use crate::confinement::{Confinement, Walls};
use serde::{Deserialize, Serialize};
use std::io::{self, Read};

/// The longest header. Mode permissive lists the siblings of the home one by one.
pub(crate) const MOST_HEADER: usize = 1 << 20;
/// The longest job: a `write_file` of a megabyte, escaped.
pub(crate) const MOST_JOB: usize = 8 << 20;

/// What the child is for. It comes from the trusted parent and is all a child reads unconfined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Header {
    /// Run one job, confined.
    Run {
        /// How.
        confinement: Confinement,
    },
    /// Try the canaries, with these layers raised.
    Canaries {
        /// Which.
        layers: crate::canary::Raised,
    },
}

impl Header {
    /// How a job is confined, where walls are raised round it.
    pub(crate) fn walled(&self) -> Option<&Confinement> {
        match self {
            Self::Run { confinement } if confinement.walls == Walls::All => Some(confinement),
            Self::Run { .. } | Self::Canaries { .. } => None,
        }
    }
}

/// Appends one frame.
pub(crate) fn put(frames: &mut Vec<u8>, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| too_long(frame.len()))?;
    frames.extend_from_slice(&length.to_be_bytes());
    frames.extend_from_slice(frame);
    Ok(())
}

/// Reads one frame of at most `most` bytes.
pub(crate) fn take(from: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > most {
        return Err(too_long(length));
    }
    let mut frame = vec![0; length];
    from.read_exact(&mut frame)?;
    Ok(frame)
}

fn too_long(length: usize) -> io::Error {
    io::Error::other(format!("a frame of {length} bytes is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_out_as_it_went_in_and_a_cut_or_endless_one_is_an_error() {
        let mut frames = Vec::new();
        put(&mut frames, b"header").unwrap();
        put(&mut frames, b"").unwrap();
        let mut from = frames.as_slice();
        assert_eq!(take(&mut from, 10).unwrap(), b"header");
        assert_eq!(take(&mut from, 10).unwrap(), b"");
        assert!(take(&mut from, 10).is_err());
        assert!(take(&mut frames[..7].as_ref(), 10).is_err());
        assert!(take(&mut frames.as_slice(), 5).is_err());
        assert!(take(&mut [0xff; 8].as_slice(), MOST_JOB).is_err());
    }
}
