//! What became of the text of one part of an answer, so that each event can be told whether it goes
//! as it came.

use std::collections::VecDeque;

/// A stretch of text that may go, and what it reads now if it was changed.
#[derive(Debug)]
struct Segment {
    start: usize,
    end: usize,
    changed: Option<String>,
}

/// The stretches that may go and are still waited for.
#[derive(Debug, Default)]
pub(super) struct Segments {
    all: VecDeque<Segment>,
    released: usize,
}

impl Segments {
    /// So many bytes more may go.
    pub(super) fn release(&mut self, of: usize, changed: Option<String>) {
        if of == 0 && changed.is_none() {
            return;
        }
        let start = self.released;
        self.released += of;
        let end = self.released;
        // Stretches that nobody changed are one stretch.
        if let (None, Some(last)) = (&changed, self.all.back_mut())
            && last.changed.is_none()
        {
            last.end = end;
            return;
        }
        self.all.push_back(Segment {
            start,
            end,
            changed,
        });
    }

    /// Whether everything before this place may go.
    pub(super) fn reaches(&self, end: usize) -> bool {
        self.released >= end
    }

    /// Whether a piece of text that stands here reads otherwise now.
    pub(super) fn differs(&self, start: usize, end: usize) -> bool {
        let mut here = self.all.iter().take_while(|segment| segment.start < end);
        here.any(|segment| segment.changed.is_some() && segment.end > start)
    }

    /// Nobody asks any more for what stands before this place.
    pub(super) fn forget(&mut self, end: usize) {
        self.all.retain(|segment| segment.end > end);
    }

    /// What a piece of text that stands here reads now; `None` when it is what it was. Pieces are asked
    /// for in their order, each once. A changed stretch is told whole where it begins.
    pub(super) fn take(&mut self, start: usize, text: &str) -> Option<String> {
        let end = start + text.len();
        let differs = self.differs(start, end);
        let mut out = String::new();
        for segment in self.all.iter().take_while(|segment| segment.start < end) {
            if let Some(changed) = &segment.changed {
                if segment.start >= start {
                    out.push_str(changed);
                }
            } else {
                let from = segment.start.max(start) - start;
                let to = segment.end.min(end).saturating_sub(start);
                out.push_str(text.get(from..to).unwrap_or_default());
            }
        }
        self.forget(end);
        differs.then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_stretch_is_told_where_it_begins_and_all_else_as_it_was() {
        // "see https://evil/x now", cut into pieces; the address was changed.
        let mut segments = Segments::default();
        segments.release(4, None);
        segments.release(14, Some("[removed]".to_owned()));
        assert!(segments.reaches(18) && !segments.reaches(19));
        segments.release(4, None);
        let pieces = ["se", "e http", "s://evi", "l/x", " now"];
        let mut at = 0;
        let mut now = Vec::new();
        for piece in pieces {
            now.push(segments.take(at, piece));
            at += piece.len();
        }
        let text = |t: &str| Some(t.to_owned());
        assert_eq!(now, [None, text("e [removed]"), text(""), text(""), None],);
        assert!(segments.all.is_empty());
    }
}
