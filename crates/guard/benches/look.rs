//! What looking costs when there is nothing to find, which is nearly always, and when there is.

use bytes::Bytes;
use clawdbot_domain::{Channel, Protocol};
use clawdbot_guard::{Guard, Holdback, Outward, Secrets};
use divan::{Bencher, black_box, counter::BytesCount};
use std::sync::Arc;

const PROSE: &str = "The committee met on Tuesday and talked about the budget for the new bridge. \
    After some discussion it was agreed that the engineers should first look at the river. ";

fn main() {
    divan::main();
}

fn prose(bytes: usize) -> String {
    PROSE.chars().cycle().take(bytes).collect()
}

fn screen(bencher: Bencher<'_, '_>, text: &str) {
    let guard = Guard::default();
    bencher
        .counter(BytesCount::of_str(text))
        .bench(|| guard.screen(black_box(text), Channel::User).is_ok());
}

#[divan::bench(args = [1024, 4096, 65536])]
fn clean_ascii(bencher: Bencher<'_, '_>, bytes: usize) {
    screen(bencher, &prose(bytes));
}

#[divan::bench(args = [1024])]
fn ascii_with_a_lexicon_word(bencher: Bencher<'_, '_>, bytes: usize) {
    screen(bencher, &format!("{} ignore", prose(bytes)));
}

#[divan::bench(args = [1024])]
fn german(bencher: Bencher<'_, '_>, bytes: usize) {
    let text = "Über die Brücke wurde am Dienstag lange gesprochen, größer soll sie werden. ";
    screen(
        bencher,
        &text.chars().cycle().take(bytes).collect::<String>(),
    );
}

#[divan::bench]
fn body_of_4_kb(bencher: Bencher<'_, '_>) {
    let message = |role: &str| {
        let text = prose(480);
        format!(r#"{{"role":"{role}","content":"{text}"}}"#)
    };
    let messages: Vec<_> = ["user", "assistant"]
        .iter()
        .cycle()
        .take(8)
        .map(|r| message(r))
        .collect();
    let body = format!(
        r#"{{"model":"m","stream":true,"messages":[{}]}}"#,
        messages.join(",")
    );
    let body = Bytes::from(body);
    let guard = Guard::default();
    bencher.counter(BytesCount::new(body.len())).bench(|| {
        guard
            .screen_body(black_box(body.clone()), Protocol::OpenAi)
            .is_ok()
    });
}

/// What a pass over the bytes costs that looks for one sign only.
#[divan::bench(args = [65536])]
fn compare_memchr(bencher: Bencher<'_, '_>, bytes: usize) {
    let text = prose(bytes);
    bencher
        .counter(BytesCount::of_str(&text))
        .bench(|| memchr::memchr_iter(b'q', black_box(text.as_bytes())).count());
}

/// What a pass costs that looks for a list of plain words.
#[divan::bench(args = [65536])]
fn compare_aho_corasick(bencher: Bencher<'_, '_>, bytes: usize) {
    let text = prose(bytes);
    let words = [
        "ignore previous",
        "system prompt",
        "developer mode",
        "disregard",
    ];
    let Ok(search) = aho_corasick::AhoCorasick::new(words) else {
        return;
    };
    bencher
        .counter(BytesCount::of_str(&text))
        .bench(|| search.find_iter(black_box(&text)).count());
}

fn page() -> String {
    prose(10 << 20)
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn page_of_10_mb(bencher: Bencher<'_, '_>) {
    screen(bencher, &page());
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn a_million_combining_marks(bencher: Bencher<'_, '_>) {
    screen(bencher, &format!("a{}", "\u{301}".repeat(1_000_000)));
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn one_token_of_10_mb(bencher: Bencher<'_, '_>) {
    screen(bencher, &"QUJD".repeat((10 << 20) / 4));
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn escapes_of_10_mb(bencher: Bencher<'_, '_>) {
    screen(bencher, &"%41%20".repeat((10 << 20) / 6));
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn base64_ten_deep(bencher: Bencher<'_, '_>) {
    use base64::Engine as _;
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let nested = (0..10).fold(prose(50_000), |text, _| encode(text));
    screen(bencher, &nested);
}

/// What a gateway with a handful of credentials holds an answer against.
fn outward() -> Option<Arc<Outward>> {
    let secrets: Vec<_> = (0..4)
        .map(|n| format!("sk-ant-api03-{n}{}", "x7Lk0ZtW9fQ2".repeat(8)))
        .collect();
    let named = secrets.iter().map(|secret| ("provider", secret.as_str()));
    Some(Arc::new(Outward {
        secrets: vec![Arc::new(Secrets::new(named).ok()?)],
        hosts: Some(Vec::new()),
        guard: None,
    }))
}

/// A streamed answer, a word at a time.
#[divan::bench(args = [1024, 4096])]
fn answer_word_by_word(bencher: Bencher<'_, '_>, bytes: usize) {
    let (text, Some(outward)) = (prose(bytes), outward()) else {
        return;
    };
    bencher.counter(BytesCount::of_str(&text)).bench(|| {
        let mut holdback = Holdback::new(Arc::clone(&outward));
        let mut out = 0;
        for word in black_box(&text).split_inclusive(' ') {
            out += holdback.push(word).map_or(0, |released| released.of);
        }
        out + holdback.finish().map_or(0, |released| released.of)
    });
}

/// A request on its way to a provider.
#[divan::bench(args = [4096])]
fn request_for_secrets(bencher: Bencher<'_, '_>, bytes: usize) {
    let (text, Some(outward)) = (prose(bytes), outward()) else {
        return;
    };
    bencher
        .counter(BytesCount::of_str(&text))
        .bench(|| outward.find_plain(black_box(&text)).is_some());
}

/// A tool's result, every encoding looked into.
#[divan::bench(args = [4096])]
fn result_for_secrets(bencher: Bencher<'_, '_>, bytes: usize) {
    let (text, Some(outward)) = (prose(bytes), outward()) else {
        return;
    };
    bencher
        .counter(BytesCount::of_str(&text))
        .bench(|| outward.find(black_box(&text)).is_some());
}

/// The mark of a turn.
#[divan::bench]
fn table_for_one_mark(bencher: Bencher<'_, '_>) {
    bencher.bench(|| Secrets::new([("canary", black_box("0123456789abcdef01234567"))]).is_ok());
}
