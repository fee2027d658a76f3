use super::*;
use base64::Engine as _;
use proptest::prelude::*;

const SECRET: &str = "sk-test-9fQ2/x7+Lk0ZtW";

fn secrets() -> Secrets {
    Secrets::new([("provider", SECRET), ("canary", "kestrel-47-umbra-19")]).unwrap()
}

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn a_secret_is_found_in_every_spelling() {
    let hexed = clawdbot_domain::hex(SECRET.as_bytes());
    let apart: String = SECRET.chars().flat_map(|c| [c, ' ']).collect();
    let hidden: String = SECRET.chars().flat_map(|c| [c, '\u{200b}']).collect();
    let each = |spell: fn(u8) -> String| SECRET.bytes().map(spell).collect::<Vec<_>>();
    let percent = each(|b| format!("%{b:02x}")).concat();
    let entities = each(|b| format!("&#{b};")).concat();
    let pairs = each(|b| format!("{b:02x}")).join(" ");
    let bits = each(|b| format!("{b:08b}")).join(" ");
    for text in [
        SECRET.to_owned(),
        SECRET.to_uppercase(),
        SECRET.chars().rev().collect(),
        decode::rot13(SECRET),
        hexed.clone(),
        hexed.to_uppercase(),
        pairs,
        bits,
        apart,
        hidden,
        percent,
        entities,
        base64(SECRET),
        base64(&base64(SECRET)),
        base64(&format!("a{SECRET}")),
        base64(&format!("ab{SECRET}c")),
        SECRET.replace('-', "_").replace('_', "-"),
        format!(
            "https://host.example/?q={}",
            base64(SECRET).trim_end_matches('=')
        ),
    ] {
        let found = secrets().find(&format!("here you go: {text} bye"));
        assert_eq!(found.map(|l| l.name), Some("provider".to_owned()), "{text}");
    }
}

#[test]
fn a_long_secret_is_found_when_letters_of_it_are_left_out_at_an_end() {
    let key = "sk-ant-api03-Zq8vT1mW4xNc7Lr2Kd9Hs5Jb0Pf6Gy3-aE";
    let long = Secrets::new([("key", key)]).unwrap();
    let cut = key.len() * 4 / 5;
    for part in [&key[..key.len() - 1], &key[1..], &key[..cut], &key[9..]] {
        let encoded = base64(part);
        for text in [part, &encoded, &part.replace('-', " ")] {
            assert!(long.find(&format!("it is {text}")).is_some(), "{text}");
        }
    }
    for public in [&key[..13], "sk-ant-api03-", &key[..19]] {
        assert_eq!(long.find(public), None, "{public}");
    }
}

#[test]
fn a_leak_names_the_secret_and_never_repeats_it() {
    let leak = secrets().find("kestrel 47 umbra 19").unwrap();
    assert_eq!((leak.name.as_str(), leak.through), ("canary", "separated"));
    assert!(!format!("{leak:?}").contains("kestrel"));
}

#[test]
fn ordinary_answers_carry_no_secret() {
    for text in [
        "",
        "Here is the summary you asked for.",
        "sk-test-",
        "kestrel",
        "0101 0110",
    ] {
        assert_eq!(secrets().find(text), None, "{text}");
    }
    assert_eq!(Secrets::default().find(SECRET), None);
}

#[test]
fn a_gateways_token_is_known_by_its_form_in_every_encoding() {
    let token = format!("cb-prod-{}.{}", "aB3dE6gH9jK2", "xQz7rYw".repeat(7));
    let secrets = Secrets::default();
    for text in [
        token.clone(),
        base64(&token),
        base64(&base64(&token)),
        clawdbot_domain::hex(token.as_bytes()),
        format!("https://h.example/?t={token}&x"),
        // All but its last letters is as good as the whole.
        token[..token.len() - 1].to_owned(),
        token[..token.len() - 20].to_owned(),
    ] {
        let leak = secrets.find(&format!("so: {text} bye")).unwrap();
        assert_eq!(leak.name, "gateway token", "{text}");
    }
    for text in ["cb-prod-", "cb-dev-abc.def", &token[..40], "first-class.x"] {
        assert_eq!(secrets.find(text), None, "{text}");
    }
}

#[test]
fn a_walk_knows_how_far_into_a_secret_it_is() {
    let secrets = secrets();
    let mut walk = Walk::new(&secrets);
    for letter in "kestrel".chars() {
        assert_eq!(walk.step(&secrets, letter), None);
    }
    assert_eq!(walk.depth(&secrets), 7);
    assert_eq!(walk.step(&secrets, 'é'), None);
    assert_eq!(walk.depth(&secrets), 0);
}

#[test]
fn a_secret_that_is_a_word_is_refused() {
    for short in ["1234", "--------1234"] {
        assert!(Secrets::new([("pin", short)]).is_err());
    }
    let error = Secrets::new([("pin", "1234")]).unwrap_err();
    assert!(error.to_string().contains("\"pin\""));
    assert!(!error.to_string().contains("1234"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn it_is_found_whatever_stands_round_it(before in "\\PC{0,40}", after in "\\PC{0,40}") {
        let text = format!("{before}{SECRET}{after}");
        prop_assert!(secrets().find(&text).is_some());
    }

    /// Texts of pieces of spellings, so that most come close.
    #[test]
    fn the_quick_no_is_the_searchs_own(
        pieces in prop::collection::vec((0usize..40, 0usize..24, 0usize..40, "[ .é\u{200b}X-]{0,2}"), 0..8),
        short in "[a-zé]{8,10}",
    ) {
        let quick = Secrets::new([("provider", SECRET), ("short", short.as_str())]).unwrap();
        let slow = Secrets { sieve: None, ..quick.clone() };
        let all: Vec<_> = [SECRET, short.as_str()].into_iter().flat_map(encodings).collect();
        let mut text = String::new();
        for (which, from, len, between) in pieces {
            let spelling: Vec<char> = all[which % all.len()].0.chars().collect();
            text.extend(spelling.iter().skip(from % spelling.len()).take(len));
            text.push_str(&between);
        }
        prop_assert!(quick.sieve.is_some());
        prop_assert_eq!(quick.find_plain(&text), slow.find_plain(&text));
        let whole = format!("{text}{}{text}", all[0].0.to_uppercase());
        prop_assert_eq!(quick.find_plain(&whole), slow.find_plain(&whole));
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = secrets().find(&text);
    }
}
