//! Our own words, known again: what a client sends back was said to its token, or was not.

use crate::key::{Digest, Key};
use crate::session::{SELECT, SessionInfo, Speaker, Spoken, idle_since, info};
use clawdbot_domain::{SessionId, Taint, TokenId, UnixTime};
use rusqlite::{Transaction, params};
use std::collections::BTreeSet;

/// So many answers of a conversation are looked up; one with more counts as not known.
const MAX_LOOKUPS: usize = 1_000;

/// Clients trim and re-wrap; what is said stays the same.
fn words(text: &str) -> impl Iterator<Item = &[u8]> {
    text.split_whitespace().map(str::as_bytes)
}

pub(crate) fn alone(key: &Key, token: &TokenId, text: &str) -> Digest {
    key.digest(
        "answer",
        [token.as_str().as_bytes()].into_iter().chain(words(text)),
    )
}

pub(crate) fn conversation<'a>(
    key: &Key,
    token: &'a TokenId,
    spoken: impl IntoIterator<Item = Spoken<'a>>,
) -> Digest {
    let said = spoken.into_iter().flat_map(|spoken| {
        // No word is empty, so an empty part ends a message.
        let head = [&b""[..], spoken.speaker.mark()];
        head.into_iter().chain(words(spoken.text))
    });
    key.digest(
        "conversation",
        [token.as_str().as_bytes()].into_iter().chain(said),
    )
}

/// What a client's conversation holds of ours.
pub(crate) struct Heard {
    /// The conversation up to the assistant's last words.
    whole: Option<Digest>,
    /// Each of the assistant's texts.
    answers: BTreeSet<Digest>,
    /// More than are looked up.
    too_many: bool,
}

impl Heard {
    pub(crate) fn of(key: &Key, token: &TokenId, spoken: &[Spoken<'_>]) -> Self {
        let of_assistant = |spoken: &&Spoken<'_>| spoken.speaker == Speaker::Assistant;
        let last = spoken.iter().rposition(|spoken| of_assistant(&spoken));
        let until = last.and_then(|last| spoken.get(..=last));
        let said = spoken.iter().filter(of_assistant);
        // Without a word there is nothing to be known, and nothing to obey.
        let said = said.filter(|spoken| !spoken.text.trim().is_empty());
        let answers = said
            .take(MAX_LOOKUPS + 1)
            .map(|spoken| alone(key, token, spoken.text))
            .collect::<Vec<_>>();
        Self {
            whole: until.map(|until| conversation(key, token, until.iter().copied())),
            too_many: answers.len() > MAX_LOOKUPS,
            answers: answers.into_iter().collect(),
        }
    }

    /// The session that this conversation, word for word, was held in. Two may have begun alike: then
    /// the newest, and what is worst of both.
    pub(crate) fn whole(
        &self,
        tx: &Transaction<'_>,
        key: &Key,
        now: UnixTime,
    ) -> rusqlite::Result<(Option<SessionId>, Taint)> {
        let mut found = (None, Taint::Clean);
        if let Some(whole) = &self.whole {
            for info in sessions_with(tx, key, whole, now)? {
                found.1 = found.1.and(info.taint);
                found.0.get_or_insert(info.id);
            }
        }
        Ok(found)
    }

    /// What the assistant's texts are worth. One that was said in this session counts as that session
    /// does; one of other sessions as the worst of them; one that is not ours is untrusted.
    pub(crate) fn taint(
        &self,
        tx: &Transaction<'_>,
        key: &Key,
        session: Option<&SessionId>,
        now: UnixTime,
    ) -> rusqlite::Result<Taint> {
        if self.too_many {
            return Ok(Taint::Untrusted);
        }
        let mut taint = Taint::Clean;
        for digest in &self.answers {
            let known = sessions_with(tx, key, digest, now)?;
            if known.is_empty() {
                taint = taint.and(Taint::Untrusted);
            }
            if known.iter().any(|info| Some(&info.id) == session) {
                continue;
            }
            taint = known
                .iter()
                .fold(taint, |taint, info| taint.and(info.taint));
        }
        Ok(taint)
    }
}

/// The sessions in which this was said, newest first.
fn sessions_with(
    tx: &Transaction<'_>,
    key: &Key,
    digest: &Digest,
    now: UnixTime,
) -> rusqlite::Result<Vec<SessionInfo>> {
    let sql = format!(
        "{SELECT} WHERE id IN (SELECT session FROM answers WHERE digest = ?1) AND used > ?2
         ORDER BY used DESC, id"
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let rows = statement.query_map(params![digest, idle_since(now)], |row| info(key, row))?;
    rows.collect()
}
