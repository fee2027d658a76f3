//! What a relayed answer says it used, found without taking the answer apart.

use clawdbot_domain::Usage;
use serde_json::Value;

/// How much of the end of an answer is kept. Both dialects tell what was used in their last pieces.
const KEPT: usize = 4096;

const FIELD: &[u8] = b"\"usage\":";

/// The last bytes of an answer.
#[derive(Default)]
pub(crate) struct Tail(Vec<u8>);

impl Tail {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if bytes.len() >= KEPT {
            self.0.clear();
        } else if self.0.len() + bytes.len() > 2 * KEPT {
            let surplus = self.0.len().saturating_sub(KEPT);
            self.0.drain(..surplus);
        }
        let from = bytes.len().saturating_sub(KEPT);
        self.0
            .extend_from_slice(bytes.get(from..).unwrap_or_default());
    }

    /// The last usage object in it. The provider's word, as every usage is; a model that writes one
    /// into its text changes a number in the log and nothing else.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let at = memchr::memmem::rfind(&self.0, FIELD)? + FIELD.len();
        let mut values =
            serde_json::Deserializer::from_slice(self.0.get(at..)?).into_iter::<Value>();
        let used = values.next()?.ok()?;
        let count = |names: [&str; 2]| names.iter().find_map(|name| used.get(*name)?.as_u64());
        Some(Usage {
            input_tokens: count(["prompt_tokens", "input_tokens"]).unwrap_or_default(),
            output_tokens: count(["completion_tokens", "output_tokens"])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_found_at_the_end_of_either_dialect_however_it_is_split() {
        let used = Some(Usage {
            input_tokens: 7,
            output_tokens: 9,
        });
        for text in [
            r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":9}}"#,
            "data: {\"usage\": {\"completion_tokens\":9,\"prompt_tokens\":7}}\n\ndata: [DONE]\n\n",
            "data: {\"type\":\"message_delta\",\"usage\":{\"input_tokens\":7,\"output_tokens\":9}}\n\n",
        ] {
            let long = format!("{}{text}", "x".repeat(3 * KEPT));
            for size in [1, 7, 4096, 100_000] {
                let mut tail = Tail::default();
                long.as_bytes()
                    .chunks(size)
                    .for_each(|piece| tail.push(piece));
                assert_eq!(tail.usage(), used, "{size} {text}");
                assert!(tail.0.len() <= 2 * KEPT);
            }
        }
    }

    #[test]
    fn no_usage_is_no_usage() {
        for text in [
            "",
            "\"usage\":",
            "\"usage\":null}",
            "\"usage\":{\"a\":1}",
            "\"usage\":{\"output_",
        ] {
            let mut tail = Tail::default();
            tail.push(text.as_bytes());
            assert_eq!(tail.usage(), None, "{text}");
        }
    }
}
