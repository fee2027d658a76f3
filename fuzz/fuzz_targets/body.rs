#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| clawdbot_fuzz::body(bytes));
