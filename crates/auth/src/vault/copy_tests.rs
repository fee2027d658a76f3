use super::*;
use tempfile::TempDir;

const T0: UnixTime = UnixTime::from_secs(1_800_000_000);

fn vault(home: &TempDir) -> Vault {
    let own = KeySource::Own(home.path().join("vault.key"));
    Vault::open_with(&home.path().join("state"), vec![own]).unwrap()
}

fn origin() -> Origin {
    Origin::of_base_url("https://api.openai.com/v1").unwrap().0
}

fn put(vault: &Vault, secret: &str) {
    let kind = CredentialKind::ApiKey;
    let secret = Secret::new(secret);
    vault
        .put(ProviderName::OpenAi, kind, &origin(), &secret, T0)
        .unwrap();
}

fn got(vault: &Vault) -> Result<Option<Secret>, VaultError> {
    vault.secret_for(ProviderName::OpenAi, &origin(), T0)
}

#[test]
fn a_copy_is_sealed_and_opens_again_with_the_same_key_only() {
    let (home, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let vault_here = vault(&home);
    put(&vault_here, "sk-the-first-0123456789abcdef");
    let copy = home.path().join("copy.db");
    vault_here.copy_to(&copy).unwrap();
    let bytes = std::fs::read(&copy).unwrap();
    assert!(!bytes.windows(12).any(|window| window == b"sk-the-first"));

    put(&vault_here, "sk-the-second-0123456789abcde");
    let running = vault(&home);
    assert!(got(&running).unwrap().is_some());
    let restored = vault_here.replace_with(&copy).unwrap();
    assert_eq!(restored.len(), 1);
    let first = Some(Secret::new("sk-the-first-0123456789abcdef"));
    assert_eq!(got(&vault_here).unwrap(), first);
    assert_eq!(
        got(&running).unwrap(),
        first,
        "a running gateway takes it up"
    );

    let stranger = vault(&other);
    stranger.replace_with(&copy).unwrap();
    assert!(got(&stranger).is_err(), "without the key it stays locked");
}

#[test]
fn a_copy_that_is_not_whole_replaces_nothing() {
    let home = TempDir::new().unwrap();
    let vault = vault(&home);
    put(&vault, "sk-the-first-0123456789abcdef");
    let copy = home.path().join("copy.db");
    vault.copy_to(&copy).unwrap();
    let whole = std::fs::read(&copy).unwrap();
    for keep in [0, 1, 100, whole.len() / 2, whole.len() - 4096] {
        std::fs::write(&copy, &whole[..keep]).unwrap();
        assert!(vault.replace_with(&copy).is_err(), "{keep}");
        assert!(got(&vault).unwrap().is_some(), "{keep}");
    }
}
