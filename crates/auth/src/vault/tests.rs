use super::*;
use tempfile::TempDir;

const T0: UnixTime = UnixTime::from_secs(1_800_000_000);
const CANARY: &str = "sk-canary-0123456789abcdefghij";

fn origin(url: &str) -> Origin {
    Origin::of_base_url(url).unwrap().0
}

fn openai() -> Origin {
    origin("https://api.openai.com/v1")
}

fn vault(home: &TempDir) -> Vault {
    let own = KeySource::Own(home.path().join("vault.key"));
    Vault::open_with(&home.path().join("state"), vec![own]).unwrap()
}

fn filled(home: &TempDir) -> Vault {
    let vault = vault(home);
    let secret = Secret::new(CANARY);
    vault
        .put(
            ProviderName::OpenAi,
            CredentialKind::ApiKey,
            &openai(),
            &secret,
            T0,
        )
        .unwrap();
    vault
}

#[test]
fn what_was_put_in_comes_out_in_every_process() {
    let home = TempDir::new().unwrap();
    filled(&home);
    let secret = vault(&home)
        .secret_for(ProviderName::OpenAi, &openai(), T0)
        .unwrap();
    assert_eq!(secret, Some(Secret::new(CANARY)));
    assert_eq!(
        vault(&home)
            .secret_for(ProviderName::Vllm, &openai(), T0)
            .unwrap(),
        None
    );
}

#[test]
fn a_changed_base_url_does_not_make_the_secret_travel() {
    let home = TempDir::new().unwrap();
    let evil = origin("https://api.openai.com.evil.example/v1");
    let asked = filled(&home).secret_for(ProviderName::OpenAi, &evil, T0);
    assert!(matches!(asked, Err(VaultError::WrongHost { .. })));
}

#[test]
fn the_secret_is_nowhere_on_disk() {
    let home = TempDir::new().unwrap();
    drop(filled(&home));
    let mut looked_at = 0;
    for folder in [home.path().to_owned(), home.path().join("state")] {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                let content = std::fs::read(entry.path()).unwrap();
                assert!(
                    !content
                        .windows(CANARY.len())
                        .any(|w| w == CANARY.as_bytes())
                );
                looked_at += 1;
            }
        }
    }
    assert!(looked_at >= 2);
}

#[test]
fn a_sealed_record_moved_to_another_provider_or_origin_does_not_open() {
    let home = TempDir::new().unwrap();
    let vault = filled(&home);
    let change = |sql: &str| vault.lock().unwrap().conn.execute(sql, []).unwrap();
    change("UPDATE credentials SET origin = 'https://evil.example'");
    let asked = vault.secret_for(ProviderName::OpenAi, &origin("https://evil.example"), T0);
    assert!(matches!(
        asked,
        Err(VaultError::Tampered(ProviderName::OpenAi))
    ));
    change("UPDATE credentials SET origin = 'https://api.openai.com', provider = 'vllm'");
    let asked = vault.secret_for(ProviderName::Vllm, &openai(), T0);
    assert!(matches!(
        asked,
        Err(VaultError::Tampered(ProviderName::Vllm))
    ));
    change("UPDATE credentials SET provider = 'openai'");
    assert!(
        vault
            .secret_for(ProviderName::OpenAi, &openai(), T0)
            .unwrap()
            .is_some()
    );
}

#[test]
fn a_vault_whose_key_is_gone_is_locked_and_makes_no_new_one() {
    let home = TempDir::new().unwrap();
    let vault = filled(&home);
    let key = home.path().join("vault.key");
    std::fs::remove_file(&key).unwrap();
    assert!(matches!(vault.check(), Err(VaultError::Locked(_))));
    let asked = vault.secret_for(ProviderName::OpenAi, &openai(), T0);
    assert!(matches!(asked, Err(VaultError::Locked(_))));
    let secret = Secret::new("sk-other");
    let put = vault.put(
        ProviderName::Vllm,
        CredentialKind::ApiKey,
        &openai(),
        &secret,
        T0,
    );
    assert!(matches!(put, Err(VaultError::Locked(_))));
    assert!(!key.exists());
}

#[test]
fn a_wrong_key_is_noticed_before_anything_is_written() {
    let home = TempDir::new().unwrap();
    let vault = filled(&home);
    let wrong = format!("{}\n", "ab".repeat(32));
    files::replace(&home.path().join("vault.key"), wrong.as_bytes()).unwrap();
    let secret = Secret::new("sk-other");
    let put = vault.put(
        ProviderName::Vllm,
        CredentialKind::ApiKey,
        &openai(),
        &secret,
        T0,
    );
    assert!(matches!(put, Err(VaultError::Locked(_))));
    assert_eq!(vault.list().unwrap().len(), 1);
}

#[test]
fn a_demanded_key_that_is_not_there_is_not_replaced_by_our_own() {
    let home = TempDir::new().unwrap();
    let sources = vec![
        KeySource::Demanded(home.path().join("elsewhere")),
        KeySource::Own(home.path().join("vault.key")),
    ];
    let vault = Vault::open_with(&home.path().join("state"), sources).unwrap();
    let secret = Secret::new(CANARY);
    let put = vault.put(
        ProviderName::OpenAi,
        CredentialKind::ApiKey,
        &openai(),
        &secret,
        T0,
    );
    assert!(matches!(put, Err(VaultError::Locked(_))));
}

#[test]
fn reset_all_leaves_nothing_and_works_without_the_key() {
    let home = TempDir::new().unwrap();
    let vault = filled(&home);
    std::fs::remove_file(home.path().join("vault.key")).unwrap();
    assert_eq!(vault.remove_all().unwrap(), [ProviderName::OpenAi]);
    assert_eq!(vault.list().unwrap(), []);
    assert!(vault.check().is_ok());
    let secret = Secret::new(CANARY);
    vault
        .put(
            ProviderName::OpenAi,
            CredentialKind::ApiKey,
            &openai(),
            &secret,
            T0,
        )
        .unwrap();
    assert!(vault.check().is_ok());
}

#[test]
fn what_cannot_be_a_credential_is_refused() {
    let home = TempDir::new().unwrap();
    let vault = vault(&home);
    for text in ["", "a b", "a\nb", "k\u{e9}y", &"x".repeat(9000)] {
        let secret = Secret::new(text);
        let put = vault.put(
            ProviderName::OpenAi,
            CredentialKind::ApiKey,
            &openai(),
            &secret,
            T0,
        );
        assert!(matches!(put, Err(VaultError::BadSecret(_))), "{text:?}");
    }
}

#[test]
fn a_list_tells_them_apart_and_gives_nothing_away() {
    let home = TempDir::new().unwrap();
    let vault = filled(&home);
    vault
        .secret_for(ProviderName::OpenAi, &openai(), T0)
        .unwrap();
    let listed = vault.list().unwrap();
    let info = &listed[0];
    assert_eq!(
        (info.provider, info.kind.as_str()),
        (ProviderName::OpenAi, "api-key")
    );
    assert_eq!((info.last_used, info.fingerprint.len()), (Some(T0), 12));
    assert!(!format!("{listed:?}").contains("canary"));
}

#[test]
fn a_vault_that_was_cut_short_is_an_error_and_left_alone() {
    for keep in [0, 100, 4096] {
        let home = TempDir::new().unwrap();
        drop(filled(&home));
        let db = home.path().join("state/vault.db");
        let file = std::fs::File::options().write(true).open(&db).unwrap();
        file.set_len(keep).unwrap();
        let own = KeySource::Own(home.path().join("vault.key"));
        let opened = Vault::open_with(&home.path().join("state"), vec![own]);
        assert!(
            matches!(opened, Err(VaultError::Store(AuthError::Damaged { .. }))),
            "{keep}"
        );
        assert_eq!(std::fs::metadata(&db).unwrap().len(), keep);
    }
}

#[test]
fn a_key_that_others_can_read_locks_the_vault_unless_it_was_mounted() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = TempDir::new().unwrap();
    let vault = filled(&home);
    let key = home.path().join("vault.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(vault.check(), Err(VaultError::Locked(_))));
    for (source, opens) in [
        (KeySource::Demanded(key.clone()), false),
        (KeySource::Provided(key), true),
    ] {
        let vault = Vault::open_with(&home.path().join("state"), vec![source]).unwrap();
        assert_eq!(vault.check().is_ok(), opens);
    }
}

#[test]
fn a_mounted_text_that_is_no_key_is_not_passed_over_for_our_own() {
    let home = TempDir::new().unwrap();
    drop(filled(&home));
    let mounted = home.path().join("mounted");
    std::fs::write(&mounted, "password\n").unwrap();
    let sources = vec![
        KeySource::Provided(mounted),
        KeySource::Own(home.path().join("vault.key")),
    ];
    let vault = Vault::open_with(&home.path().join("state"), sources).unwrap();
    assert!(matches!(vault.check(), Err(VaultError::Locked(_))));
}

#[test]
fn a_vault_whose_key_mark_was_cut_out_takes_no_other_key() {
    let home = TempDir::new().unwrap();
    let vault = filled(&home);
    let cut = "DELETE FROM key_check";
    vault.lock().unwrap().conn.execute(cut, []).unwrap();
    let put = vault.put(
        ProviderName::Vllm,
        CredentialKind::ApiKey,
        &openai(),
        &Secret::new("sk-other"),
        T0,
    );
    assert!(matches!(
        put,
        Err(VaultError::Store(AuthError::Damaged { .. }))
    ));
}

#[test]
fn the_key_that_was_put_back_opens_the_vault_without_a_restart() {
    let home = TempDir::new().unwrap();
    let vault = filled(&home);
    let key = home.path().join("vault.key");
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    assert!(vault.check().is_err());
    files::replace(&key, &kept).unwrap();
    let secret = vault.secret_for(ProviderName::OpenAi, &openai(), T0);
    assert_eq!(secret.unwrap(), Some(Secret::new(CANARY)));
}

#[test]
fn first_credentials_stored_at_once_share_one_key() {
    let home = TempDir::new().unwrap();
    drop(vault(&home));
    let providers = [
        ProviderName::OpenAi,
        ProviderName::Anthropic,
        ProviderName::OpenRouter,
        ProviderName::Vllm,
    ];
    std::thread::scope(|scope| {
        for provider in providers {
            let vault = vault(&home);
            scope.spawn(move || {
                let secret = Secret::new(CANARY);
                vault
                    .put(provider, CredentialKind::ApiKey, &openai(), &secret, T0)
                    .unwrap();
            });
        }
    });
    for provider in providers {
        let secret = vault(&home).secret_for(provider, &openai(), T0).unwrap();
        assert_eq!(secret, Some(Secret::new(CANARY)));
    }
}

#[test]
fn a_reset_in_one_process_holds_in_the_other_at_once() {
    let home = TempDir::new().unwrap();
    let (gateway, command) = (filled(&home), vault(&home));
    assert!(command.remove(ProviderName::OpenAi).unwrap());
    let secret = gateway.secret_for(ProviderName::OpenAi, &openai(), T0);
    assert_eq!(secret.unwrap(), None);
    assert!(!command.remove(ProviderName::OpenAi).unwrap());
}

#[test]
fn sealed_halves_of_two_records_do_not_fit_together() {
    let home = TempDir::new().unwrap();
    let vault = filled(&home);
    let other = Secret::new("sk-of-another-one");
    vault
        .put(
            ProviderName::Vllm,
            CredentialKind::ApiKey,
            &openai(),
            &other,
            T0,
        )
        .unwrap();
    for half in ["sealed", "sealed_key", "sealed, sealed_key"] {
        let swap = format!(
            "UPDATE credentials SET ({half}) = \
             (SELECT {half} FROM credentials WHERE provider = 'vllm') WHERE provider = 'openai'"
        );
        vault.lock().unwrap().conn.execute(&swap, []).unwrap();
        let asked = vault.secret_for(ProviderName::OpenAi, &openai(), T0);
        assert!(matches!(asked, Err(VaultError::Tampered(_))), "{half}");
    }
}

#[test]
fn what_was_unsealed_before_does_not_outlive_a_change_of_the_store() {
    let home = TempDir::new().unwrap();
    let (gateway, command) = (filled(&home), vault(&home));
    let asked = || {
        gateway
            .secret_for(ProviderName::OpenAi, &openai(), T0)
            .unwrap()
    };
    for _ in 0..2 {
        assert_eq!(asked(), Some(Secret::new(CANARY)));
    }
    let put = |vault: &Vault, text: &str| {
        let secret = Secret::new(text);
        let stored = vault.put(
            ProviderName::OpenAi,
            CredentialKind::ApiKey,
            &openai(),
            &secret,
            T0,
        );
        stored.unwrap();
    };
    put(&command, "sk-by-another-process");
    assert_eq!(asked(), Some(Secret::new("sk-by-another-process")));
    put(&gateway, "sk-by-this-process");
    assert_eq!(asked(), Some(Secret::new("sk-by-this-process")));
    let evil = origin("https://evil.example");
    let elsewhere = gateway.secret_for(ProviderName::OpenAi, &evil, T0);
    assert!(matches!(elsewhere, Err(VaultError::WrongHost { .. })));
    assert!(asked().is_some());
    command.remove_all().unwrap();
    assert_eq!(asked(), None);
}

#[test]
fn a_key_that_was_taken_away_locks_within_a_minute() {
    let home = TempDir::new().unwrap();
    let vault = filled(&home);
    let asked = |now| vault.secret_for(ProviderName::OpenAi, &openai(), now);
    assert!(asked(T0).unwrap().is_some());
    std::fs::remove_file(home.path().join("vault.key")).unwrap();
    assert!(matches!(vault.check(), Err(VaultError::Locked(_))));
    let later = T0.plus(Duration::from_secs(60));
    assert!(matches!(asked(later), Err(VaultError::Locked(_))));
}
