//! Refusals that a person may overrule, each once.

use clawdbot_domain::hex;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many refusals are remembered; older ones must be made anew.
const MOST: usize = 1024;

/// How long one may be overruled.
const FOR: Duration = Duration::from_secs(15 * 60);

/// Refused texts, by the id their refusal was told with.
#[derive(Debug, Default)]
pub(crate) struct Findings(Mutex<VecDeque<Refused>>);

#[derive(Debug)]
struct Refused {
    id: String,
    text_sha256: String,
    at: Instant,
}

impl Findings {
    /// A new id for a refused text.
    pub(crate) fn add(&self, text_sha256: &str, now: Instant) -> Option<String> {
        let mut random = [0; 8];
        // Without randomness an id could be guessed; then there is none, and the refusal stands.
        getrandom::fill(&mut random).ok()?;
        let id = format!("f-{}", hex(&random));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back(Refused {
            id: id.clone(),
            text_sha256: text_sha256.to_owned(),
            at: now,
        });
        Some(id)
    }

    /// The text that was refused under this id; it is spent by asking.
    pub(crate) fn take(&self, id: &str, now: Instant) -> Option<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|refused| refused.id == id)?;
        let refused = all.remove(at)?;
        let age = now.saturating_duration_since(refused.at);
        (age <= FOR).then_some(refused.text_sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_overruled_once_and_in_time() {
        let (findings, now) = (Findings::default(), Instant::now());
        let id = findings.add("aa", now).unwrap();
        let other = findings.add("bb", now).unwrap();
        assert_ne!(id, other);
        assert_eq!(findings.take(&id, now).as_deref(), Some("aa"));
        assert_eq!(findings.take(&id, now), None);
        let late = now + FOR + Duration::from_secs(1);
        assert_eq!(findings.take(&other, late), None);
        assert_eq!(findings.take("f-00", now), None);
    }

    #[test]
    fn a_flood_of_refusals_is_bounded() {
        let (findings, now) = (Findings::default(), Instant::now());
        let first = findings.add("aa", now).unwrap();
        for _ in 0..MOST {
            findings.add("bb", now).unwrap();
        }
        assert_eq!(findings.take(&first, now), None);
        assert_eq!(findings.0.lock().unwrap().len(), MOST);
    }
}
