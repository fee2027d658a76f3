//! What is due for rotation, said at every start and once a day.

use clawdbot_auth::{CredentialInfo, TokenInfo, TokenState, TokenStore, Vault};
use clawdbot_domain::UnixTime;
use std::sync::Arc;
use std::time::Duration;

/// A gateway runs for months: what was said when it started is forgotten by then.
const EVERY: Duration = Duration::from_secs(86_400);

/// Reminds now and every day, in the log, for as long as the runtime lives.
pub fn start(vault: Arc<Vault>, tokens: Arc<TokenStore>) {
    tokio::spawn(async move {
        loop {
            let now = UnixTime::now();
            for line in of_credentials(&vault.list().unwrap_or_default(), now) {
                tracing::warn!("security: {line}");
            }
            for line in of_tokens(&tokens.list(now).unwrap_or_default(), now) {
                tracing::warn!("security: {line}");
            }
            tokio::time::sleep(EVERY).await;
        }
    });
}

/// One line for each credential that is due, with the command that mends it.
pub fn of_credentials(all: &[CredentialInfo], now: UnixTime) -> Vec<String> {
    let due = all.iter().filter(|c| c.due() <= now);
    let line = |c: &CredentialInfo| {
        let (provider, days) = (c.provider, days(now.since(c.created)));
        format!(
            "the credential of {provider} is {days} days old and due for rotation: make a new one at the provider, then: clawdbot models auth paste-token --provider {provider}"
        )
    };
    due.map(line).collect()
}

/// One line for each token that is due, with the command that mends it.
pub fn of_tokens(all: &[TokenInfo], now: UnixTime) -> Vec<String> {
    // The operator's own is renewed with every start.
    let own = clawdbot_auth::operator::NAME;
    let due = all
        .iter()
        .filter(|t| t.state(now) == TokenState::Due && t.name != own);
    let line = |t: &TokenInfo| {
        let (id, name, days) = (&t.id, &t.name, days(t.expires.since(now)));
        format!(
            "token {id} ({name}) expires in {days} days: clawdbot tokens rotate {id} --grace 10m"
        )
    };
    due.map(line).collect()
}

fn days(time: Duration) -> u64 {
    time.as_secs() / 86_400
}

#[cfg(test)]
mod tests {
    use super::of_credentials;
    use clawdbot_auth::CredentialInfo;
    use clawdbot_domain::{ProviderName, UnixTime};
    use std::time::Duration;

    #[test]
    fn a_credential_is_due_after_ninety_days_and_not_before() {
        let created = UnixTime::from_secs(1_800_000_000);
        let info = CredentialInfo {
            provider: ProviderName::Anthropic,
            kind: "api-key".to_owned(),
            fingerprint: "0123456789ab".to_owned(),
            origin: "https://api.anthropic.com".to_owned(),
            created,
            last_used: None,
        };
        let after = |secs| {
            let now = created.plus(Duration::from_secs(secs));
            of_credentials(std::slice::from_ref(&info), now)
        };
        assert_eq!(after(90 * 86_400 - 1), [""; 0]);
        let said = after(90 * 86_400).join("\n");
        assert!(said.contains("paste-token --provider anthropic"), "{said}");
    }
}
