use super::*;
use crate::{Authenticator, operator};
use clawdbot_domain::ScopeSet;
use std::sync::Arc;
use tempfile::TempDir;

pub(super) const T0: UnixTime = UnixTime::from_secs(1_800_000_000);

pub(super) fn store(home: &TempDir) -> TokenStore {
    TokenStore::open(&home.path().join("state"), &home.path().join("secrets")).unwrap()
}

pub(super) fn new(name: &str) -> NewToken<'_> {
    let scopes = "chat,tools".parse().unwrap();
    NewToken {
        name,
        scopes,
        env: TokenEnv::Prod,
        ttl: None,
    }
}

pub(super) fn later(secs: u64) -> UnixTime {
    T0.plus(Duration::from_secs(secs))
}

fn redeem(store: &TokenStore, setup: &Secret, now: UnixTime) -> Result<(), Rejected> {
    let redeemed = store.redeem_setup(setup.expose(), "admin", TokenEnv::Prod, now);
    redeemed.map(|_| ())
}

pub(super) fn opened(home: &TempDir) -> Result<TokenStore, AuthError> {
    TokenStore::open(&home.path().join("state"), &home.path().join("secrets"))
}

/// What an attacker does who can write the database but not read the pepper.
fn tamper(home: &TempDir, sql: &str) {
    let db = rusqlite::Connection::open(home.path().join("state/tokens.db")).unwrap();
    assert!(db.execute(sql, []).unwrap() > 0, "{sql}");
}

#[test]
fn a_token_works_until_it_expires_and_not_a_moment_longer() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (token, info) = store.create(&new("ci"), T0).unwrap();
    let principal = store.check(token.expose(), T0).unwrap();
    assert_eq!((principal.token, principal.scopes), (info.id, info.scopes));
    assert!(store.check(token.expose(), later(90 * 86_400 - 1)).is_ok());
    assert_eq!(
        store.check(token.expose(), later(90 * 86_400)),
        Err(Rejected::Expired)
    );
}

#[test]
fn a_revoke_in_one_process_holds_in_the_other_at_once() {
    let home = TempDir::new().unwrap();
    let (here, there) = (store(&home), store(&home));
    let (token, info) = here.create(&new("ci"), T0).unwrap();
    assert!(there.check(token.expose(), T0).is_ok());
    assert!(there.still_valid(&info.id, TokenEnv::Prod, T0));
    here.revoke(&info.id, T0).unwrap();
    assert_eq!(there.check(token.expose(), T0), Err(Rejected::Revoked));
    assert!(!there.still_valid(&info.id, TokenEnv::Prod, T0));
}

#[test]
fn writing_last_use_does_not_bring_a_revoked_token_back() {
    let home = TempDir::new().unwrap();
    let (here, there) = (store(&home), store(&home));
    let (token, info) = here.create(&new("ci"), T0).unwrap();
    there.check(token.expose(), T0).unwrap();
    here.revoke(&info.id, T0).unwrap();
    there.usage.write_down().unwrap();
    for store in [&here, &there] {
        assert_eq!(
            store.check(token.expose(), later(2)),
            Err(Rejected::Revoked)
        );
    }
}

#[test]
fn a_dev_token_is_refused_by_a_prod_gateway() {
    let home = TempDir::new().unwrap();
    let store = Arc::new(store(&home));
    let dev = NewToken {
        env: TokenEnv::Dev,
        ..new("laptop")
    };
    let (token, _) = store.create(&dev, T0).unwrap();
    let prod = Authenticator::new(Arc::clone(&store), TokenEnv::Prod);
    let refused = prod.authenticate(token.expose(), T0).unwrap_err();
    assert_eq!(refused, Rejected::WrongEnvironment(TokenEnv::Dev));
    assert!(
        Authenticator::new(store, TokenEnv::Dev)
            .authenticate(token.expose(), T0)
            .is_ok()
    );
}

#[test]
fn a_wrong_secret_is_as_unknown_as_a_wrong_id() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (token, _) = store.create(&new("ci"), T0).unwrap();
    let (_, other) = token::mint(Kind::Access(TokenEnv::Prod)).unwrap();
    // The id of one with the secret of the other does not even have the right checksum.
    let spliced = format!(
        "{}.{}",
        token.expose().split_once('.').unwrap().0,
        other.expose().split_once('.').unwrap().1
    );
    assert_eq!(store.check(&spliced, T0), Err(Rejected::Malformed));
    assert_eq!(store.check(other.expose(), T0), Err(Rejected::Unknown));
}

#[test]
fn a_setup_token_is_traded_once_however_many_try_at_once() {
    let home = TempDir::new().unwrap();
    let (setup, _) = store(&home).create_setup(T0).unwrap();
    let redeem = || {
        let store = store(&home);
        store
            .redeem_setup(setup.expose(), "admin", TokenEnv::Prod, T0)
            .map(|(token, _)| {
                assert!(store.check(token.expose(), T0).is_ok());
            })
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(redeem)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    assert_eq!(
        results
            .iter()
            .filter(|r| **r == Err(Rejected::Spent))
            .count(),
        19
    );
}

#[test]
fn a_setup_token_is_over_after_a_quarter_of_an_hour() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (setup, expires) = store.create_setup(T0).unwrap();
    assert_eq!(expires, later(900));
    assert_eq!(redeem(&store, &setup, later(900)), Err(Rejected::Expired));
    let (setup, _) = store.create_setup(later(900)).unwrap();
    assert_eq!(redeem(&store, &setup, later(1799)), Ok(()));
    assert_eq!(redeem(&store, &setup, later(1799)), Err(Rejected::Spent));
}

#[test]
fn setting_the_clock_back_does_not_make_a_quarter_of_an_hour_longer() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (setup, _) = store.create_setup(T0).unwrap();
    let before = UnixTime::from_secs(T0.as_secs() - 1);
    assert_eq!(redeem(&store, &setup, before), Err(Rejected::ClockSetBack));
    assert_eq!(redeem(&store, &setup, later(900)), Err(Rejected::Expired));
    // It was seen to be over, so no earlier time is believed any more.
    assert_eq!(
        redeem(&store, &setup, later(60)),
        Err(Rejected::ClockSetBack)
    );
    // A new one works by the clock as it is now.
    let (setup, _) = store.create_setup(later(60)).unwrap();
    assert_eq!(redeem(&store, &setup, later(61)), Ok(()));
}

#[test]
fn a_new_setup_token_ends_the_one_before() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (first, _) = store.create_setup(T0).unwrap();
    let (second, _) = store.create_setup(T0).unwrap();
    assert_eq!(redeem(&store, &first, T0), Err(Rejected::Unknown));
    assert_eq!(redeem(&store, &second, T0), Ok(()));
}

#[test]
fn a_setup_token_stays_spent_after_a_restart() {
    let home = TempDir::new().unwrap();
    let (setup, _) = store(&home).create_setup(T0).unwrap();
    assert_eq!(redeem(&store(&home), &setup, T0), Ok(()));
    assert_eq!(redeem(&store(&home), &setup, T0), Err(Rejected::Spent));
}

#[test]
fn a_name_no_token_can_have_does_not_spend_the_setup_token() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (setup, _) = store.create_setup(T0).unwrap();
    let odd = store.redeem_setup(setup.expose(), "a\nb", TokenEnv::Prod, T0);
    assert!(matches!(odd, Err(Rejected::BadName(_))));
    assert_eq!(redeem(&store, &setup, T0), Ok(()));
}

#[test]
fn a_setup_token_is_no_access_token_and_the_other_way_round() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (setup, _) = store.create_setup(T0).unwrap();
    let (access, _) = store.create(&new("ci"), T0).unwrap();
    assert_eq!(store.check(setup.expose(), T0), Err(Rejected::Malformed));
    let traded = store.redeem_setup(access.expose(), "admin", TokenEnv::Prod, T0);
    assert_eq!(traded.map(|_| ()), Err(Rejected::Malformed));
}

#[test]
fn a_rotated_token_counts_for_its_grace_and_then_no_more() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (old, info) = store.create(&new("ci"), T0).unwrap();
    let (fresh, _) = store
        .rotate(&info.id, Duration::from_secs(600), later(10))
        .unwrap();
    assert!(store.check(old.expose(), later(609)).is_ok());
    assert_eq!(
        store.check(old.expose(), later(610)),
        Err(Rejected::Expired)
    );
    assert!(store.check(fresh.expose(), later(610)).is_ok());
}

#[test]
fn tokens_nobody_uses_are_found() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (used, _) = store.create(&new("used"), T0).unwrap();
    store.create(&new("idle"), T0).unwrap();
    let month = Duration::from_secs(30 * 86_400);
    let now = later(month.as_secs());
    store.check(used.expose(), later(86_400)).unwrap();
    let unused = store.unused(month, now).unwrap();
    assert_eq!(
        unused.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(),
        ["idle"]
    );
}

#[test]
fn processes_that_change_the_store_at_once_lose_nothing() {
    let home = TempDir::new().unwrap();
    store(&home);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let home = &home;
            scope.spawn(move || {
                let store = store(home);
                for n in 0..5 {
                    let (_, info) = store.create(&new(&format!("{worker}-{n}")), T0).unwrap();
                    if n % 2 == 0 {
                        store.revoke(&info.id, T0).unwrap();
                    }
                }
            });
        }
    });
    let all = store(&home).list(T0).unwrap();
    assert_eq!(all.len(), 20);
    assert_eq!(all.iter().filter(|t| t.revoked.is_some()).count(), 12);
}

#[test]
fn no_secret_is_on_disk_and_files_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (token, _) = store.create(&new("ci"), T0).unwrap();
    let (setup, _) = store.create_setup(T0).unwrap();
    drop(store);
    let secret = |t: &Secret| t.expose().split_once('.').unwrap().1[..43].to_owned();
    let wanted = [secret(&token), secret(&setup)];
    for folder in ["state", "secrets"] {
        for entry in std::fs::read_dir(home.path().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            assert!(
                !wanted.iter().any(|w| text.contains(w.as_str())),
                "{}",
                path.display()
            );
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{} {mode:o}", path.display());
        }
    }
}

#[test]
fn a_store_without_its_key_stays_locked_and_untouched() {
    let home = TempDir::new().unwrap();
    let (token, _) = store(&home).create(&new("ci"), T0).unwrap();
    let pepper = home.path().join("secrets/pepper");
    let kept = std::fs::read(&pepper).unwrap();
    std::fs::remove_file(&pepper).unwrap();
    let opened = TokenStore::open(&home.path().join("state"), &home.path().join("secrets"));
    assert!(matches!(opened, Err(AuthError::Locked { .. })));
    assert!(!pepper.exists());
    files::replace(&pepper, &kept).unwrap();
    assert!(store(&home).check(token.expose(), T0).is_ok());
}

#[test]
fn a_store_that_is_no_database_is_an_error_and_left_alone() {
    let home = TempDir::new().unwrap();
    store(&home).create(&new("ci"), T0).unwrap();
    let db = home.path().join("state/tokens.db");
    std::fs::write(
        &db,
        b"not a database at all, but long enough to be looked at",
    )
    .unwrap();
    let opened = TokenStore::open(&home.path().join("state"), &home.path().join("secrets"));
    assert!(matches!(opened, Err(AuthError::Damaged { .. })));
    assert!(std::fs::read(&db).unwrap().starts_with(b"not a database"));
}

#[test]
fn the_operators_token_is_kept_while_it_works_and_made_anew_when_it_does_not() {
    let home = TempDir::new().unwrap();
    let (store, secrets) = (store(&home), home.path().join("secrets"));
    let ensure = |env, now| operator::ensure(&store, &secrets, env, now).unwrap();
    let first = ensure(TokenEnv::Prod, T0);
    assert_eq!(ensure(TokenEnv::Prod, later(60)), first);
    assert_ne!(ensure(TokenEnv::Dev, later(60)), first);
    let now = later(91 * 86_400);
    let fresh = ensure(TokenEnv::Prod, now);
    assert!(store.check(fresh.expose(), now).is_ok());
    assert_eq!(operator::read(&secrets).unwrap(), Some(fresh));
}

#[test]
fn an_operator_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = TempDir::new().unwrap();
    let (store, secrets) = (store(&home), home.path().join("secrets"));
    operator::ensure(&store, &secrets, TokenEnv::Prod, T0).unwrap();
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(secrets.join("operator.token"), open).unwrap();
    assert!(operator::read(&secrets).is_err());
}

#[test]
fn odd_names_and_empty_scopes_are_refused() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    for name in ["", " x", "a\nb", "operator", &"x".repeat(65)] {
        assert!(store.create(&new(name), T0).is_err(), "{name:?}");
    }
    assert!(
        store
            .create(
                &NewToken {
                    scopes: ScopeSet::NONE,
                    ..new("x")
                },
                T0
            )
            .is_err()
    );
}

#[test]
fn garbage_is_refused_without_asking_the_store() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (token, _) = store.create(&new("ci"), T0).unwrap();
    // With the store gone, whatever is asked of it fails: garbage never gets that far.
    std::fs::remove_file(home.path().join("state/tokens.db")).unwrap();
    let mut garbage = token.expose().to_owned();
    garbage.pop();
    garbage.push('_');
    assert_eq!(store.check(&garbage, T0), Err(Rejected::Malformed));
    let asked = store.check(token.expose(), T0);
    assert!(matches!(asked, Err(Rejected::StoreFailed(_))), "{asked:?}");
}

#[test]
fn a_store_that_is_replaced_under_a_gateway_vouches_for_nobody() {
    let (home, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let gateway = store(&home);
    let (token, info) = gateway.create(&new("ci"), T0).unwrap();
    store(&other).create(&new("theirs"), T0).unwrap();
    let db = "state/tokens.db";
    std::fs::rename(other.path().join(db), home.path().join(db)).unwrap();
    let asked = gateway.check(token.expose(), T0);
    assert!(matches!(asked, Err(Rejected::StoreFailed(_))), "{asked:?}");
    assert!(!gateway.still_valid(&info.id, TokenEnv::Prod, T0));
    assert!(matches!(
        gateway.revoke(&info.id, T0),
        Err(AuthError::Replaced(_))
    ));
}

#[test]
fn whoever_writes_the_database_cannot_widen_a_token() {
    for change in [
        "UPDATE tokens SET scopes = 'chat,tools,read,audit,admin'",
        "UPDATE tokens SET env = 'dev'",
        "UPDATE tokens SET expires = expires + 1",
        "UPDATE tokens SET id = 'aaaaaaaaaaaa'",
        "UPDATE tokens SET tag = zeroblob(32)",
    ] {
        let home = TempDir::new().unwrap();
        let store = store(&home);
        let (token, _) = store.create(&new("ci"), T0).unwrap();
        assert!(store.check(token.expose(), T0).is_ok());
        tamper(&home, change);
        assert_eq!(
            store.check(token.expose(), T0),
            Err(Rejected::Unknown),
            "{change}"
        );
    }
}

#[test]
fn a_copied_hash_does_not_make_a_token_of_another_id() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (mine, _) = store.create(&new("mine"), T0).unwrap();
    store.create(&new("other"), T0).unwrap();
    tamper(
        &home,
        "UPDATE tokens SET tag = (SELECT tag FROM tokens WHERE name = 'other') WHERE name = 'mine'",
    );
    assert_eq!(store.check(mine.expose(), T0), Err(Rejected::Unknown));
}

#[test]
fn a_token_is_nothing_until_it_is_kept() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let draft = store.draft(&new("ci"), T0).unwrap();
    let announced = draft.info();
    assert_eq!(store.list(T0).unwrap(), []);
    let (token, info) = store.keep(draft).unwrap();
    assert_eq!(info, announced);
    assert_eq!(store.check(token.expose(), T0).unwrap().token, info.id);
}

#[test]
fn a_token_that_is_over_or_replaced_has_no_successor() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let hour = Duration::from_secs(3600);
    let (_, revoked) = store.create(&new("revoked"), T0).unwrap();
    store.revoke(&revoked.id, T0).unwrap();
    let (_, replaced) = store.create(&new("replaced"), T0).unwrap();
    let (_, fresh) = store.rotate(&replaced.id, hour, T0).unwrap();
    assert_eq!(
        store.find(&replaced.id).unwrap().replaced_by,
        Some(fresh.id)
    );
    for id in [&revoked.id, &replaced.id] {
        let again = store.rotate(id, hour, T0);
        assert!(matches!(again, Err(AuthError::NotLive(_))), "{again:?}");
    }
}

#[test]
fn a_token_that_was_revoked_while_its_successor_was_announced_gets_none() {
    let home = TempDir::new().unwrap();
    let (here, there) = (store(&home), store(&home));
    let (_, old) = here.create(&new("ci"), T0).unwrap();
    let draft = here.draft_rotation(&old.id, Duration::ZERO, T0).unwrap();
    there.revoke(&old.id, T0).unwrap();
    assert!(matches!(here.keep(draft), Err(AuthError::NotLive(_))));
    assert_eq!(here.list(T0).unwrap().len(), 1);
}

#[test]
fn a_store_that_was_cut_short_is_an_error_and_left_alone() {
    for keep in [0, 100, 4096] {
        let home = TempDir::new().unwrap();
        store(&home).create(&new("ci"), T0).unwrap();
        let db = home.path().join("state/tokens.db");
        let file = std::fs::File::options().write(true).open(&db).unwrap();
        file.set_len(keep).unwrap();
        let opened = opened(&home);
        assert!(
            matches!(opened, Err(AuthError::Damaged { .. })),
            "{keep}: {opened:?}"
        );
        assert_eq!(std::fs::metadata(&db).unwrap().len(), keep);
    }
}

#[test]
fn another_pepper_locks_the_store() {
    let home = TempDir::new().unwrap();
    drop(store(&home));
    let pepper = home.path().join("secrets/pepper");
    files::replace(&pepper, files::new_key_text().unwrap().as_bytes()).unwrap();
    let opened = opened(&home);
    assert!(
        matches!(opened, Err(AuthError::Locked { .. })),
        "{opened:?}"
    );
}

#[test]
fn stores_that_are_made_at_once_are_one_store() {
    let home = TempDir::new().unwrap();
    let make = |n: usize| {
        let home = &home;
        move || {
            let name = format!("n{n}");
            store(home).create(&new(&name), T0).unwrap().0
        }
    };
    let tokens: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(make(n))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let store = store(&home);
    for token in tokens {
        assert!(store.check(token.expose(), T0).is_ok());
    }
    let left = std::fs::read_dir(home.path().join("state")).unwrap();
    let left = left.map(|e| e.unwrap().file_name().into_string().unwrap());
    let odd: Vec<_> = left.filter(|n| !n.starts_with("tokens.db")).collect();
    assert!(odd.is_empty(), "{odd:?}");
}

#[test]
fn the_side_files_of_an_open_store_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = TempDir::new().unwrap();
    let store = store(&home);
    store.create(&new("ci"), T0).unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(home.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
        seen += 1;
    }
    // The database, its log, its shared memory.
    assert_eq!(seen, 3);
}

#[test]
fn the_last_use_outlives_the_process_that_saw_it() {
    let home = TempDir::new().unwrap();
    let (token, info) = store(&home).create(&new("ci"), T0).unwrap();
    let gateway = store(&home);
    gateway.check(token.expose(), later(5)).unwrap();
    // Within the minute nothing is noted again.
    gateway.check(token.expose(), later(64)).unwrap();
    drop(gateway);
    let found = store(&home).find(&info.id).unwrap();
    assert_eq!(found.last_used, Some(later(5)));
}

#[test]
fn there_is_a_cap_on_tokens() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    store.create(&new("first"), T0).unwrap();
    tamper(
        &home,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
         INSERT INTO tokens (id, tag, name, scopes, env, created, expires, operator)
         SELECT 'n' || i, zeroblob(32), name, scopes, env, created, expires, 0 FROM n, tokens",
    );
    let more = store.create(&new("more"), T0);
    assert!(matches!(more, Err(AuthError::TooMany(MAX_TOKENS))));
    // What is over for half a year makes room.
    let later = later(300 * 86_400);
    store.create(&new("more"), later).unwrap();
    assert_eq!(store.list(later).unwrap().len(), 1);
}

#[test]
fn a_new_operators_token_ends_the_old_one() {
    let home = TempDir::new().unwrap();
    let (store, secrets) = (store(&home), home.path().join("secrets"));
    let old = operator::ensure(&store, &secrets, TokenEnv::Prod, T0).unwrap();
    std::fs::remove_file(secrets.join("operator.token")).unwrap();
    let fresh = operator::ensure(&store, &secrets, TokenEnv::Prod, T0).unwrap();
    assert_eq!(store.check(old.expose(), T0), Err(Rejected::Revoked));
    assert!(store.check(fresh.expose(), T0).is_ok());
}

#[test]
fn an_operators_token_that_was_revoked_or_is_soon_over_is_made_anew() {
    let home = TempDir::new().unwrap();
    let (store, secrets) = (store(&home), home.path().join("secrets"));
    let ensure = |now| operator::ensure(&store, &secrets, TokenEnv::Prod, now).unwrap();
    let first = ensure(T0);
    let id = store.recognise(first.expose()).unwrap().id;
    store.revoke(&id, T0).unwrap();
    let second = ensure(T0);
    assert_ne!(second, first);
    assert_eq!(ensure(later(80 * 86_400)), second);
    assert_ne!(ensure(later(84 * 86_400)), second);
}

#[test]
fn operators_tokens_made_at_once_are_one_token() {
    let home = TempDir::new().unwrap();
    let secrets = home.path().join("secrets");
    drop(store(&home));
    let ensure = || operator::ensure(&store(&home), &secrets, TokenEnv::Prod, T0).unwrap();
    let tokens: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(ensure)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(tokens.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(store(&home).check(tokens[0].expose(), T0).is_ok());
}
