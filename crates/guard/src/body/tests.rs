use super::*;
use crate::guard::GuardSettings;

fn screened(body: &str) -> Result<ScreenedBody, BodyRefusal> {
    Guard::default().screen_body(Bytes::copy_from_slice(body.as_bytes()), Protocol::OpenAi)
}

#[test]
fn a_plain_request_passes_byte_for_byte() {
    let body =
        r#"{"model":"m","messages":[{"role":"user","content":"Hello"}],"x_new":{"a":[1,2.5e3]}}"#;
    let screened = screened(body).unwrap();
    assert_eq!(screened.bytes(), body.as_bytes());
    assert_eq!((screened.model(), screened.stream()), ("m", false));
    let _ = GuardSettings::default();
}
