//! What a running command writes, on its way to who watches: held against the same secrets and addresses as
//! an answer, with the same hold-back.

use crate::act::Asking;
use crate::agent::Agent;
use crate::error::TurnError;
use crate::relay::{WITHHELD, leaked};
use crate::step::Pieces;
use clawdbot_domain::{Channel, Outcome, Taint, Untrusted};
use clawdbot_guard::{Holdback, Outward, Released, Stopped, neutralised};
use std::sync::Arc;

/// So many hosts are named in the record; a page of links has thousands.
const MOST_NAMED: usize = 64;

/// The output of one call, piece by piece.
pub(crate) struct Live {
    pieces: Pieces,
    /// None once it was stopped: nothing is shown any more.
    holdback: Option<Holdback>,
    removed: Vec<String>,
    stopped: Option<Stopped>,
}

impl Live {
    /// What may be shown now.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> String {
        let text = self.pieces.take(bytes);
        let released = self.holdback.as_mut().map(|holdback| holdback.push(&text));
        self.shown(released)
    }

    /// The rest, when the command has ended.
    pub(crate) fn finish(&mut self) -> String {
        let released = self.holdback.take().map(Holdback::finish);
        self.shown(released)
    }

    fn shown(&mut self, released: Option<Result<Released, Stopped>>) -> String {
        match released {
            None => String::new(),
            Some(Ok(released)) => {
                for host in released.removed {
                    if self.removed.len() < MOST_NAMED && !self.removed.contains(&host) {
                        self.removed.push(host);
                    }
                }
                released.text
            }
            Some(Err(stopped)) => {
                self.holdback = None;
                self.stopped = Some(stopped);
                format!("\n{WITHHELD}\n")
            }
        }
    }
}

impl Agent {
    /// For one call. What a tool writes is text from outside whatever the session held before it. That it reads
    /// like an attack is no reason to hide it from who watches; the model gets it screened.
    pub(crate) fn live(&self, asking: Asking<'_>) -> Live {
        let planted = asking.canary.map(|canary| Arc::clone(&canary.secrets));
        let outward = Outward {
            secrets: [self.kept.known.current()]
                .into_iter()
                .chain(planted)
                .collect(),
            hosts: self
                .links
                .hosts(asking.taint.and(Taint::Untrusted), asking.named_hosts),
            guard: None,
        };
        Live {
            pieces: Pieces::default(),
            holdback: Some(Holdback::new(Arc::new(outward))),
            removed: Vec::new(),
            stopped: None,
        }
    }

    /// Writes down what was kept from who watches. A secret that the whole result was withheld for has its
    /// record already.
    pub(crate) async fn note_live(
        &self,
        live: Live,
        output: &Untrusted,
        withheld: bool,
        asking: Asking<'_>,
    ) -> Result<(), TurnError> {
        let text = output.reveal_untrusted();
        if let (Some(Stopped::Leak { leak, .. }), false) = (&live.stopped, withheld) {
            let event = leaked(leak, Channel::Tool, "withheld", text.as_bytes());
            self.found(asking.who, Outcome::Denied, event).await?;
        }
        if !live.removed.is_empty() {
            let event = neutralised(&live.removed, text);
            self.found(asking.who, Outcome::Denied, event).await?;
        }
        Ok(())
    }
}
