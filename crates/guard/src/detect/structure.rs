//! Text that pretends to be a part of the conversation: markers of chat templates, forged roles,
//! and images that carry data out.

use super::Match;
use memchr::memmem;

/// A marker, its rule, and its weights in a person's and a tool's text.
const MARKERS: &[(&str, &str, f32, f32)] = &[
    ("<|im_start|>", "chat-marker", 0.6, 0.85),
    ("<|im_end|>", "chat-marker", 0.6, 0.85),
    ("<|start_header_id|>", "chat-marker", 0.6, 0.85),
    ("<|eot_id|>", "chat-marker", 0.6, 0.85),
    ("<|endoftext|>", "chat-marker", 0.5, 0.7),
    ("[inst]", "chat-marker", 0.4, 0.6),
    ("<<sys>>", "chat-marker", 0.5, 0.7),
    ("\n\nhuman:", "forged-role", 0.3, 0.4),
    ("<system>", "forged-role", 0.25, 0.4),
    ("[system]", "forged-role", 0.25, 0.4),
    ("[system:", "forged-role", 0.25, 0.4),
    ("\"role\":\"system\"", "forged-role", 0.2, 0.4),
    ("\"role\": \"system\"", "forged-role", 0.2, 0.4),
    ("</tool_result>", "forged-role", 0.4, 0.7),
    ("</untrusted", "forged-role", 0.4, 0.6),
    ("<important>", "loud-tag", 0.1, 0.35),
];

pub(super) fn look(text: &str, from_tool: bool, found: &mut Vec<Match>) {
    if memchr::memchr3(b'<', b'[', b'"', text.as_bytes()).is_none() && !text.contains("\n\n") {
        return;
    }
    let lower = text.to_ascii_lowercase();
    for (marker, rule, user, tool) in MARKERS {
        if let Some(at) = memmem::find(lower.as_bytes(), marker.as_bytes()) {
            found.push(Match {
                rule,
                weight: if from_tool { *tool } else { *user },
                through: None,
                at: at..at + marker.len(),
            });
        }
    }
}
