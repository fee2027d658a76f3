//! What must hold for any bytes. Each target feeds one of these; `smoke` feeds all of them.

use bytes::Bytes;
use clawdbot_domain::{Channel, Protocol, Untrusted};
use clawdbot_guard::{Guard, GuardSettings, Holdback, Outward, Secrets, neutralise};
use std::sync::{Arc, OnceLock};

/// How much longer a screened text may be than its source: delimiters and notices.
const MOST_ADDED: usize = 1000;

const SECRET: &str = "kestrel-47-umbra-19";

/// Normaliser, rules, model, redaction.
pub fn scanner(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for strict in [false, true] {
        let guard = Guard::new(GuardSettings { enabled: true, strict });
        for channel in [Channel::User, Channel::Model, Channel::ToolDescription] {
            let score = guard.explain(&text, channel).score;
            assert!((0.0..=1.0).contains(&score), "{score}");
            assert_eq!(guard.screen(&text, channel).is_err(), score >= guard.threshold(channel));
        }
        let looked = guard.screen_untrusted(&Untrusted::new(text.to_string()), "b0undary-1234");
        assert!(looked.text.as_str().len() <= text.len() * 2 + MOST_ADDED);
    }
}

/// Secrets, addresses, hold-back. What streams out is what comes out at once.
pub fn outward(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    static SECRETS: OnceLock<Arc<Secrets>> = OnceLock::new();
    let made = || Arc::new(Secrets::new([("canary", SECRET)]).unwrap_or_default());
    let secrets = Arc::clone(SECRETS.get_or_init(made));
    let hosts = vec!["good.example".to_owned()];
    let once = neutralise(&text, &hosts);
    assert!(neutralise(&once.text, &hosts).removed.is_empty(), "{}", once.text);
    let planted = format!("{text}{SECRET}{text}");
    assert!(secrets.find(&planted).is_some());
    let outward = Outward {
        secrets: vec![secrets],
        hosts: Some(hosts.clone()),
        guard: Some(Guard::default()),
    };
    let mut holdback = Holdback::new(Arc::new(outward));
    let chars: Vec<char> = planted.chars().collect();
    let mut got = String::new();
    let mut stopped = false;
    for chunk in chars.chunks(usize::from(bytes.first().copied().unwrap_or(0)) + 1) {
        match holdback.push(&chunk.iter().collect::<String>()) {
            Ok(part) => got.push_str(&part.text),
            Err(_) => stopped = true,
        }
    }
    assert!(stopped || holdback.finish().is_err(), "the canary got out");
    assert!(!got.contains(SECRET));
    assert!(neutralise(&got, &hosts).removed.is_empty(), "{got}");
}

/// A whole request.
pub fn body(bytes: &[u8]) {
    let given = Bytes::copy_from_slice(bytes);
    if let Ok(screened) = Guard::default().screen_body(given, Protocol::OpenAi) {
        assert_eq!(screened.bytes(), bytes);
    }
}
