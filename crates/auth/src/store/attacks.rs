//! Attacks on the store, each named after what the attacker does.

use super::tests::{T0, later, new, opened, store};
use super::*;
use crate::keyed::made;
use std::fmt::Write as _;
use tempfile::TempDir;

/// A well-formed token of no store, or of an id that is known with a secret that is not its own.
fn forged(id: &str) -> String {
    let body = format!("cb-prod-{id}.{}", "A".repeat(43));
    let sum = token::checksum(&body);
    format!("{body}{sum}")
}

#[test]
fn an_unknown_id_costs_as_many_hashes_as_a_wrong_secret() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (genuine, info) = store.create(&new("ci"), T0).unwrap();
    let cost =
        |text: &str, right: bool| made::during(|| assert_eq!(store.check(text, T0).is_ok(), right));
    assert_eq!(cost(genuine.expose(), true), 1);
    assert_eq!(cost(&forged(info.id.as_str()), false), 1);
    assert_eq!(cost(&forged("unknown00000"), false), 1);
}

#[test]
fn a_bad_checksum_costs_no_hash_and_no_look_at_the_store() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (genuine, _) = store.create(&new("ci"), T0).unwrap();
    // With the store gone, whatever is asked of it fails in another way.
    std::fs::remove_file(home.path().join("state/tokens.db")).unwrap();
    let cost = made::during(|| {
        for n in 0..1000 {
            let mut text = genuine.expose().to_owned();
            text.truncate(text.len() - 6);
            let _ = write!(text, "{n:06}");
            assert_eq!(store.check(&text, T0), Err(Rejected::Malformed));
        }
    });
    assert_eq!(cost, 0);
}

#[test]
fn setting_the_clock_back_does_not_revive_a_token_that_was_seen_to_be_over() {
    let home = TempDir::new().unwrap();
    let (token, info) = store(&home).create(&new("ci"), T0).unwrap();
    let gateway = store(&home);
    let end = T0.plus(DEFAULT_TTL);
    assert!(gateway.check(token.expose(), later(60)).is_ok());
    assert_eq!(gateway.check(token.expose(), end), Err(Rejected::Expired));
    let refused = |store: &TokenStore| {
        assert_eq!(
            store.check(token.expose(), later(60)),
            Err(Rejected::Expired)
        );
        assert!(!store.still_valid(&info.id, TokenEnv::Prod, later(60)));
    };
    refused(&gateway);
    // What is known is written when the process ends, and by then at the latest.
    drop(gateway);
    let restarted = store(&home);
    refused(&restarted);
    assert!(!restarted.find(&info.id).unwrap().is_live(later(60)));
    let rotated = restarted.rotate(&info.id, Duration::ZERO, later(60));
    assert!(matches!(rotated, Err(AuthError::NotLive(_))));
}

#[test]
fn any_write_after_its_end_ends_a_token_whose_grace_is_over_for_good() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (old, info) = store.create(&new("ci"), T0).unwrap();
    let grace = Duration::from_secs(600);
    let (fresh, _) = store.rotate(&info.id, grace, T0).unwrap();
    store.create(&new("other"), later(600)).unwrap();
    assert_eq!(store.check(old.expose(), later(1)), Err(Rejected::Expired));
    assert!(store.check(fresh.expose(), later(1)).is_ok());
}

#[test]
fn a_clock_that_ran_far_ahead_once_does_not_end_tokens_made_afterwards() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (before, _) = store.create(&new("before"), T0).unwrap();
    let ahead = T0.plus(MAX_TTL * 3);
    assert!(store.check(before.expose(), ahead).is_err());
    let (after, _) = store.create(&new("after"), later(60)).unwrap();
    assert!(store.check(after.expose(), later(61)).is_ok());
    assert!(store.check(before.expose(), later(61)).is_err());
}

#[test]
fn two_who_trade_a_setup_token_at_once_get_one_token_a_hundred_times() {
    let home = TempDir::new().unwrap();
    let (here, there) = (store(&home), store(&home));
    for trial in 0..100 {
        let (setup, _) = here.create_setup(later(trial)).unwrap();
        let trade = |store: &TokenStore| {
            store
                .redeem_setup(setup.expose(), "first", TokenEnv::Prod, later(trial))
                .is_ok()
        };
        let won = std::thread::scope(|scope| {
            let other = scope.spawn(|| trade(&there));
            u8::from(trade(&here)) + u8::from(other.join().unwrap())
        });
        assert_eq!(won, 1, "trial {trial}");
    }
    assert_eq!(here.list(later(100)).unwrap().len(), 100);
}

#[test]
fn a_token_that_is_revoked_while_it_is_rotated_used_and_revoked_stays_revoked() {
    let home = TempDir::new().unwrap();
    let setup = store(&home);
    for trial in 0..20 {
        let (token, info) = setup.create(&new("ci"), T0).unwrap();
        std::thread::scope(|scope| {
            let rotating = || store(&home).rotate(&info.id, Duration::from_secs(600), later(1));
            scope.spawn(rotating);
            scope.spawn(|| store(&home).check(token.expose(), later(120)));
            let revoking = || store(&home).revoke(&info.id, later(1)).unwrap();
            for thread in [scope.spawn(revoking), scope.spawn(revoking)] {
                thread.join().unwrap();
                // Acknowledged: from here on no process takes it.
                let asked = store(&home).check(token.expose(), later(121));
                assert_eq!(asked, Err(Rejected::Revoked), "trial {trial}");
            }
        });
        assert_eq!(
            setup.check(token.expose(), later(122)),
            Err(Rejected::Revoked)
        );
    }
}

/// What an attacker who can write the database but has no key might do to a limit.
fn strike(home: &TempDir, sql: &str) {
    let conn = rusqlite::Connection::open(home.path().join("state/tokens.db")).unwrap();
    assert_eq!(conn.execute(sql, []).unwrap(), 1);
}

#[test]
fn a_limit_outlives_rotation_and_whoever_strikes_or_widens_it_in_the_file_has_no_token() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let limit: clawdbot_domain::ToolLimit = "read_file,list_directory".parse().unwrap();
    let draft = store.draft(&new("ci"), T0).unwrap();
    let (_, first) = store.keep(store.limited(draft, limit.clone())).unwrap();
    let (token, info) = store.rotate(&first.id, Duration::ZERO, T0).unwrap();
    assert_eq!((&first.tools, &info.tools), (&limit, &limit));
    assert_eq!(store.check(token.expose(), T0).unwrap().tools, limit);
    let id = info.id.as_str();
    for set in ["NULL", "'read_file,run_command'", "'read_file'"] {
        strike(
            &home,
            &format!("UPDATE tokens SET tools = {set} WHERE id = '{id}'"),
        );
        assert_eq!(
            store.check(token.expose(), T0),
            Err(Rejected::Unknown),
            "{set}"
        );
    }
    strike(
        &home,
        &format!(
            "UPDATE tokens SET tools = '{limit_text}' WHERE id = '{id}'",
            limit_text = "list_directory,read_file"
        ),
    );
    assert!(store.check(token.expose(), T0).is_ok());
    // A limit cannot be put on a token that has none either, nor be text that names no tool.
    let (free, info) = store.create(&new("free"), T0).unwrap();
    let id = info.id.as_str();
    strike(
        &home,
        &format!("UPDATE tokens SET tools = '' WHERE id = '{id}'"),
    );
    assert!(store.check(free.expose(), T0).is_err());
}

#[test]
fn tokens_of_a_store_from_before_there_were_limits_go_on_without_one() {
    let home = TempDir::new().unwrap();
    let (token, _) = store(&home).create(&new("old"), T0).unwrap();
    change(
        &home,
        "ALTER TABLE tokens DROP COLUMN tools; PRAGMA user_version = 2",
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let seen = store(&home).check(token.expose(), T0).unwrap();
                assert_eq!(seen.tools, clawdbot_domain::ToolLimit::Unlimited);
            });
        }
    });
}

/// The other direction: a program that does not know a column would not keep to it.
#[test]
fn a_store_of_another_version_is_named_as_that_and_left_alone() {
    for (version, named) in [(1, "an older version"), (4, "a newer version")] {
        let home = TempDir::new().unwrap();
        store(&home).create(&new("ci"), T0).unwrap();
        change(&home, &format!("PRAGMA user_version = {version}"));
        let before = std::fs::read(home.path().join("state/tokens.db")).unwrap();
        let error = opened(&home).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
        let after = std::fs::read(home.path().join("state/tokens.db")).unwrap();
        assert!(before == after, "{version}");
    }
}

fn change(home: &TempDir, sql: &str) {
    let conn = rusqlite::Connection::open(home.path().join("state/tokens.db")).unwrap();
    conn.execute_batch(sql).unwrap();
}
