//! Who can do more than change bytes: who knows how the log is hashed, who stole the key it is signed
//! with now, who kept yesterday's copy.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use clawdbot_audit::Against;
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::audit::age_key;
use testkit::{Found, Home, Judges};

fn found(code: i32, index: u64) -> Found {
    let index = Some(index);
    Found { code, index }
}

/// A home that ran four commands, so four epochs, with a register.
fn used() -> (Home, PathBuf, Against) {
    let home = Home::new();
    let register = home.path().join("register");
    std::fs::write(&register, "").unwrap();
    home.set("gateway.audit.register", register.to_str().unwrap());
    for port in ["18801", "18802", "18803"] {
        age_key(&home.path().join("logs"));
        home.set("gateway.port", port);
    }
    let against = Against {
        register: Some(register),
        ..Against::default()
    };
    let logs = home.path().join("logs");
    (home, logs, against)
}

fn copy(from: &Path, to: &Path) {
    let mut copying = Command::new("cp");
    let ran = copying.arg("-a").arg(from).arg(to).status().unwrap();
    assert!(ran.success());
}

fn segment(logs: &Path) -> PathBuf {
    logs.join("audit-00000000000000000000.jsonl")
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    digest(&SHA256, &parts.concat())
        .as_ref()
        .try_into()
        .unwrap()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap();
    let pairs = bytes
        .iter()
        .map(|byte| [digit(byte >> 4), digit(byte & 0xf)]);
    pairs.flatten().collect()
}

/// Lines with all hashes made anew, as whoever can read the documentation makes them; and their leaves.
fn rehashed(lines: &[String]) -> (String, Vec<[u8; 32]>) {
    let (mut text, mut leaves, mut prev) = (String::new(), Vec::new(), "0".repeat(64));
    for line in lines {
        let (body, _) = line.split_once(",\"prev\":\"").unwrap();
        let body = format!("{body},\"prev\":\"{prev}\"");
        let leaf = sha256(&[b"\0", body.as_bytes(), b"}"]);
        prev = hex(&leaf);
        text += &[&body, ",\"hash\":\"", &prev, "\"}\n"].concat();
        leaves.push(leaf);
    }
    (text, leaves)
}

/// The root of RFC 6962 over these leaves.
fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => sha256(&[]),
        [one] => *one,
        more => {
            let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
            sha256(&[b"\x01", &root(left), &root(right)])
        }
    }
}

/// Whoever read `secrets/audit.key`: signs what he likes with the key of now.
struct Thief {
    name: String,
    pair: Ed25519KeyPair,
}

impl Thief {
    fn of(home: &Home) -> Self {
        let text = std::fs::read_to_string(home.path().join("secrets/audit.key")).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let seed = BASE64.decode(lines[3]).unwrap();
        Self {
            name: lines[1].to_owned(),
            pair: Ed25519KeyPair::from_seed_unchecked(&seed).unwrap(),
        }
    }

    fn sign(&self, logs: &Path, leaves: &[[u8; 32]]) {
        let root = BASE64.encode(root(leaves));
        let body = format!("{}\n{}\n{root}\n", self.name, leaves.len());
        let key = [&[1], self.pair.public_key().as_ref()].concat();
        let id = sha256(&[self.name.as_bytes(), b"\n", &key]);
        let by = [&id[..4], self.pair.sign(body.as_bytes()).as_ref()].concat();
        let signed = BASE64.encode(by);
        let text = format!("{body}\n\u{2014} {} {signed}\n", self.name);
        std::fs::write(logs.join("checkpoint"), text).unwrap();
    }
}

#[test]
fn what_is_rewritten_with_all_its_hashes_is_found_with_or_without_the_stolen_key() {
    let (home, logs, register) = used();
    let mut judges = Judges::new();
    let good = std::fs::read_to_string(segment(&logs)).unwrap();
    let lines: Vec<String> = good.lines().map(str::to_owned).collect();
    let thief = Thief::of(&home);
    let kept = std::fs::read(logs.join("checkpoint")).unwrap();
    // The control: the thief signs the truth, and is believed.
    let (text, leaves) = rehashed(&lines);
    assert_eq!(text, good);
    thief.sign(&logs, &leaves);
    assert_eq!(judges.agree("the truth", &logs).code, 0);
    let last_epoch = epoch_sizes(&logs).pop().unwrap();
    assert!(last_epoch >= 4, "{last_epoch}");
    for index in 0..lines.len() {
        let mut lied = lines.clone();
        lied[index] = lied[index].replacen("\"mono\":", "\"mono\":1", 1);
        let (text, leaves) = rehashed(&lied);
        std::fs::write(segment(&logs), text).unwrap();
        std::fs::write(logs.join("checkpoint"), &kept).unwrap();
        let unsigned = judges.agree("rewritten", &logs);
        assert_eq!(unsigned.code, 3, "record {index}");
        assert!(
            unsigned.index.unwrap() <= index as u64,
            "nothing after a lie is proven"
        );
        thief.sign(&logs, &leaves);
        let signed = judges.agree("sealed again", &logs);
        // What the stolen key covers is what came since it was made.
        let expected = if (index as u64) < last_epoch { 3 } else { 0 };
        assert_eq!(
            signed.code,
            expected,
            "record {index} of {} sealed again",
            lines.len()
        );
        let against = judges.agree_against("sealed again", &logs, &register);
        assert_eq!(against.code, 3, "record {index}: the register knows better");
    }
}

/// The sizes the log had when its epochs began.
fn epoch_sizes(logs: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(logs.join("epochs")).unwrap();
    let sizes = text.lines().map(|line| line.split(' ').nth(1).unwrap());
    sizes.map(|size| size.parse().unwrap()).collect()
}

#[test]
fn a_log_cut_off_is_never_taken_up_again_whatever_is_signed_or_removed() {
    let (home, logs, register) = used();
    let mut judges = Judges::new();
    let good = std::fs::read_to_string(segment(&logs)).unwrap();
    let lines: Vec<String> = good.lines().map(str::to_owned).collect();
    let thief = Thief::of(&home);
    let last_epoch = epoch_sizes(&logs).pop().unwrap();
    let cut = usize::try_from(last_epoch).unwrap() - 1;
    let (text, leaves) = rehashed(&lines[..cut]);
    let (again, checkpoint) = (home.path().join("logs.whole"), logs.join("checkpoint"));
    copy(&logs, &again);
    for how in [
        "the checkpoint stays",
        "is removed",
        "is empty",
        "is signed by the stolen key",
    ] {
        std::fs::write(segment(&logs), &text).unwrap();
        match how {
            "is removed" => std::fs::remove_file(&checkpoint).unwrap(),
            "is empty" => std::fs::write(&checkpoint, "").unwrap(),
            "is signed by the stolen key" => thief.sign(&logs, &leaves),
            _ => {}
        }
        let before = judges.agree(how, &logs);
        assert!([3, 4].contains(&before.code), "{how}: {before:?}");
        let ran = home.run(&["config", "set", "gateway.port", "18999"]);
        assert_ne!(ran.code, 0, "{how}: it went on");
        assert!(
            ran.err.contains("audit log") || ran.err.contains("checkpoint"),
            "{how}: {}",
            ran.err
        );
        assert_eq!(
            std::fs::read_to_string(segment(&logs)).unwrap(),
            text,
            "{how}: it was written to"
        );
        assert_eq!(
            judges.agree_against(how, &logs, &register).code,
            before.code
        );
        std::fs::remove_dir_all(&logs).unwrap();
        copy(&again, &logs);
    }
    // The control: as it was, it goes on.
    home.set("gateway.port", "18999");
    assert_eq!(judges.agree_against("whole", &logs, &register).code, 0);
}

#[test]
fn yesterdays_folder_is_whole_by_itself_and_known_by_its_key_and_by_the_register() {
    let (home, logs, register) = used();
    let mut judges = Judges::new();
    let (logs_then, secrets_then) = (
        home.path().join("logs.then"),
        home.path().join("secrets.then"),
    );
    copy(&logs, &logs_then);
    copy(&home.path().join("secrets"), &secrets_then);
    let then = judges.agree_against("then", &logs, &register);
    age_key(&logs);
    home.set("gateway.port", "18999");
    let now = judges.agree_against("now", &logs, &register);
    assert!(now.code == 0 && now.index > then.index, "{then:?} {now:?}");
    let put_back = |from: &Path, to: &Path| {
        std::fs::remove_dir_all(to).unwrap();
        copy(from, to);
    };
    put_back(&logs_then, &logs);
    assert_eq!(
        judges.agree("put back", &logs),
        then,
        "it is whole by itself"
    );
    let rolled = judges.agree_against("put back", &logs, &register);
    assert_eq!(rolled, found(4, then.index.unwrap()));
    // The key has moved on: no record of today is appended to yesterday's log.
    let ran = home.run(&["config", "set", "gateway.port", "19000"]);
    assert_ne!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.err.contains("an older copy of the folder was put back"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains("another log"), "{}", ran.err);
    // With yesterday's key only the register is left.
    put_back(&secrets_then, &home.path().join("secrets"));
    let ran = home.run(&["config", "set", "gateway.port", "19000"]);
    assert_ne!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.err.contains("rolled back") && ran.err.contains("register"),
        "{}",
        ran.err
    );
}

#[test]
fn a_register_that_was_tampered_with_proves_nothing_false_and_both_verifiers_say_the_same() {
    let (home, logs, against) = used();
    let (mut judges, register) = (Judges::new(), home.path().join("register"));
    let intact = judges.agree_against("as it was written", &logs, &against);
    assert_eq!(intact.code, 0);
    let good = std::fs::read(&register).unwrap();
    let text = good
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte != b'\n' && **byte != 0);
    let mut codes = [0; 5];
    for (at, byte) in text {
        let mut bad = good.clone();
        bad[at] = byte ^ 1;
        std::fs::write(&register, bad).unwrap();
        let found = judges.agree_against(&format!("byte {at} of the register"), &logs, &against);
        codes[usize::try_from(found.code).unwrap()] += 1;
        // A page that holds no checkpoint is a write that was cut short: the other one counts.
        assert!(
            found == intact || [3, 4].contains(&found.code),
            "byte {at}: {found:?}"
        );
    }
    assert!(
        codes[3] > 0,
        "a changed checkpoint in it is found: {codes:?}"
    );
    // Filled with anything else it is no register, and a log is not called whole by it.
    let text = b"nothing".to_vec();
    for (what, other) in [
        ("text", text),
        (
            "a letter among zeros",
            [&[0; 4095][..], b"x", &[0; 4096]].concat(),
        ),
    ] {
        std::fs::write(&register, other).unwrap();
        assert_eq!(
            judges.agree_against(what, &logs, &against).code,
            2,
            "{what}"
        );
        let ran = home.run(&["config", "set", "gateway.port", "19000"]);
        assert_ne!(ran.code, 0, "{what}: nothing is done without the register");
    }
    // What a crash in its very first write leaves is no register yet; both take it for the same.
    for (what, cut) in [("a piece", good[..100].to_vec()), ("zeros", vec![0; 8192])] {
        std::fs::write(&register, cut).unwrap();
        assert_eq!(
            judges.agree_against(what, &logs, &against).code,
            0,
            "{what}"
        );
    }
    // That of another log.
    let (_other_home, _, other) = used();
    std::fs::copy(other.register.unwrap(), &register).unwrap();
    assert_eq!(judges.agree_against("another's", &logs, &against).code, 3);
    let ran = home.run(&["config", "set", "gateway.port", "19000"]);
    assert_ne!(
        ran.code, 0,
        "nothing is done beside the register of another log"
    );
    std::fs::write(&register, &good).unwrap();
    home.set("gateway.port", "19000");
    assert_eq!(judges.agree_against("put back", &logs, &against).code, 0);
}

#[test]
fn lost_or_changed_hashes_are_named_and_made_again_from_records_that_verify_and_from_no_others() {
    let (home, logs, _) = used();
    let fsck = |more: &[&str]| home.run(&[&["audit", "fsck"], more].concat());
    let parts = std::fs::read_dir(logs.join("tile/0/000.p")).unwrap();
    let tile = parts.map(|entry| entry.unwrap().path()).next().unwrap();
    let good = std::fs::read(&tile).unwrap();
    assert_eq!(fsck(&[]).code, 0);
    for spoil in ["gone", "changed", "longer", "empty"] {
        let mut bad = good.clone();
        match spoil {
            "gone" => std::fs::remove_file(&tile).unwrap(),
            "changed" => bad[7] ^= 1,
            "longer" => bad.push(0),
            _ => bad.clear(),
        }
        if spoil != "gone" {
            std::fs::write(&tile, bad).unwrap();
        }
        let found = fsck(&[]);
        assert_ne!(found.code, 0, "{spoil}");
        assert!(
            found.out.contains("tile/0/000.p/"),
            "{spoil}: {}",
            found.out
        );
        assert_eq!(fsck(&["--repair"]).code, 0, "{spoil}");
        assert_eq!(std::fs::read(&tile).unwrap(), good, "{spoil}: made again");
    }
    // A log that was tampered with is evidence: hashes to fit it are not made.
    let text = std::fs::read_to_string(segment(&logs)).unwrap();
    std::fs::write(segment(&logs), text.replacen("18801", "18809", 1)).unwrap();
    std::fs::remove_file(&tile).unwrap();
    assert_ne!(fsck(&["--repair"]).code, 0);
    assert!(
        !tile.exists(),
        "nothing is made from records that do not verify"
    );
}
