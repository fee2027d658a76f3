//! Weights, thresholds and metrics are made together, and must be committed together.

use clawdbot_domain::{Channel, sha256_hex};
use clawdbot_guard::{Guard, GuardSettings};
use serde_json::Value;

const WEIGHTS: &[u8] = include_bytes!("../model/weights.bin");
const METRICS: &str = include_str!("../model/metrics.json");

#[test]
fn the_metrics_are_those_of_these_weights() {
    let metrics: Value = serde_json::from_str(METRICS).unwrap();
    assert_eq!(metrics["weights_sha256"], sha256_hex(WEIGHTS));
}

#[test]
fn the_guard_judges_by_the_thresholds_that_were_chosen_for_these_weights() {
    let metrics: Value = serde_json::from_str(METRICS).unwrap();
    for (channel, strict, head, name) in [
        (Channel::User, false, "user", "block"),
        (Channel::User, true, "user", "strict"),
        (Channel::Tool, false, "tool", "block"),
        (Channel::Tool, true, "tool", "withhold"),
        (Channel::ToolDescription, true, "tool", "withhold"),
        (Channel::Model, true, "user", "certain"),
    ] {
        let settings = GuardSettings {
            enabled: true,
            strict,
        };
        let used = f64::from(Guard::new(settings).threshold(channel));
        let chosen = metrics["thresholds"][head][name].as_f64().unwrap();
        assert!(
            (used - chosen).abs() < 1e-6,
            "{head}.{name}: {used} {chosen}"
        );
    }
}

#[test]
fn the_weights_are_small() {
    assert!(WEIGHTS.len() <= 2_000_000, "{} bytes", WEIGHTS.len());
}
