//! Who can do more than change bytes: who knows how the log is hashed, who stole the key it is signed
//! with now, who kept yesterday's copy, who hides behind pruning.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use clawdbot_audit::{Against, AuditSettings, Places, Recorder};
use clawdbot_domain::{Event, Outcome, Who};
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
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

/// A log of two segments kept; those before them, with hundreds of records, were pruned.
fn pruned() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (logs, key) = (dir.path().join("logs"), dir.path().join("audit.key"));
    let settings = AuditSettings {
        max_segment_bytes: AuditSettings::MIN_SEGMENT_BYTES,
        max_segments: 2,
        min_age: Duration::ZERO,
        ..AuditSettings::default()
    };
    let register = None;
    let recorder = Recorder::open_at(&logs, &Places { key, register }, settings).unwrap();
    let reason = "long enough that a segment holds few of them; ".repeat(24);
    for _ in 0..1_100 {
        let reason = reason.clone();
        recorder.note_later(Who::default(), Outcome::Ok, Event::GatewayStop { reason });
    }
    drop(recorder);
    (dir, logs)
}

/// The first record kept.
fn first_kept(logs: &Path) -> u64 {
    let names = std::fs::read_dir(logs)
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let firsts = names.filter_map(|name| {
        let name = name.into_string().unwrap();
        name.strip_prefix("audit-")?
            .strip_suffix(".jsonl")?
            .parse()
            .ok()
    });
    firsts.min().unwrap()
}

#[test]
fn a_pruned_log_is_whole_and_every_hash_of_what_was_pruned_counts() {
    let (_dir, logs) = pruned();
    let mut judges = Judges::new();
    let intact = judges.agree("pruned", &logs);
    assert_eq!(intact.code, 0);
    let first = usize::try_from(first_kept(&logs)).unwrap();
    assert!(first > 512, "{first} records were pruned");
    let tiles = std::fs::read_dir(logs.join("tile/0"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let mut whole: Vec<_> = tiles.filter(|path| path.is_file()).collect();
    whole.sort();
    for (number, tile) in whole.iter().enumerate() {
        let good = std::fs::read(tile).unwrap();
        for at in (0..good.len()).step_by(167) {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(tile, bad).unwrap();
            let what = format!("byte {at} of tile {number}");
            let code = judges.agree(&what, &logs).code;
            let needed = number * 256 + at / 32 < first;
            assert_eq!(code, if needed { 3 } else { 0 }, "{what}");
        }
        let needed = number * 256 < first;
        let lost = if needed {
            found(3, number as u64 * 256)
        } else {
            intact.clone()
        };
        for how in ["gone", "short", "empty"] {
            match how {
                "gone" => std::fs::remove_file(tile).unwrap(),
                "short" => std::fs::write(tile, &good[..good.len() - 32]).unwrap(),
                _ => std::fs::write(tile, "").unwrap(),
            }
            assert_eq!(judges.agree(how, &logs), lost, "tile {number} {how}");
        }
        std::fs::write(tile, good).unwrap();
    }
    assert_eq!(judges.agree("put back", &logs), intact);
}

#[test]
fn nobody_hides_behind_pruning() {
    let (_dir, logs) = pruned();
    let mut judges = Judges::new();
    let (intact, first) = (judges.agree("pruned", &logs), first_kept(&logs));
    let names = |logs: &Path| {
        let all = std::fs::read_dir(logs).unwrap().map(|e| e.unwrap().path());
        let mut all: Vec<_> = all
            .filter(|p| p.extension().is_some_and(|e| e == "jsonl"))
            .collect();
        all.sort();
        all
    };
    let kept = names(&logs);
    assert_eq!(kept.len(), 2);
    // A tombstone without its pruning is what a crash leaves: the records are there, all is well.
    let (oldest, newest) = (
        std::fs::read_to_string(&kept[0]).unwrap(),
        std::fs::read_to_string(&kept[1]).unwrap(),
    );
    // One more segment gone than a record tells of.
    std::fs::remove_file(&kept[0]).unwrap();
    let second = newest.lines().next().unwrap();
    let second: serde_json::Value = serde_json::from_str(second).unwrap();
    let index = second["index"].as_u64().unwrap();
    let gone = judges.agree("one more gone", &logs);
    assert_eq!(gone, found(3, index - 1));
    std::fs::write(&kept[0], &oldest).unwrap();
    // The kept ones without what says so: the record that tells of the pruning is the tombstone.
    let without: String = oldest
        .split_inclusive('\n')
        .filter(|line| !line.contains("audit.pruned"))
        .collect();
    assert_ne!(without, oldest);
    std::fs::write(&kept[0], &without).unwrap();
    assert_eq!(judges.agree("no tombstone", &logs).code, 3);
    std::fs::write(&kept[0], &oldest).unwrap();
    // The first lines of the oldest one dropped, and its name changed to fit.
    let (_, later) = oldest.split_once('\n').unwrap();
    let renamed = logs.join(format!("audit-{:020}.jsonl", first + 1));
    std::fs::remove_file(&kept[0]).unwrap();
    std::fs::write(&renamed, later).unwrap();
    assert_eq!(judges.agree("one record shorter", &logs), found(3, first));
    std::fs::remove_file(&renamed).unwrap();
    std::fs::write(&kept[0], &oldest).unwrap();
    assert_eq!(judges.agree("put back", &logs), intact);
}
