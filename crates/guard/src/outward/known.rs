//! The secrets of a running gateway. More become known while it runs.

use super::{SecretError, Secrets};
use clawdbot_domain::Secret;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// So many are known at once; the oldest make room.
const MOST_SECRETS: usize = 64;

/// What must not go out, as far as it is known by now. A credential that was replaced stays known: its
/// issuer may still take it.
#[derive(Debug, Default)]
pub struct Known {
    secrets: Mutex<Vec<(String, Secret)>>,
    table: RwLock<Arc<Secrets>>,
}

impl Known {
    /// Adds a secret under the name it has in the log. Fails, and changes nothing, when it cannot be
    /// told from ordinary words.
    pub fn learn(&self, name: &str, secret: &Secret) -> Result<(), SecretError> {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if secrets.iter().any(|(_, known)| known == secret) {
            return Ok(());
        }
        let mut all = secrets.clone();
        let surplus = (all.len() + 1).saturating_sub(MOST_SECRETS);
        all.drain(..surplus);
        all.push((name.to_owned(), secret.clone()));
        let named = all.iter().map(|(n, s)| (n.as_str(), s.expose()));
        let table = Arc::new(Secrets::new(named)?);
        *secrets = all;
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        Ok(())
    }

    /// Everything known now.
    pub fn current(&self) -> Arc<Secrets> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_stays_known_and_what_is_no_secret_is_not_learned() {
        let known = Known::default();
        known
            .learn("openai", &Secret::new("sk-first-0123456789"))
            .unwrap();
        known
            .learn("openai", &Secret::new("sk-second-0123456789"))
            .unwrap();
        assert!(known.learn("pin", &Secret::new("1234")).is_err());
        for text in ["sk-first-0123456789", "sk-second-0123456789"] {
            let leak = known.current().find(text).unwrap();
            assert_eq!(leak.name, "openai");
        }
        assert_eq!(known.current().find("1234"), None);
    }

    #[test]
    fn the_oldest_make_room() {
        let known = Known::default();
        for nth in 0..=MOST_SECRETS {
            let secret = Secret::new(format!("secret-number-{nth:04}-x"));
            known.learn("provider", &secret).unwrap();
        }
        assert_eq!(known.current().find("secret-number-0000-x"), None);
        assert!(known.current().find("secret-number-0064-x").is_some());
    }
}
