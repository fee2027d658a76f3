//! What the log takes.

use std::time::Duration;

use clawdbot_domain::{Class, Event, Level, Outcome};

/// The settings of the log in force. A live change goes through [`crate::Recorder::reconfigure`],
/// which writes the change down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditSettings {
    /// `gateway.audit.enabled`.
    pub enabled: bool,
    /// `gateway.audit.logLevel`: ends and notes that are quieter are left out.
    pub level: Level,
    /// `gateway.audit.logRequests`.
    pub log_requests: bool,
    /// `gateway.audit.logTools`.
    pub log_tools: bool,
    /// `gateway.audit.maxLogSize`, in bytes: a segment never grows past it. Below
    /// [`AuditSettings::MIN_SEGMENT_BYTES`] the latter counts.
    pub max_segment_bytes: u64,
    /// `gateway.audit.maxLogFiles`: so many segments are kept, at least one.
    pub max_segments: u32,
    /// `gateway.audit.minAge`: a segment with a younger record in it is kept, however many there are. Only time
    /// counts that the machine was up, by the clock that nobody sets.
    pub min_age: Duration,
}

impl AuditSettings {
    /// The smallest segment: the log's own records and one of the longest others fit in it.
    pub const MIN_SEGMENT_BYTES: u64 = 256 * 1024;

    /// True when a record of this event is written.
    pub(crate) fn takes(&self, outcome: Outcome, event: &Event) -> bool {
        let class = match event.class() {
            Class::Request => self.log_requests,
            Class::Tool => self.log_tools,
            Class::Security => true,
        };
        self.enabled && class && (is_kept_at_any_level(outcome) || self.loud_enough(event))
    }

    fn loud_enough(&self, event: &Event) -> bool {
        // A level of `error` quietens what is ordinary, never a warning.
        event.level() >= self.level.min(Level::Warn)
    }

    /// The event that tells of these settings.
    pub(crate) fn event(&self) -> Event {
        Event::AuditSettings {
            enabled: self.enabled,
            level: self.level,
            log_requests: self.log_requests,
            log_tools: self.log_tools,
        }
    }
}

fn is_kept_at_any_level(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Begin | Outcome::Denied | Outcome::Failed | Outcome::Abandoned => true,
        Outcome::Ok => false,
    }
}

/// Everything on, 100 MB a segment, 10 segments.
impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            level: Level::Info,
            log_requests: true,
            log_tools: true,
            max_segment_bytes: 100_000_000,
            max_segments: 10,
            min_age: Duration::from_secs(24 * 60 * 60),
        }
    }
}
