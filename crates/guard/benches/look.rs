//! What looking costs when there is nothing to find, which is nearly always, and when there is.

use bytes::Bytes;
use clawdbot_domain::{Channel, Protocol};
use clawdbot_guard::Guard;
use divan::{Bencher, black_box, counter::BytesCount};

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
