//! A new key for the vault: what holds at every point of the change.

use super::*;
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;

const T0: UnixTime = UnixTime::from_secs(1_800_000_000);
const PROVIDERS: [ProviderName; 3] = [
    ProviderName::OpenAi,
    ProviderName::Anthropic,
    ProviderName::Vllm,
];

fn origin() -> Origin {
    Origin::of_base_url("https://api.example/v1").unwrap().0
}

fn own(home: &TempDir) -> PathBuf {
    home.path().join("vault.key")
}

fn open(home: &TempDir, sources: Vec<KeySource>) -> Vault {
    let mut vault = Vault::open_with(&home.path().join("state"), sources).unwrap();
    vault.cost = Cost::LEAST;
    vault
}

fn vault(home: &TempDir) -> Vault {
    open(home, vec![KeySource::Own(own(home))])
}

fn secret(provider: ProviderName) -> Secret {
    Secret::new(format!("sk-of-{provider}-0123456789abcdef"))
}

fn fill(vault: &Vault) {
    for provider in PROVIDERS {
        let kind = CredentialKind::ApiKey;
        let put = vault.put(provider, kind, &origin(), &secret(provider), T0);
        put.unwrap();
    }
}

fn filled(home: &TempDir) -> Vault {
    let vault = vault(home);
    fill(&vault);
    vault
}

fn opens_all(vault: &Vault) {
    for provider in PROVIDERS {
        let found = vault.secret_for(provider, &origin(), T0);
        assert_eq!(found.unwrap(), Some(secret(provider)));
    }
}

fn sealed(vault: &Vault) -> Vec<(Vec<u8>, Vec<u8>)> {
    let db = vault.lock().unwrap();
    let sql = "SELECT sealed_key, sealed FROM credentials ORDER BY provider";
    let mut query = db.conn.prepare(sql).unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// Copies the whole home as a crash at this moment would leave it.
fn snapshot(home: &TempDir) -> TempDir {
    let copy = TempDir::new().unwrap();
    std::fs::create_dir(copy.path().join("state")).unwrap();
    for folder in ["", "state"] {
        for entry in std::fs::read_dir(home.path().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(home.path()).unwrap();
                std::fs::copy(&path, copy.path().join(name)).unwrap();
            }
        }
    }
    copy
}

#[test]
fn a_new_key_seals_every_record_anew_and_the_old_one_opens_nothing() {
    let home = TempDir::new().unwrap();
    let vault = filled(&home);
    let (before, old_key) = (sealed(&vault), std::fs::read(own(&home)).unwrap());
    let fingerprints = vault.list().unwrap();
    let done = vault.rekey(NewKey::InPlace).unwrap();
    assert_eq!(done.credentials, 3);
    for (old, new) in before.iter().zip(sealed(&vault)) {
        assert!(old.0 != new.0 && old.1 != new.1);
    }
    assert_ne!(std::fs::read(own(&home)).unwrap(), old_key);
    opens_all(&vault);
    assert_eq!(vault.list().unwrap().len(), fingerprints.len());
    let shown = |all: Vec<CredentialInfo>| all.into_iter().map(|c| c.fingerprint);
    assert!(shown(vault.list().unwrap()).eq(shown(fingerprints)));
    files::replace(&own(&home), &old_key).unwrap();
    let reopened = self::vault(&home);
    assert!(matches!(reopened.check(), Err(VaultError::Locked(_))));
}

#[test]
fn a_fingerprint_is_the_same_under_a_new_key() {
    let home = TempDir::new().unwrap();
    let vault = filled(&home);
    let shown = || vault.fingerprint(&secret(ProviderName::OpenAi)).unwrap();
    let before = shown();
    vault.rekey(NewKey::InPlace).unwrap();
    assert_eq!(shown(), before);
}

#[test]
fn a_gateway_that_runs_takes_up_the_new_key_with_its_next_look() {
    let home = TempDir::new().unwrap();
    let gateway = filled(&home);
    opens_all(&gateway);
    vault(&home).rekey(NewKey::InPlace).unwrap();
    opens_all(&gateway);
    assert!(gateway.check().is_ok());
}

#[test]
fn a_crash_before_the_store_took_the_new_key_leaves_the_old_one_in_force() {
    let home = TempDir::new().unwrap();
    drop(filled(&home));
    // Step (1) and no further: the next key stands beside the present one.
    let next = keys::next_to(&own(&home));
    files::replace(&next, files::new_key_text().unwrap().as_bytes()).unwrap();
    let vault = vault(&home);
    opens_all(&vault);
    assert!(next.exists(), "what was not taken is not made the key");
    vault.rekey(NewKey::InPlace).unwrap();
    opens_all(&vault);
    assert!(!next.exists());
}

#[test]
fn a_crash_after_the_store_took_the_new_key_is_finished_by_whoever_comes_next() {
    let home = TempDir::new().unwrap();
    drop(filled(&home));
    let old_key = std::fs::read(own(&home)).unwrap();
    vault(&home).rekey(NewKey::InPlace).unwrap();
    // Steps (1) and (2) and no further.
    std::fs::rename(own(&home), keys::next_to(&own(&home))).unwrap();
    std::fs::write(own(&home), &old_key).unwrap();
    std::fs::set_permissions(own(&home), std::fs::Permissions::from_mode(0o600)).unwrap();
    let crashed = snapshot(&home);
    opens_all(&vault(&crashed));
    assert!(!keys::next_to(&own(&crashed)).exists(), "finished");
    opens_all(&vault(&crashed));
    // Another change right away must not overwrite the only key there is.
    vault(&home).rekey(NewKey::InPlace).unwrap();
    opens_all(&vault(&home));
}

#[test]
fn a_record_that_does_not_open_stops_the_change_and_nothing_is_lost() {
    let home = TempDir::new().unwrap();
    let vault = filled(&home);
    let key = std::fs::read(own(&home)).unwrap();
    let spoil = "UPDATE credentials SET sealed = zeroblob(80) WHERE provider = 'vllm'";
    vault.lock().unwrap().conn.execute(spoil, []).unwrap();
    let before = sealed(&vault);
    let done = vault.rekey(NewKey::InPlace);
    assert!(matches!(done, Err(VaultError::WillNotOpen(who)) if who == "vllm"));
    assert_eq!(sealed(&vault), before);
    assert_eq!(std::fs::read(own(&home)).unwrap(), key);
    let found = vault.secret_for(ProviderName::OpenAi, &origin(), T0);
    assert_eq!(found.unwrap(), Some(secret(ProviderName::OpenAi)));
}

#[test]
fn the_key_is_moved_out_of_the_home_and_found_there_without_a_setting() {
    let (home, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let gateway = filled(&home);
    opens_all(&gateway);
    let file = outside.path().join("clawdbot.key");
    let done = vault(&home).rekey(NewKey::File(file.clone())).unwrap();
    assert_eq!(done.place, file.display().to_string());
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!own(&home).exists(), "the old key is gone");
    opens_all(&gateway);
    opens_all(&vault(&home));
    vault(&home).rekey(NewKey::InPlace).unwrap();
    opens_all(&gateway);
    assert!(!own(&home).exists());
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(vault(&home).check(), Err(VaultError::Locked(_))));
    assert!(!own(&home).exists() && !file.exists(), "never made anew");
}

#[test]
fn the_present_key_is_no_new_key() {
    let home = TempDir::new().unwrap();
    let done = filled(&home).rekey(NewKey::File(own(&home)));
    assert!(matches!(done, Err(VaultError::BadSecret(_))), "{done:?}");
    opens_all(&vault(&home));
}

#[test]
fn a_key_that_is_mounted_is_not_changed_behind_the_operators_back() {
    let home = TempDir::new().unwrap();
    let mounted = home.path().join("mounted");
    std::fs::write(&mounted, &**files::new_key_text().unwrap()).unwrap();
    let sources = || {
        vec![
            KeySource::Provided(mounted.clone()),
            KeySource::Own(own(&home)),
        ]
    };
    let vault = open(&home, sources());
    fill(&vault);
    let done = vault.rekey(NewKey::InPlace);
    assert!(matches!(done, Err(VaultError::NotOurs(_))), "{done:?}");
    let next = home.path().join("next");
    vault.rekey(NewKey::File(next.clone())).unwrap();
    opens_all(&vault);
    // The operator mounts the new one and takes the file away.
    std::fs::rename(&next, &mounted).unwrap();
    opens_all(&open(&home, sources()));
}

#[test]
fn a_passphrase_opens_the_vault_from_a_file_and_typed_and_a_wrong_one_does_not() {
    let home = TempDir::new().unwrap();
    let words = Secret::new("correct horse battery staple");
    let done = filled(&home).rekey(NewKey::Passphrase(words.clone()));
    assert_eq!(done.unwrap().place, "a passphrase");
    assert!(!own(&home).exists(), "the old key is gone");
    let typed = vault(&home);
    assert!(typed.wants_passphrase().unwrap());
    assert!(matches!(typed.check(), Err(VaultError::Locked(_))));
    assert!(
        typed
            .unlock(&Secret::new("correct horse battery stapel"))
            .is_err()
    );
    assert!(typed.check().is_err());
    typed.unlock(&words).unwrap();
    assert!(!typed.wants_passphrase().unwrap());
    opens_all(&typed);
    let file = home.path().join("passphrase");
    let sources = vec![
        KeySource::PassphraseDemanded(file.clone()),
        KeySource::Own(own(&home)),
    ];
    files::replace(&file, b"correct horse battery stapel\n").unwrap();
    let headless = open(&home, sources);
    for _ in 0..2 {
        assert!(matches!(headless.check(), Err(VaultError::Locked(_))));
    }
    files::replace(&file, b"correct horse battery staple\n").unwrap();
    opens_all(&headless);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(
        headless.check().is_err(),
        "a passphrase that others can read"
    );
}

#[test]
fn a_first_credential_under_a_passphrase_makes_no_key_file() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("passphrase");
    let sources = || {
        let given = KeySource::PassphraseDemanded(file.clone());
        vec![given, KeySource::Own(own(&home))]
    };
    files::replace(&file, b"too short\n").unwrap();
    let kind = CredentialKind::ApiKey;
    let put = |vault: &Vault| {
        let secret = secret(ProviderName::OpenAi);
        vault.put(ProviderName::OpenAi, kind, &origin(), &secret, T0)
    };
    assert!(matches!(
        put(&open(&home, sources())),
        Err(VaultError::BadSecret(_))
    ));
    files::replace(&file, b"five random words it is\n").unwrap();
    fill(&open(&home, sources()));
    assert!(!own(&home).exists());
    opens_all(&open(&home, sources()));
}

#[test]
fn a_passphrase_is_left_for_a_key_file_again() {
    let home = TempDir::new().unwrap();
    let words = Secret::new("correct horse battery staple");
    let vault = filled(&home);
    vault.rekey(NewKey::Passphrase(words)).unwrap();
    let done = vault.rekey(NewKey::InPlace);
    assert!(matches!(done, Err(VaultError::NotOurs(_))), "{done:?}");
    vault.rekey(NewKey::File(own(&home))).unwrap();
    opens_all(&self::vault(&home));
}

#[test]
fn costs_that_would_use_up_the_machine_are_refused() {
    let words = Secret::new("correct horse battery staple");
    for kdf in [
        "argon2id,4294967295,3,00112233445566778899aabbccddeeff",
        "argon2id,65536,4294967295,00112233445566778899aabbccddeeff",
        "argon2id,65536,3",
        "pbkdf2,1,1,00112233445566778899aabbccddeeff",
        "argon2id,8,1,short",
    ] {
        let made = passphrase::derive(&words, kdf);
        assert!(matches!(made, Err(VaultError::Locked(_))), "{kdf}");
    }
}

#[test]
fn a_keyrings_command_gives_the_key_and_is_not_asked_for_every_request() {
    let home = TempDir::new().unwrap();
    let (program, asked) = (home.path().join("keyring"), home.path().join("asked"));
    let write = |key: &str| {
        let script = format!("#!/bin/sh\necho asked >> {}\necho {key}\n", asked.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    };
    write(files::new_key_text().unwrap().trim());
    let source = KeySource::Command(vec![program.clone().into()]);
    let vault = open(&home, vec![source, KeySource::Own(own(&home))]);
    fill(&vault);
    opens_all(&vault);
    let times = std::fs::read_to_string(&asked).unwrap().lines().count();
    assert_eq!(times, 1);
    assert!(!own(&home).exists());
    assert!(matches!(
        vault.rekey(NewKey::InPlace),
        Err(VaultError::NotOurs(_))
    ));
    for odd in ["not-a-key", "; exit 1"] {
        write(odd);
        let source = KeySource::Command(vec![program.clone().into()]);
        let locked = open(&home, vec![source, KeySource::Own(own(&home))]);
        assert!(
            matches!(locked.check(), Err(VaultError::Locked(_))),
            "{odd}"
        );
    }
    let relative = KeySource::Command(vec!["keyring".into()]);
    assert!(matches!(
        open(&home, vec![relative]).check(),
        Err(VaultError::Locked(_))
    ));
}

#[test]
fn credentials_stored_while_the_key_is_changed_are_sealed_with_the_new_one() {
    let home = TempDir::new().unwrap();
    drop(filled(&home));
    std::thread::scope(|scope| {
        for provider in PROVIDERS {
            let home = &home;
            scope.spawn(move || {
                let vault = vault(home);
                for _ in 0..10 {
                    let kind = CredentialKind::ApiKey;
                    let put = vault.put(provider, kind, &origin(), &secret(provider), T0);
                    put.unwrap();
                    let found = vault.secret_for(provider, &origin(), T0);
                    assert_eq!(found.unwrap(), Some(secret(provider)));
                }
            });
        }
        for _ in 0..2 {
            let home = &home;
            scope.spawn(move || {
                for _ in 0..10 {
                    vault(home).rekey(NewKey::InPlace).unwrap();
                }
            });
        }
    });
    opens_all(&vault(&home));
    assert!(!keys::next_to(&own(&home)).exists());
}
