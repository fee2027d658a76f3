//! When a question is asked again: only before the first byte of a reply, and not often.

use crate::ProviderError;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// How often a question is asked again.
const AGAIN: u32 = 2;

/// The longest pause a provider may ask for. A longer one is the caller's to wait.
const LONGEST: u64 = 5;

/// The longest `Retry-After` that is believed at all: a day.
const SANE: u64 = 86_400;

/// Pauses between tries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retries {
    first: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(400),
        }
    }
}

impl Retries {
    #[cfg(test)]
    pub(crate) fn at_once() -> Self {
        Self {
            first: Duration::ZERO,
        }
    }

    /// How long to wait before try number `tried + 1`, or `None` to give up.
    pub(crate) fn pause(&self, tried: u32, error: &ProviderError) -> Option<Duration> {
        if tried > AGAIN {
            return None;
        }
        match error {
            ProviderError::Unreachable { .. } => Some(self.jittered(tried)),
            ProviderError::Refused {
                status: 429 | 500 | 502 | 503 | 504 | 529,
                retry_after,
                ..
            } => match retry_after {
                None => Some(self.jittered(tried)),
                Some(seconds @ ..=LONGEST) => {
                    Some(Duration::from_secs(*seconds).max(self.jittered(tried)))
                }
                Some(_) => None,
            },
            // A provider that was silent for minutes is not asked to be silent again.
            ProviderError::Refused { .. }
            | ProviderError::NoCredential { .. }
            | ProviderError::TimedOut { .. }
            | ProviderError::Malformed { .. }
            | ProviderError::Cut { .. } => None,
        }
    }

    /// Doubles with each try; between half and all of it, so that callers do not come back in step.
    fn jittered(&self, tried: u32) -> Duration {
        let full = self.first * 2_u32.saturating_pow(tried.saturating_sub(1));
        // Spreading needs no secret randomness: the seeds of the standard library's hash maps do.
        let part = RandomState::new().build_hasher().finish() % 1000;
        full / 2 + full * (part as u32) / 2000
    }
}

/// `Retry-After` in whole seconds, when it is one. Dates and nonsense are as if it were not there.
pub(crate) fn retry_after(headers: &http::HeaderMap) -> Option<u64> {
    let value = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    if !value.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    value.parse().ok().filter(|seconds| *seconds <= SANE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawdbot_domain::ProviderName;

    fn refused(status: u16, retry_after: Option<u64>) -> ProviderError {
        ProviderError::Refused {
            provider: ProviderName::OpenAi,
            status,
            message: String::new(),
            retry_after,
        }
    }

    #[test]
    fn a_sane_retry_after_is_read_and_nonsense_is_not_there() {
        for (text, expected) in [
            ("3", Some(3)),
            ("86400", Some(86_400)),
            ("86401", None),
            ("-1", None),
            ("+1", None),
            ("", None),
            ("1.5", None),
            ("soon", None),
            ("99999999999999999999999", None),
            ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ] {
            let headers = [(http::header::RETRY_AFTER, text.parse().unwrap())]
                .into_iter()
                .collect();
            assert_eq!(retry_after(&headers), expected, "{text:?}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_at_most_twice() {
        let retries = Retries::default();
        for (error, again) in [
            (refused(429, None), true),
            (refused(529, Some(5)), true),
            (refused(429, Some(6)), false),
            (refused(429, Some(86_400)), false),
            (refused(400, None), false),
            (refused(401, Some(1)), false),
            (refused(501, None), false),
            (
                ProviderError::Cut {
                    provider: ProviderName::OpenAi,
                },
                false,
            ),
            (
                ProviderError::TimedOut {
                    provider: ProviderName::OpenAi,
                    seconds: 1,
                },
                false,
            ),
        ] {
            assert_eq!(retries.pause(1, &error).is_some(), again, "{error:?}");
            assert_eq!(retries.pause(2, &error).is_some(), again, "{error:?}");
            assert_eq!(retries.pause(3, &error), None, "{error:?}");
        }
    }

    #[test]
    fn a_pause_is_never_shorter_than_asked_for_nor_than_half_of_ours() {
        let retries = Retries::default();
        assert!(retries.pause(1, &refused(429, Some(2))).unwrap() >= Duration::from_secs(2));
        assert!(retries.pause(1, &refused(429, Some(0))).unwrap() >= Duration::from_millis(200));
        let second = retries.pause(2, &refused(503, None)).unwrap();
        assert!((400..=800).contains(&second.as_millis()), "{second:?}");
    }
}
