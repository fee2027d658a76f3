//! Every security event reaches the operational log, in a line that a search for security events finds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly as the tests do"
)]

use clawdbot_audit::{AuditSettings, Recorder};
use clawdbot_domain::{
    ApprovalId, Channel, Effect, Event, Level, Outcome, ProviderName, SandboxMode, SessionId,
    TokenId, ToolName, TurnId, Who,
};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What was written to the operational log.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines said, of every thread of this test.
fn listen() -> Said {
    let said = Said::default();
    let to = said.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false);
    subscriber.with_writer(move || to.clone()).init();
    said
}

/// What would be a line of its own, if it were let.
fn forged() -> String {
    "a\nforged line\u{202e}".to_owned()
}

/// One of each.
fn samples() -> Vec<Event> {
    let text = forged;
    let tool = || ToolName::parse("read_file").unwrap();
    let token = || TokenId::new("a1b2c3d4e5f6");
    let provider = ProviderName::OpenAi;
    vec![
        Event::GatewayStart {
            version: text(),
            listening: text(),
            sandbox: SandboxMode::Strict,
            layers: vec![text()],
            weakened: vec![text()],
        },
        Event::GatewayStop { reason: text() },
        Event::RequestRefused {
            method: text(),
            path: text(),
            status: 401,
            reason: text(),
            code: "unauthenticated",
        },
        Event::AnswerCut { reason: text() },
        Event::Request {
            method: text(),
            path: text(),
            status: 200,
            micros: 1,
            error: None,
        },
        Event::ToolDenied {
            tool: text(),
            effect: None,
            rules: vec![text()],
            arguments_sha256: text(),
        },
        Event::ToolBegin {
            tool: tool(),
            effect: Effect::Read,
            rules: vec![],
            approval: None,
            arguments: text(),
            arguments_sha256: text(),
        },
        Event::GuardFinding {
            channel: Channel::User,
            action: text(),
            score: 0.5,
            findings: vec![text()],
            text_sha256: text(),
            id: None,
        },
        Event::SessionEnded {
            ended: SessionId::new("a1b2"),
        },
        Event::ConfigChanged {
            key: text(),
            from: text(),
            to: text(),
            weakens: true,
        },
        Event::ConfigApplied {
            key: text(),
            from: text(),
            to: text(),
            weakens: true,
        },
        Event::ConfigRejected {
            errors: vec![text()],
        },
        Event::TokenCreated {
            token: token(),
            name: text(),
            scopes: text(),
            expires: None,
            tools: None,
        },
        Event::TokenRevoked {
            token: token(),
            reason: text(),
        },
        Event::SetupCreated { expires: text() },
        Event::SetupRedeemed { token: None },
        Event::CredentialStored {
            provider,
            fingerprint: text(),
            origin: text(),
        },
        Event::CredentialRemoved { provider },
        Event::VaultRekeyed {
            from: text(),
            to: text(),
        },
        Event::BackupCreated { file: text() },
        Event::BackupRestored {
            sha256: text(),
            made: text(),
            files: 1,
        },
    ]
}

/// One of each of an incident, and of those that the log writes of itself.
fn more_samples() -> Vec<Event> {
    let text = forged;
    let approval = || ApprovalId::new("a1b2");
    let tool = || ToolName::parse("write_file").unwrap();
    let requested_by = || TokenId::new("a1b2c3d4e5f6");
    vec![
        Event::ApprovalRequested {
            approval: approval(),
            tool: tool(),
            effect: Effect::Write,
            rules: vec![text()],
            arguments: text(),
            arguments_sha256: text(),
            turn: None,
            expires: text(),
        },
        Event::ApprovalGiven {
            approval: approval(),
            tool: tool(),
            arguments_sha256: text(),
            requested_by: requested_by(),
            always: true,
        },
        Event::ApprovalDenied {
            approval: approval(),
            tool: tool(),
            arguments_sha256: text(),
            requested_by: requested_by(),
        },
        Event::ApprovalRefused {
            approval: text(),
            reason: text(),
        },
        Event::TurnCancelled {
            turn: TurnId::new("a1b2"),
            reason: text(),
        },
        Event::MaintenanceDone { item: text() },
        Event::BaselineAccepted {
            fingerprint: text(),
            keys: 1,
        },
        Event::SetupVoided { reason: text() },
        Event::IncidentStarted { reason: text() },
        Event::IncidentPreserved {
            folder: text(),
            sha256: text(),
        },
        Event::IncidentEnded { began: text() },
        Event::AuditRotated {
            closed: text(),
            opened: text(),
            earliest: None,
            latest: None,
        },
        Event::AuditPruned {
            segment: text(),
            first: 0,
            last: 1,
        },
        Event::AuditRecovered {
            bytes: 1,
            kept_in: text(),
        },
        Event::AuditOutage {
            cause: text(),
            refused: 1,
        },
        Event::AuditFull { cause: text() },
        Event::ClockJumped { seconds: 3 },
        Event::AuditLost { records: 1 },
        Event::AuditSettings {
            enabled: true,
            level: Level::Info,
            log_requests: true,
            log_tools: true,
        },
    ]
}

/// The events that are written whatever the settings: those of the reference, which is generated from
/// the catalogue. An event that is missing from the samples is missed here.
fn security_events() -> BTreeSet<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/reference/events.md")).unwrap();
    let rows = page.lines().filter(|line| line.contains(" | always | "));
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned())
        .collect()
}

/// `grep -i "security\|auth\|error"`.
fn is_found(line: &str) -> bool {
    let line = line.to_lowercase();
    ["security", "auth", "error"]
        .iter()
        .any(|word| line.contains(word))
}

fn open(folder: &Path, segments: u32) -> Recorder {
    let settings = AuditSettings {
        max_segment_bytes: 1,
        max_segments: segments,
        min_age: Duration::ZERO,
        ..AuditSettings::default()
    };
    Recorder::open(folder, settings).unwrap()
}

/// One test: there is one operational log for the whole process.
#[test]
fn every_security_event_is_told_in_a_line_that_a_search_finds_and_nobody_can_forge() {
    let said = listen();
    let text = || String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path(), 2);
    let wanted = security_events();
    assert!(wanted.len() > 20, "{wanted:?}");
    for event in samples().into_iter().chain(more_samples()) {
        let name = serde_json::to_value(&event).unwrap()["event"]
            .as_str()
            .unwrap()
            .to_owned();
        let before = text().lines().count();
        let noted = recorder.note_blocking(Who::default(), Outcome::Ok, event);
        let index = noted.unwrap().unwrap();
        // The caller may be told first.
        let give_up = Instant::now() + Duration::from_secs(10);
        while wanted.contains(&name)
            && !text().contains(&format!("index={index}"))
            && Instant::now() < give_up
        {
            std::thread::sleep(Duration::from_millis(2));
        }
        let text = text();
        let told: Vec<_> = text
            .lines()
            .skip(before)
            .filter(|line| line.contains(&format!("index={index}")))
            .collect();
        if wanted.contains(&name) {
            let [line] = told.as_slice() else {
                panic!("{name} is told in {told:?}")
            };
            assert!(line.contains(&format!("\"event\":\"{name}\"")), "{line}");
        } else {
            assert!(told.is_empty(), "{name} is no security event: {told:?}");
        }
    }
    // The log's own, as it comes to write them.
    let reason = "x".repeat(50_000);
    for _ in 0..80 {
        let reason = reason.clone();
        recorder.note_later(Who::default(), Outcome::Ok, Event::GatewayStop { reason });
    }
    drop(recorder);
    let newest = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let newest = newest
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .max()
        .unwrap();
    let mut torn = std::fs::OpenOptions::new()
        .append(true)
        .open(newest)
        .unwrap();
    torn.write_all(b"{\"index\":").unwrap();
    drop(open(dir.path(), 2));
    let text = text();
    for own in ["audit.rotated", "audit.pruned", "audit.recovered"] {
        let told = format!("\"event\":\"{own}\"");
        assert!(
            text.matches(&told).count() > 1,
            "{own} is told when the log writes it itself"
        );
    }
    let told = wanted
        .iter()
        .filter(|name| text.contains(&format!("\"event\":\"{name}\"")));
    assert_eq!(told.count(), wanted.len(), "every one of them");
    for line in text.lines() {
        assert!(
            is_found(line),
            "a search for security events misses: {line}"
        );
    }
    assert!(!text.contains('\u{202e}') && !text.contains("\nforged line"));
}
