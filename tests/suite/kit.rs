//! The kit itself: a mock that lies would make every other claim worthless.

use serde_json::json;
use testkit::{Call, Dialect, Form, Reply, Upstream};

#[test]
fn the_mock_answers_whole_streamed_and_cut_and_remembers_what_it_was_asked() {
    let upstream = Upstream::replying([
        Reply::say("one two"),
        Reply::say("one two"),
        Reply::call("read_file", &json!({"path": "a"})).cut(300),
    ]);
    let ask = |stream: bool| {
        let body = json!({"model": "gpt-mock", "stream": stream, "messages": []});
        upstream.ask(&Call::post("/v1/chat/completions?a=1", &body).header("x-odd", "kept"))
    };
    let whole = ask(false);
    assert_eq!(whole.json()["choices"][0]["message"]["content"], "one two");
    let streamed = ask(true);
    assert!(
        streamed.whole && streamed.text().ends_with("data: [DONE]\n\n"),
        "{}",
        streamed.text()
    );
    let cut = ask(true);
    assert!(!cut.whole, "a cut body must not look whole");
    assert_eq!(cut.body.len(), 300);
    let seen = upstream.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].target, "/v1/chat/completions?a=1");
    assert_eq!(seen[0].header("x-odd"), Some("kept"));
    assert_eq!(
        (seen[0].form(), seen[1].form()),
        (Form::Whole, Form::Events { usage: false })
    );
}

#[test]
fn the_mock_speaks_both_dialects() {
    let call = Reply::call("read_file", &json!({"path": "notes.txt"}));
    let openai =
        String::from_utf8(call.bytes(Dialect::OpenAi, Form::Events { usage: true })).unwrap();
    let anthropic =
        String::from_utf8(call.bytes(Dialect::Anthropic, Form::Events { usage: true })).unwrap();
    assert!(openai.contains("tool_calls") && openai.ends_with("data: [DONE]\n\n"));
    assert!(anthropic.contains("input_json_delta") && anthropic.contains("event: message_stop"));
}
