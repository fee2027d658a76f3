//! clawdbot
fn main() {}
