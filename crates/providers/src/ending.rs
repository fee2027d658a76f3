//! The end record of a model call.

use crate::ProviderError;
use clawdbot_audit::OpenRecord;
use clawdbot_domain::{Event, Outcome, ProviderName, Usage};

/// What is known of an exchange so far. Dropped without an end, the record says that nobody saw it:
/// the caller went away.
pub(crate) struct Ending {
    provider: ProviderName,
    record: Option<OpenRecord>,
    pub(crate) status: Option<u16>,
    pub(crate) bytes: u64,
    pub(crate) usage: Option<Usage>,
}

impl Ending {
    pub(crate) fn new(provider: ProviderName, record: OpenRecord) -> Self {
        Self {
            provider,
            record: Some(record),
            status: None,
            bytes: 0,
            usage: None,
        }
    }

    /// It ended as it should. A provider's own error answer is a failure all the same.
    pub(crate) fn well(&mut self) {
        let refused = self.status.filter(|status| *status >= 400);
        self.close(refused.map(|status| format!("answered {status}")));
    }

    /// It failed.
    pub(crate) fn badly(&mut self, error: &ProviderError) {
        self.close(Some(error.to_string()));
    }

    fn close(&mut self, error: Option<String>) {
        let Some(record) = self.record.take() else {
            return;
        };
        let outcome = if error.is_some() {
            Outcome::Failed
        } else {
            Outcome::Ok
        };
        let event = Event::ModelEnd {
            provider: self.provider,
            status: self.status,
            bytes: self.bytes,
            usage: self.usage,
            error,
        };
        record.close(outcome, event);
    }
}
