use super::*;
use crate::{Authenticator, operator};
use std::sync::Arc;
use tempfile::TempDir;

const T0: UnixTime = UnixTime::from_secs(1_800_000_000);

fn store(home: &TempDir) -> TokenStore {
    TokenStore::open(&home.path().join("state"), &home.path().join("secrets")).unwrap()
}

fn new(name: &str) -> NewToken<'_> {
    let scopes = "chat,tools".parse().unwrap();
    NewToken {
        name,
        scopes,
        env: TokenEnv::Prod,
        ttl: None,
    }
}

fn later(secs: u64) -> UnixTime {
    T0.plus(Duration::from_secs(secs))
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
    assert!(there.still_valid(&info.id, T0));
    here.revoke(&info.id, T0).unwrap();
    assert_eq!(there.check(token.expose(), T0), Err(Rejected::Revoked));
    assert!(!there.still_valid(&info.id, T0));
}

#[test]
fn writing_last_use_does_not_bring_a_revoked_token_back() {
    let home = TempDir::new().unwrap();
    let (here, there) = (store(&home), store(&home));
    let (token, info) = here.create(&new("ci"), T0).unwrap();
    there.check(token.expose(), T0).unwrap();
    here.revoke(&info.id, T0).unwrap();
    there.write_uses(later(1)).unwrap();
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
fn a_setup_token_is_over_after_a_quarter_of_an_hour_or_when_the_clock_went_back() {
    let home = TempDir::new().unwrap();
    let store = store(&home);
    let (setup, expires) = store.create_setup(T0).unwrap();
    assert_eq!(expires, later(900));
    let redeem = |now| {
        store
            .redeem_setup(setup.expose(), "admin", TokenEnv::Prod, now)
            .map(|_| ())
    };
    assert_eq!(
        redeem(UnixTime::from_secs(T0.as_secs() - 1)),
        Err(Rejected::NotYet)
    );
    assert_eq!(redeem(later(900)), Err(Rejected::Expired));
    assert_eq!(redeem(later(899)), Ok(()));
    assert_eq!(redeem(later(899)), Err(Rejected::Spent));
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
    assert!(matches!(opened, Err(AuthError::Store { .. })));
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
    for name in ["", " x", "a\nb", &"x".repeat(65)] {
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
