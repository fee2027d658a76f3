use super::*;
use crate::{Decided, TurnState};
use clawdbot_domain::sha256_hex;
use clawdbot_domain::{Effect, ToolCall, ToolName, TurnId};

struct Home {
    dir: tempfile::TempDir,
    store: SessionStore,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("secrets")).unwrap();
        let store = open(dir.path());
        Self { dir, store }
    }

    fn asked(&self, request: &Request) -> ApprovalInfo {
        let asked = self.store.draft(request.clone(), at(0)).unwrap();
        self.store.ask(&asked, Some("kept"), at(0)).unwrap();
        asked
    }

    fn given(&self, request: &Request) -> ApprovalInfo {
        let asked = self.asked(request);
        self.store.decide(&asked.id, true, "me", at(1)).unwrap()
    }
}

fn open(path: &std::path::Path) -> SessionStore {
    SessionStore::open(&path.join("state"), &path.join("secrets")).unwrap()
}

pub(super) fn at(second: u64) -> UnixTime {
    UnixTime::from_secs(1_800_000_000).plus(Duration::from_secs(second))
}

pub(super) fn request(content: &str) -> Request {
    let arguments = serde_json::json!({"path": "a", "content": content}).to_string();
    Request {
        token: TokenId::new("t1"),
        session: Some(SessionId::new("ses_1")),
        turn: None,
        call: ToolCall {
            id: "1".into(),
            name: ToolName::parse("write_file").unwrap(),
            effect: Effect::Write,
            arguments: arguments_of(&arguments),
        },
        reasons: vec!["because".to_owned()],
    }
}

fn arguments_of(text: &str) -> serde_json::Map<String, serde_json::Value> {
    serde_json::from_str(text).unwrap()
}

fn state(error: &SessionError) -> Option<ApprovalState> {
    if let SessionError::NotSo { state, .. } = error {
        Some(*state)
    } else {
        None
    }
}

#[test]
fn an_approval_is_spent_once_by_the_very_call() {
    let home = Home::new();
    let asked = home.asked(&request("x"));
    let spend = |home: &Home| home.store.spend(&asked.id, &request("x"), at(2));
    assert_eq!(
        state(&spend(&home).unwrap_err()),
        Some(ApprovalState::Waiting)
    );
    home.store.decide(&asked.id, true, "me", at(1)).unwrap();
    let approval = spend(&home).unwrap();
    assert_eq!(
        approval.arguments_sha256,
        sha256_hex(br#"{"content":"x","path":"a"}"#)
    );
    assert_eq!(
        state(&spend(&home).unwrap_err()),
        Some(ApprovalState::Spent)
    );
    // Nor by another process.
    let again = open(home.dir.path()).spend(&asked.id, &request("x"), at(2));
    assert_eq!(state(&again.unwrap_err()), Some(ApprovalState::Spent));
}

#[test]
fn of_many_that_spend_at_once_one_does() {
    let home = Home::new();
    let given = home.given(&request("x"));
    let spent = std::thread::scope(|scope| {
        let spends = (0..8).map(|_| {
            let (path, id) = (home.dir.path().to_owned(), given.id.clone());
            scope.spawn(move || open(&path).spend(&id, &request("x"), at(2)).is_ok())
        });
        let spends = spends.collect::<Vec<_>>();
        spends
            .into_iter()
            .map(|s| s.join().unwrap())
            .filter(|ok| *ok)
            .count()
    });
    assert_eq!(spent, 1);
}

#[test]
fn an_approval_is_spent_by_nothing_else_and_is_still_good_for_its_call() {
    let home = Home::new();
    let given = home.given(&request("x"));
    let mut token = request("x");
    token.token = TokenId::new("t2");
    let mut session = request("x");
    session.session = Some(SessionId::new("ses_2"));
    let mut none = request("x");
    none.session = None;
    let mut turn = request("x");
    turn.turn = Some(TurnId::new("turn_1"));
    let mut tool = request("x");
    tool.call.name = ToolName::parse("edit_file").unwrap();
    for other in [
        request("y"),
        request("x "),
        token,
        session,
        none,
        turn,
        tool,
    ] {
        assert!(
            home.store.spend(&given.id, &other, at(2)).is_err(),
            "{other:?}"
        );
    }
    assert!(home.store.spend(&given.id, &request("x"), at(2)).is_ok());
}

#[test]
fn an_approval_lasts_five_minutes_and_setting_the_clock_back_does_not_revive_it() {
    let home = Home::new();
    let given = home.given(&request("x"));
    let spend = |second| home.store.spend(&given.id, &request("x"), at(second));
    assert_eq!(
        state(&spend(300).unwrap_err()),
        Some(ApprovalState::Expired)
    );
    assert_eq!(state(&spend(10).unwrap_err()), Some(ApprovalState::Expired));
    let early = home.given(&request("y"));
    let before = UnixTime::from_secs(1_799_999_000);
    let back = home.store.spend(&early.id, &request("y"), before);
    assert_eq!(state(&back.unwrap_err()), Some(ApprovalState::Expired));
    let last = home.given(&request("z"));
    assert!(home.store.spend(&last.id, &request("z"), at(299)).is_ok());
    let waiting = home.asked(&request("w"));
    let late = home.store.decide(&waiting.id, true, "me", at(301));
    assert_eq!(state(&late.unwrap_err()), Some(ApprovalState::Expired));
}

#[test]
fn what_is_decided_is_decided() {
    let home = Home::new();
    let asked = home.asked(&request("x"));
    home.store.decide(&asked.id, false, "me", at(1)).unwrap();
    let changed = home.store.decide(&asked.id, true, "me", at(2));
    assert_eq!(state(&changed.unwrap_err()), Some(ApprovalState::Denied));
    let spent = home.store.spend(&asked.id, &request("x"), at(2));
    assert_eq!(state(&spent.unwrap_err()), Some(ApprovalState::Denied));
    let alike = home.store.alike(&request("x"), at(3)).unwrap();
    assert_eq!(alike.map(|a| a.state), Some(ApprovalState::Denied));
}

#[test]
fn whoever_writes_the_database_without_the_key_gives_nothing() {
    let home = Home::new();
    let asked = home.asked(&request("x"));
    let given = home.given(&request("y"));
    let conn = rusqlite::Connection::open(home.dir.path().join("state/sessions.db")).unwrap();
    conn.execute("UPDATE approvals SET state = 'given'", [])
        .unwrap();
    assert!(home.store.spend(&asked.id, &request("x"), at(2)).is_err());
    let hash = request("z").call.arguments_sha256();
    conn.execute("UPDATE approvals SET sha256 = ?1", [hash])
        .unwrap();
    assert!(home.store.spend(&given.id, &request("z"), at(2)).is_err());
}

#[test]
fn a_yes_is_for_the_arguments_that_were_shown_whatever_hash_stands_beside_them() {
    let home = Home::new();
    let asked = home.asked(&request("x"));
    let hash = request("z").call.arguments_sha256();
    let conn = rusqlite::Connection::open(home.dir.path().join("state/sessions.db")).unwrap();
    conn.execute("UPDATE approvals SET sha256 = ?1", [hash])
        .unwrap();
    let given = home.store.decide(&asked.id, true, "me", at(1)).unwrap();
    assert!(given.shown().contains(r#""content":"x""#));
    assert!(home.store.spend(&asked.id, &request("z"), at(2)).is_err());
    assert!(home.store.spend(&asked.id, &request("x"), at(2)).is_ok());
}

#[test]
fn whoever_changes_what_a_person_is_asked_has_nothing_approved() {
    for change in [
        "session = NULL",
        "session = 'ses_2'",
        "token = 't2'",
        "turn = 'turn_2'",
        "tool = 'edit_file'",
        "effect = 'read'",
        "arguments = '{}'",
        "expires = expires + 1",
    ] {
        let home = Home::new();
        let asked = home.asked(&request("x"));
        let conn = rusqlite::Connection::open(home.dir.path().join("state/sessions.db")).unwrap();
        let sql = format!("UPDATE approvals SET {change}");
        assert_eq!(conn.execute(&sql, []).unwrap(), 1);
        let given = home.store.decide(&asked.id, true, "me", at(1));
        assert!(
            matches!(given, Err(SessionError::NoSuchApproval(_))),
            "{change}: {given:?}"
        );
        // Only a yes needs to be sure of what it is for.
        assert!(home.store.decide(&asked.id, false, "me", at(1)).is_ok());
    }
}

#[test]
fn a_turn_waits_goes_on_once_and_hears_what_was_decided() {
    let home = Home::new();
    let of_turn = |content: &str, turn: &str| Request {
        turn: Some(TurnId::new(turn)),
        ..request(content)
    };
    let token = TokenId::new("t1");
    let asked = home.asked(&of_turn("x", "turn_1"));
    let turn = TurnId::new("turn_1");
    let resume = |home: &Home| home.store.resume(&token, &turn, at(2));
    assert!(matches!(
        resume(&home),
        Err(SessionError::StillWaiting { .. })
    ));
    home.store.decide(&asked.id, true, "me", at(1)).unwrap();
    let again = open(home.dir.path());
    assert_eq!(
        again.turn(Some(&token), &turn, at(2)).unwrap().state,
        TurnState::Ready
    );
    assert!(again.resume(&TokenId::new("t2"), &turn, at(2)).is_err());
    let resumed = again.resume(&token, &turn, at(2)).unwrap();
    assert_eq!(resumed.body, "kept");
    assert!(matches!(resumed.decided, Decided::Given(approval) if approval.id == asked.id));
    assert!(resume(&home).is_err(), "it goes on already");
    // It may wait again under the same name.
    let second = home.asked(&of_turn("y", "turn_1"));
    home.store.decide(&second.id, false, "me", at(3)).unwrap();
    assert_eq!(resume(&home).unwrap().decided, Decided::Denied);
    home.store.ended(&turn, TurnState::Done).unwrap();
    assert_eq!(
        home.store.turn(None, &turn, at(4)).unwrap().state,
        TurnState::Done
    );
    let _ = home.asked(&of_turn("z", "turn_2"));
    let late = home.store.resume(&token, &TurnId::new("turn_2"), at(400));
    assert_eq!(late.unwrap().decided, Decided::Expired);
    assert_eq!(home.store.lose_running().unwrap(), 1);
    let lost = home
        .store
        .turn(None, &TurnId::new("turn_2"), at(400))
        .unwrap();
    assert_eq!(lost.state, TurnState::Lost);
}

#[test]
fn a_cancelled_turn_goes_on_never_and_its_approval_is_void() {
    let home = Home::new();
    let request = Request {
        turn: Some(TurnId::new("turn_1")),
        ..request("x")
    };
    let asked = home.given(&request);
    assert!(home.store.cancel(&TurnId::new("turn_1")).unwrap());
    assert!(!home.store.cancel(&TurnId::new("turn_1")).unwrap());
    let resumed = home
        .store
        .resume(&request.token, &TurnId::new("turn_1"), at(2));
    assert!(resumed.is_err());
    let info = home.store.approval(None, &asked.id, at(2)).unwrap();
    assert_eq!(info.state, ApprovalState::Void);
}

#[test]
fn a_turn_that_nobody_takes_up_is_gone_with_its_conversation() {
    let home = Home::new();
    let request = Request {
        turn: Some(TurnId::new("turn_1")),
        ..request("x")
    };
    home.asked(&request);
    let begin = |second| {
        let begun = home.store.begin(&request.token, None, &[], at(second));
        begun.map(drop).unwrap();
    };
    let there = |second| {
        let turn = home.store.turn(None, &TurnId::new("turn_1"), at(second));
        turn.is_ok()
    };
    begin(3_899);
    assert!(there(3_899));
    begin(3_901);
    assert!(!there(3_901));
}

#[test]
fn what_waits_is_bounded() {
    let home = Home::new();
    for nth in 0..MAX_WAITING_OF_TOKEN {
        home.asked(&request(&nth.to_string()));
    }
    let more = home.store.draft(request("more"), at(0)).unwrap();
    assert!(matches!(
        home.store.ask(&more, None, at(0)),
        Err(SessionError::TooManyWaiting(32))
    ));
    // Those that are over make room.
    let later = home.store.draft(request("later"), at(400)).unwrap();
    home.store.ask(&later, None, at(400)).unwrap();
    let mut large = home.store.draft(request("large"), at(400)).unwrap();
    large.turn = Some(TurnId::new("turn_9"));
    let body = "x".repeat((4 << 20) + 1);
    let refused = home.store.ask(&large, Some(&body), at(400));
    assert!(matches!(refused, Err(SessionError::NoRoomToWait)));
    assert!(
        home.store.approval(None, &large.id, at(400)).is_err(),
        "nothing of it is kept"
    );
}

#[test]
fn a_person_sees_every_character_that_hides() {
    let hidden = "a\u{202e}b\u{200b}c\u{7f}d\u{e0041}e\u{ad}f";
    let mut info = Home::new().store.draft(request(hidden), at(0)).unwrap();
    info.arguments = serde_json::json!({ "path": hidden }).to_string();
    let shown = info.shown();
    assert_eq!(
        shown,
        r#"{"path":"a\u202eb\u200bc\u007fd\udb40\udc41e\u00adf"}"#
    );
    // It is still JSON of the same value.
    assert_eq!(arguments_of(&shown), arguments_of(&info.arguments));
    info.arguments = r#"{"path":"\\u202e раyload"}"#.to_owned();
    assert_eq!(
        info.shown(),
        info.arguments,
        "a backslash of its own stays one"
    );
    assert_eq!(info.foreign_letters(), ['р', 'а']);
}
