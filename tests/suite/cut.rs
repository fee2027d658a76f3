//! A reply that is cut at any byte executes nothing.

use serde_json::json;
use testkit::{Dialect, Form, Gateway, Home, Reply, Upstream};

/// Every so many bytes one cut; with 1 the whole stream at every offset.
const STEP: usize = 1;

fn write_call() -> Reply {
    Reply::call(
        "write_file",
        &json!({"path": "cut.txt", "content": "executed"}),
    )
}

fn gateway_for(upstream: &Upstream, model: &str) -> Gateway {
    let home = Home::with_upstream(upstream);
    home.set_accepting_the_risk("gateway.tools.policy", "whitelist");
    home.set("gateway.tools.allowList", r#"["write_file"]"#);
    home.set("gateway.security.rateLimit.maxRequests", "1000000");
    home.set("models.default", model);
    home.start()
}

fn a_cut_stream_executes_nothing(model: &str, dialect: Dialect) {
    let bytes = write_call()
        .bytes(dialect, Form::Events { usage: true })
        .len();
    // The last bytes are the end itself: with them the call is whole.
    let whole_from = match dialect {
        Dialect::OpenAi => bytes - "data: [DONE]\n\n".len(),
        Dialect::Anthropic => {
            bytes - "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".len()
        }
    };
    let cuts = (0..whole_from).step_by(STEP).collect::<Vec<_>>();
    let asked = cuts.clone();
    let upstream = Upstream::thinking(move |seen, nth| {
        // A gateway that asks again after a cut is cut at the same place.
        assert!(
            !seen.json().to_string().contains("\"tool_call_id\""),
            "a result came back"
        );
        write_call().cut(asked.get(nth).copied().unwrap_or(0))
    });
    let gateway = gateway_for(&upstream, model);
    let file = gateway.home.workspace().join("cut.txt");
    for at in &cuts {
        let answer = gateway.turn("write it");
        assert!(
            answer.status >= 500,
            "cut at {at}: {} {}",
            answer.status,
            answer.text()
        );
        assert!(
            !file.exists(),
            "a call cut at byte {at} of {bytes} was executed"
        );
    }
    assert!(upstream.seen().len() >= cuts.len(), "every cut was tried");
    assert!(
        gateway.audit().of("tool.begin").is_empty(),
        "no tool was even begun"
    );
}

#[test]
fn an_openai_stream_cut_at_any_byte_executes_nothing() {
    a_cut_stream_executes_nothing("openai/gpt-mock", Dialect::OpenAi);
}

#[test]
fn an_anthropic_stream_cut_at_any_byte_executes_nothing() {
    a_cut_stream_executes_nothing("anthropic/claude-mock", Dialect::Anthropic);
}

#[test]
fn the_same_stream_uncut_does_execute() {
    for model in ["openai/gpt-mock", "anthropic/claude-mock"] {
        let upstream = Upstream::replying([write_call(), Reply::say("done")]);
        let gateway = gateway_for(&upstream, model);
        let answer = gateway.turn("write it");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let written = std::fs::read_to_string(gateway.home.workspace().join("cut.txt"));
        assert_eq!(written.ok().as_deref(), Some("executed"), "{model}");
    }
}
