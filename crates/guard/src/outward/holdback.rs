//! A streamed answer, screened before it is let go.
//!
//! What is held is no more than what may still turn into something that must not go out: the letters
//! that are the beginning of a secret, an address that is being written, a word that may be an
//! encoding. Prose passes at once, so that a reader waits for nothing.

use super::links::{may_hold_address, neutralise_after, open_address};
use super::secrets::{Walk, is_kept};
use super::{Leak, Secrets, Stopped};
use crate::guard::Guard;
use crate::report::{Action, Report};
use clawdbot_domain::Channel;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// The most that is held back, in bytes. A reader waits for no more than this.
const MOST_HELD: usize = 4096;

/// Fewer letters than these that a secret begins with tell nothing, and every word has some.
const LOOSE: usize = 4;

/// How far into a secret the end of the longest held text may be.
const SURELY: usize = 8;

/// A word of letters alone passes at once up to this length: no longer one is written in prose.
const WORD: usize = 20;

/// The shortest word that may be an encoding: what is decoded is no shorter.
const ENCODED: usize = 16;

/// How much of what was said is looked at together with what comes, in bytes.
const WINDOW: usize = 1024;

/// How much of what was let go tells whether markup expects an address.
const CONTEXT: usize = 64;

/// How much must have come before whole windows are looked at again.
const STRIDE: usize = 1024;

/// What an answer is held against. Plain values; it knows no setting.
#[derive(Debug, Clone, Default)]
pub struct Outward {
    /// What must not go out: what the gateway knows, and what was planted for this turn.
    pub secrets: Vec<Arc<Secrets>>,
    /// The hosts that links and images may lead to; nothing is neutralised without a list.
    pub hosts: Option<Vec<String>>,
    /// Who judges what the model says, if anyone; it then comes in steps of a kilobyte.
    pub guard: Option<Guard>,
}

impl Outward {
    /// The first secret that stands in a text, in any encoding.
    pub fn find(&self, text: &str) -> Option<Leak> {
        self.secrets.iter().find_map(|secrets| secrets.find(text))
    }

    /// The first secret that stands in a text as it is or in one layer of encoding.
    pub fn find_plain(&self, text: &str) -> Option<Leak> {
        let mut all = self.secrets.iter();
        all.find_map(|secrets| secrets.find_plain(text))
    }
}

/// A part of an answer that may go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Released {
    /// What to show.
    pub text: String,
    /// How many bytes of what the model said it stands for.
    pub of: usize,
    /// The hosts of the addresses that were taken out; when there are none, the text is what the
    /// model said.
    pub removed: Vec<String>,
}

/// The part of a streamed answer that is not let go yet.
///
/// Chunks go in, text that was looked at comes out. Of a secret in one layer of encoding no more than
/// three letters are let go, whatever stands between them. After a stop nothing comes out any more.
#[derive(Debug, Clone)]
pub struct Holdback {
    outward: Arc<Outward>,
    walks: Vec<Walk>,
    /// Where the last letters stand, a place a byte, from the beginning of the answer.
    letters: VecDeque<usize>,
    most_letters: usize,
    held: String,
    /// How much was let go.
    gone: usize,
    /// From where on words have not been looked at, from the beginning of the answer.
    word: usize,
    /// The last letter that ends a word, from the beginning of the answer: found once, as it came.
    last_break: Range<usize>,
    /// The end of what was let go, as the model said it.
    said: String,
    unjudged: usize,
    stopped: Option<Stopped>,
}

impl Holdback {
    /// For one answer.
    pub fn new(outward: Arc<Outward>) -> Self {
        let longest = outward.secrets.iter().map(|secrets| secrets.longest());
        Self {
            most_letters: longest.max().unwrap_or(0),
            walks: outward.secrets.iter().map(|s| Walk::new(s)).collect(),
            outward,
            letters: VecDeque::new(),
            held: String::new(),
            gone: 0,
            word: 0,
            last_break: 0..0,
            said: String::new(),
            unjudged: 0,
            stopped: None,
        }
    }

    /// For what comes after something that was let go already: a secret may be told in two parts.
    pub fn after(outward: Arc<Outward>, gone: &str) -> Self {
        let mut next = Self::new(outward);
        let from = gone.len().saturating_sub(WINDOW);
        let from = (from..=gone.len()).find(|at| gone.is_char_boundary(*at));
        let tail = from.and_then(|at| gone.get(at..)).unwrap_or_default();
        for letter in tail.chars().filter(|c| is_kept(*c)) {
            for (walk, secrets) in next.walks.iter_mut().zip(&next.outward.secrets) {
                // What ends here is gone; whoever let it go has answered for it.
                let _ = walk.step(secrets, letter);
            }
            next.letters
                .extend(std::iter::repeat_n(0, letter.len_utf8()));
        }
        tail.clone_into(&mut next.said);
        next
    }

    /// Takes what came and gives what may go. Fails from the first finding on.
    pub fn push(&mut self, chunk: &str) -> Result<Released, Stopped> {
        self.go_on()?;
        let leak = self.walk(chunk).or_else(|| self.words(false));
        self.stop_at(leak)?;
        self.judge(false)?;
        let end = match (self.cut(), self.judged()) {
            (cut, judged) if judged < cut => self.word_at(judged),
            (cut, _) => cut,
        };
        if self.held.len() - end > MOST_HELD {
            return self.overflow();
        }
        Ok(self.release(end))
    }

    /// The rest, when the answer has ended.
    pub fn finish(mut self) -> Result<Released, Stopped> {
        self.go_on()?;
        let leak = self.words(true);
        self.stop_at(leak)?;
        self.judge(true)?;
        let all = self.held.len();
        Ok(self.release(all))
    }

    fn go_on(&self) -> Result<(), Stopped> {
        self.stopped.clone().map_or(Ok(()), Err)
    }

    fn stop_at(&mut self, leak: Option<Leak>) -> Result<(), Stopped> {
        let Some(leak) = leak else { return Ok(()) };
        let text = self.window();
        self.stop(Stopped::leak(leak, &text))
    }

    fn stop(&mut self, why: Stopped) -> Result<(), Stopped> {
        self.held.clear();
        self.stopped = Some(why.clone());
        Err(why)
    }

    /// One step a letter: a secret that is spelled out, whatever stands between its letters.
    fn walk(&mut self, chunk: &str) -> Option<Leak> {
        let from = self.gone + self.held.len();
        self.held.push_str(chunk);
        self.unjudged += chunk.len();
        for (at, letter) in chunk.char_indices() {
            if breaks(letter) {
                let at = from + at;
                self.last_break = at..at + letter.len_utf8();
            }
            if !is_kept(letter) {
                continue;
            }
            for (walk, secrets) in self.walks.iter_mut().zip(&self.outward.secrets) {
                if let Some(leak) = walk.step(secrets, letter) {
                    return Some(leak);
                }
            }
            for _ in 0..letter.len_utf8() {
                self.letters.push_back(from + at);
            }
        }
        let surplus = self.letters.len().saturating_sub(self.most_letters);
        self.letters.drain(..surplus);
        None
    }

    /// Words that may be an encoding of something, once they are whole. Their beginnings may be gone,
    /// because they looked like prose.
    fn words(&mut self, last: bool) -> Option<Leak> {
        let end = if last {
            self.gone + self.held.len()
        } else {
            self.last_break.start.max(self.word)
        };
        if end - self.word < SURELY {
            self.word = end;
            return None;
        }
        let before = self.gone.saturating_sub(self.word);
        let said = self.said.len().checked_sub(before);
        let said = said.and_then(|at| self.said.get(at..)).unwrap_or_default();
        let held = (self.word.saturating_sub(self.gone), end - self.gone);
        let held = self.held.get(held.0..held.1).unwrap_or_default();
        let whole = format!("{said}{held}");
        self.word = end;
        whole
            .split(breaks)
            .filter(|word| word.len() >= ENCODED || (word.len() >= SURELY && is_escaped(word)))
            .find_map(|word| self.outward.find(word))
    }

    /// Now and then, everything together: what words cannot show one by one.
    fn judge(&mut self, last: bool) -> Result<(), Stopped> {
        // A short answer is one window, and its words were looked at.
        if self.unjudged < STRIDE && !(last && self.unjudged > 0) {
            return Ok(());
        }
        self.unjudged = 0;
        let window = self.window();
        if let Some(leak) = self.outward.find(&window) {
            return self.stop(Stopped::leak(leak, &window));
        }
        let guard = self.outward.guard;
        match guard.and_then(|guard| guard.find(&window, Channel::Model)) {
            Some(detection) => {
                let report = Report::new(Channel::Model, Action::Withheld, &window, &detection);
                self.stop(Stopped::Finding(Box::new(report)))
            }
            None => Ok(()),
        }
    }

    fn window(&self) -> String {
        format!("{}{}", self.said, self.held)
    }

    /// A text after the end of what was let go, and where it begins.
    fn with_context(&self, text: &str) -> (String, usize) {
        let from = self.said.trim_end().len().saturating_sub(CONTEXT);
        let from = (from..self.said.len()).find(|at| self.said.is_char_boundary(*at));
        let before = from.and_then(|at| self.said.get(at..)).unwrap_or_default();
        (format!("{before}{text}"), before.len())
    }

    /// Up to where somebody has judged it, when somebody is to.
    fn judged(&self) -> usize {
        match self.outward.guard {
            Some(_) => self.held.len().saturating_sub(self.unjudged),
            None => self.held.len(),
        }
    }

    /// Up to where the held text may go.
    fn cut(&self) -> usize {
        let word = self.open_word();
        let address = self.outward.hosts.as_ref();
        let address = address.filter(|_| may_hold_address(&self.held));
        let address = address.and_then(|_| {
            let (text, from) = self.with_context(&self.held);
            open_address(&text, from).map(|at| at - from)
        });
        let secret = self.open_secret();
        word.min(address.unwrap_or(word))
            .min(secret.unwrap_or(word))
    }

    /// Where the last word begins, when it may be more than a word; else the end.
    fn open_word(&self) -> usize {
        let start = self.last_break.end.saturating_sub(self.gone);
        let word = self.held.get(start..).unwrap_or_default();
        let is_prose = word.len() <= WORD
            && word.chars().all(char::is_alphabetic)
            && !word.starts_with(['w', 'W']);
        // What went before it may belong to it: a letter of an encoding, the slashes of an address.
        let is_fresh = start > 0 || self.said.chars().next_back().is_none_or(breaks);
        if is_prose && is_fresh {
            self.held.len()
        } else {
            start
        }
    }

    /// Where the word begins in which letters begin that may be the beginning of a secret.
    fn open_secret(&self) -> Option<usize> {
        let depths = self.walks.iter().zip(&self.outward.secrets);
        let depth = depths.map(|(walk, secrets)| walk.depth(secrets)).max()?;
        let first = self.letters.len().checked_sub(depth)?;
        let at = (depth >= LOOSE)
            .then(|| self.letters.get(first))
            .flatten()?;
        Some(self.word_at(at.saturating_sub(self.gone)))
    }

    /// Where the word begins that stands here. An address is never cut: nobody would know its other half
    /// again.
    fn word_at(&self, at: usize) -> usize {
        let before = self.held.get(..at).unwrap_or_default();
        let space = before.char_indices().rfind(|(_, c)| c.is_whitespace());
        space.map_or(0, |(at, space)| at + space.len_utf8())
    }

    /// More is held than a reader should wait for. Letters far apart that spell the beginning of a
    /// secret are no accident; anything else is let go.
    fn overflow(&mut self) -> Result<Released, Stopped> {
        let mut depths = self.walks.iter().zip(&self.outward.secrets);
        let deep = depths.any(|(walk, secrets)| walk.depth(secrets) >= SURELY);
        let leak = deep.then(|| Leak {
            name: "secret".to_owned(),
            through: "separated",
        });
        let held = std::mem::take(&mut self.held);
        let leak = leak.or_else(|| self.outward.find(&held));
        self.held = held;
        self.stop_at(leak)?;
        self.judge(true)?;
        let all = self.held.len();
        Ok(self.release(all))
    }

    fn release(&mut self, end: usize) -> Released {
        let rest = self.held.split_off(end.min(self.held.len()));
        let out = std::mem::replace(&mut self.held, rest);
        let of = out.len();
        self.gone += of;
        let hosts = self.outward.hosts.as_ref();
        let neutral = hosts.filter(|_| may_hold_address(&out)).map(|hosts| {
            let (text, from) = self.with_context(&out);
            neutralise_after(&text, from, hosts)
        });
        self.said.push_str(&out);
        let (text, removed) = neutral.map_or((out, Vec::new()), |n| (n.text, n.removed));
        if self.said.len() > 2 * WINDOW {
            let spare = self.said.len() - WINDOW;
            let from = (spare..self.said.len()).find(|at| self.said.is_char_boundary(*at));
            self.said.drain(..from.unwrap_or(spare));
        }
        Released { text, of, removed }
    }
}

/// What ends a word. Letters that are written without spaces between words are words of their own.
fn breaks(c: char) -> bool {
    c.is_whitespace()
        || (!c.is_ascii() && c.is_alphabetic() && !is_spaced_script(c))
        || matches!(c, '。' | '、' | '，' | '！' | '？')
}

/// Scripts that put spaces between words, beyond ASCII: Latin, Greek, Cyrillic, Hebrew, Arabic, the
/// Indic scripts and Hangul.
const fn is_spaced_script(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{dff}' | '\u{10a0}'..='\u{10ff}' | '\u{1100}'..='\u{11ff}'
        | '\u{1e00}'..='\u{1fff}' | '\u{ac00}'..='\u{d7af}')
}

fn is_escaped(word: &str) -> bool {
    word.contains(['%', '&', '\\'])
}

#[cfg(test)]
mod tests;
