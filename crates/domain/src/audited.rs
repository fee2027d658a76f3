//! What is written down: the catalogue of events.
//!
//! An unknown event does not compile. Each event knows its class (which setting covers it) and its
//! level; the audit room adds time, index and hashes.

use crate::{
    ApprovalId, Channel, Effect, ProviderName, RequestId, SandboxMode, ScopeSet, SessionId,
    TokenId, ToolName, TurnId,
};
use serde::Serialize;
use std::net::IpAddr;

/// Who an event is about; every part that is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Who {
    /// Public id of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<TokenId>,
    /// The conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// The address it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

/// How loud an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Detail for an incident.
    Debug,
    /// The ordinary.
    Info,
    /// A control said no, or was weakened.
    Warn,
    /// Something failed.
    Error,
}

/// Which setting covers an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Written when `gateway.audit.logRequests` is on.
    Request,
    /// Written when `gateway.audit.logTools` is on.
    Tool,
    /// Always written while auditing is on.
    Security,
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is about to happen.
    Begin,
    /// It happened.
    Ok,
    /// It was not allowed.
    Denied,
    /// It failed.
    Failed,
    /// It was started and nobody saw its end (cancelled, or the process died).
    Abandoned,
}

/// What a model call used, as the provider reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Usage {
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
}

/// Everything that can be written to the audit log.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event")]
#[allow(
    missing_docs,
    reason = "field names are the documentation; the table in docs/reference/events.md explains each event"
)]
pub enum Event {
    /// The gateway serves.
    #[serde(rename = "gateway.start")]
    GatewayStart {
        version: String,
        listening: String,
        sandbox: SandboxMode,
        layers: Vec<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        weakened: Vec<String>,
    },
    /// The gateway stopped serving.
    #[serde(rename = "gateway.stop")]
    GatewayStop { reason: String },
    /// An API request was turned away before it reached a handler.
    #[serde(rename = "security.request.refused")]
    RequestRefused {
        method: String,
        path: String,
        status: u16,
        code: &'static str,
        reason: String,
    },
    /// An answer was broken off while it was on its way: its token stopped counting.
    #[serde(rename = "security.answer.cut")]
    AnswerCut { reason: String },
    /// An API request was answered. What it made happen has begin records of its own.
    #[serde(rename = "request")]
    Request {
        method: String,
        path: String,
        status: u16,
        micros: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A model is asked. The prompt is written as hash and length only.
    #[serde(rename = "model.begin")]
    ModelBegin {
        provider: ProviderName,
        model: String,
        stream: bool,
        prompt_bytes: usize,
        prompt_sha256: String,
    },
    /// A model answered.
    #[serde(rename = "model.end")]
    ModelEnd {
        provider: ProviderName,
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        bytes: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Policy looked at a tool call and did not allow it.
    #[serde(rename = "security.tool.denied")]
    ToolDenied {
        tool: String,
        effect: Option<Effect>,
        rules: Vec<String>,
        arguments_sha256: String,
    },
    /// A call waits for a person; the turn, if it is one of a turn, waits with it.
    #[serde(rename = "security.approval.requested")]
    ApprovalRequested {
        approval: ApprovalId,
        tool: ToolName,
        effect: Effect,
        rules: Vec<String>,
        arguments: String,
        arguments_sha256: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        turn: Option<TurnId>,
        expires: String,
    },
    /// A person approved this very call; `actor` is who, and nobody when it was done at the home itself.
    /// `always` when it was for good: the setting that says so has a record of its own.
    #[serde(rename = "security.approval.given")]
    ApprovalGiven {
        approval: ApprovalId,
        tool: ToolName,
        arguments_sha256: String,
        requested_by: TokenId,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        always: bool,
    },
    /// A person said no to a call.
    #[serde(rename = "security.approval.denied")]
    ApprovalDenied {
        approval: ApprovalId,
        tool: ToolName,
        arguments_sha256: String,
        requested_by: TokenId,
    },
    /// An approval was presented for what it does not cover: another call, session or token, too late, or
    /// a second time.
    #[serde(rename = "security.approval.refused")]
    ApprovalRefused { approval: String, reason: String },
    /// A turn was ended by hand, while it ran or while it waited.
    #[serde(rename = "security.turn.cancelled")]
    TurnCancelled { turn: TurnId, reason: String },
    /// A permitted tool call starts.
    #[serde(rename = "tool.begin")]
    ToolBegin {
        tool: ToolName,
        effect: Effect,
        rules: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        approval: Option<ApprovalId>,
        arguments: String,
        arguments_sha256: String,
    },
    /// A tool call ended; told by what the executor did, not by what the model said.
    #[serde(rename = "tool.end")]
    ToolEnd {
        tool: ToolName,
        #[serde(skip_serializing_if = "Option::is_none")]
        exit: Option<i32>,
        output_bytes: u64,
        output_sha256: String,
        truncated: bool,
        layers: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The workspace of a session is about to be removed: it was not used for as long as it is kept, or the
    /// session is over.
    #[serde(rename = "workspace.removed")]
    WorkspaceRemoved { workspace: String },
    /// A tool's request leaves for the network, or is not let out; one record for each redirect.
    #[serde(rename = "tool.egress")]
    Egress {
        tool: ToolName,
        origin: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
    /// The guard found something.
    #[serde(rename = "security.guard.finding")]
    GuardFinding {
        channel: Channel,
        action: String,
        score: f32,
        findings: Vec<String>,
        text_sha256: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// A setting changed.
    #[serde(rename = "security.config.changed")]
    ConfigChanged {
        key: String,
        from: String,
        to: String,
        weakens: bool,
    },
    /// What a running gateway goes by changed, by whatever door: a command, an editor, a restored file.
    #[serde(rename = "security.config.applied")]
    ConfigApplied {
        key: String,
        from: String,
        to: String,
        weakens: bool,
    },
    /// A change on disk could not be taken; the old settings stay in force.
    #[serde(rename = "security.config.rejected")]
    ConfigRejected { errors: Vec<String> },
    /// A token was made.
    #[serde(rename = "security.token.created")]
    TokenCreated {
        token: TokenId,
        name: String,
        scopes: String,
        expires: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tools: Option<String>,
    },
    /// A token was revoked.
    #[serde(rename = "security.token.revoked")]
    TokenRevoked { token: TokenId, reason: String },
    /// A conversation was ended by hand; what was said in it is no longer known.
    #[serde(rename = "security.session.ended")]
    SessionEnded { ended: SessionId },
    /// A setup token was made.
    #[serde(rename = "security.setup.created")]
    SetupCreated { expires: String },
    /// Setup tokens that nobody had traded were made worthless.
    #[serde(rename = "security.setup.voided")]
    SetupVoided { reason: String },
    /// A setup token was traded for an admin token.
    #[serde(rename = "security.setup.redeemed")]
    SetupRedeemed {
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<TokenId>,
    },
    /// A provider credential was stored.
    #[serde(rename = "security.credential.stored")]
    CredentialStored {
        provider: ProviderName,
        fingerprint: String,
        origin: String,
    },
    /// A provider credential was removed.
    #[serde(rename = "security.credential.removed")]
    CredentialRemoved { provider: ProviderName },
    /// Every provider credential is sealed with a new key.
    #[serde(rename = "security.vault.rekeyed")]
    VaultRekeyed { from: String, to: String },
    /// Somebody closed the gateway to look into an incident.
    #[serde(rename = "security.incident.started")]
    IncidentStarted { reason: String },
    /// Evidence was copied; the digest is that of the list of its other files.
    #[serde(rename = "security.incident.preserved")]
    IncidentPreserved { folder: String, sha256: String },
    /// The gateway is open again.
    #[serde(rename = "security.incident.ended")]
    IncidentEnded { began: String },
    /// Settings, sealed credentials and the workspace were written to a file.
    #[serde(rename = "security.backup.created")]
    BackupCreated { file: String },
    /// What such a file holds took the place of what was here.
    #[serde(rename = "security.backup.restored")]
    BackupRestored {
        sha256: String,
        made: String,
        files: u64,
    },
    /// An item of the regular maintenance was done.
    #[serde(rename = "security.maintenance.done")]
    MaintenanceDone { item: String },
    /// What is in force was accepted as what it should be.
    #[serde(rename = "security.baseline.accepted")]
    BaselineAccepted { fingerprint: String, keys: u64 },
    /// The log itself: a segment was closed and the next one opened. The times are those of the earliest and the latest record in the one closed.
    #[serde(rename = "audit.rotated")]
    AuditRotated {
        closed: String,
        opened: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        earliest: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        latest: Option<String>,
    },
    /// The log itself: a segment was dropped to keep the configured number.
    #[serde(rename = "audit.pruned")]
    AuditPruned {
        segment: String,
        first: u64,
        last: u64,
    },
    /// The log itself: a torn last line was set aside after a crash.
    #[serde(rename = "audit.recovered")]
    AuditRecovered { bytes: u64, kept_in: String },
    /// The log itself: it could not be written for a while; what had to wait for it was refused.
    #[serde(rename = "audit.outage")]
    AuditOutage { cause: String, refused: u64 },
    /// The log itself: the disk is full; from here on what had to be recorded was refused.
    #[serde(rename = "audit.full")]
    AuditFull { cause: String },
    /// The wall clock jumped by so many seconds; the order of records is their index.
    #[serde(rename = "security.clock.jumped")]
    ClockJumped { seconds: i64 },
    /// The log itself: end records that nobody waited for could not be kept during an outage.
    #[serde(rename = "audit.lost")]
    AuditLost { records: u64 },
    /// The log itself: its settings changed.
    #[serde(rename = "security.audit.settings")]
    AuditSettings {
        enabled: bool,
        // `level` is the record's own level.
        #[serde(rename = "log_level")]
        level: Level,
        log_requests: bool,
        log_tools: bool,
    },
}

impl Event {
    /// Which setting covers it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Request { .. } | Self::ModelBegin { .. } | Self::ModelEnd { .. } => {
                Class::Request
            }
            Self::ToolBegin { .. }
            | Self::ToolEnd { .. }
            | Self::WorkspaceRemoved { .. }
            | Self::Egress { .. } => Class::Tool,
            Self::GatewayStart { .. }
            | Self::GatewayStop { .. }
            | Self::RequestRefused { .. }
            | Self::AnswerCut { .. }
            | Self::ToolDenied { .. }
            | Self::ApprovalRequested { .. }
            | Self::ApprovalGiven { .. }
            | Self::ApprovalDenied { .. }
            | Self::ApprovalRefused { .. }
            | Self::TurnCancelled { .. }
            | Self::GuardFinding { .. }
            | Self::ConfigChanged { .. }
            | Self::ConfigApplied { .. }
            | Self::ConfigRejected { .. }
            | Self::TokenCreated { .. }
            | Self::TokenRevoked { .. }
            | Self::SessionEnded { .. }
            | Self::SetupCreated { .. }
            | Self::SetupRedeemed { .. }
            | Self::SetupVoided { .. }
            | Self::CredentialStored { .. }
            | Self::CredentialRemoved { .. }
            | Self::VaultRekeyed { .. }
            | Self::IncidentStarted { .. }
            | Self::IncidentPreserved { .. }
            | Self::IncidentEnded { .. }
            | Self::BackupCreated { .. }
            | Self::BackupRestored { .. }
            | Self::MaintenanceDone { .. }
            | Self::BaselineAccepted { .. }
            | Self::AuditRotated { .. }
            | Self::AuditPruned { .. }
            | Self::AuditRecovered { .. }
            | Self::AuditOutage { .. }
            | Self::AuditLost { .. }
            | Self::AuditFull { .. }
            | Self::ClockJumped { .. }
            | Self::AuditSettings { .. } => Class::Security,
        }
    }

    /// How loud it is. `gateway.audit.logLevel` leaves out what is quieter, but never a denial,
    /// a warning, an error or a begin record (see the audit room).
    pub const fn level(&self) -> Level {
        match self {
            Self::RequestRefused { .. }
            | Self::AnswerCut { .. }
            | Self::ToolDenied { .. }
            | Self::ApprovalRefused { .. }
            | Self::TurnCancelled { .. }
            | Self::GuardFinding { .. }
            | Self::TokenRevoked { .. }
            | Self::SessionEnded { .. }
            | Self::SetupVoided { .. }
            | Self::CredentialRemoved { .. }
            | Self::VaultRekeyed { .. }
            | Self::BackupRestored { .. }
            | Self::IncidentStarted { .. }
            | Self::IncidentPreserved { .. }
            | Self::IncidentEnded { .. }
            | Self::BaselineAccepted { .. }
            | Self::AuditPruned { .. }
            | Self::AuditRecovered { .. }
            | Self::ClockJumped { .. }
            | Self::AuditSettings { .. } => Level::Warn,
            Self::Egress { refused, .. } => {
                if refused.is_some() {
                    Level::Warn
                } else {
                    Level::Info
                }
            }
            Self::ConfigChanged { weakens, .. } | Self::ConfigApplied { weakens, .. } => {
                if *weakens { Level::Warn } else { Level::Info }
            }
            Self::ConfigRejected { .. }
            | Self::AuditOutage { .. }
            | Self::AuditFull { .. }
            | Self::AuditLost { .. } => Level::Error,
            Self::Request { error, .. }
            | Self::ModelEnd { error, .. }
            | Self::ToolEnd { error, .. } => {
                if error.is_some() {
                    Level::Error
                } else {
                    Level::Info
                }
            }
            Self::GatewayStart { .. }
            | Self::GatewayStop { .. }
            | Self::ModelBegin { .. }
            | Self::ToolBegin { .. }
            | Self::ApprovalRequested { .. }
            | Self::ApprovalGiven { .. }
            | Self::ApprovalDenied { .. }
            | Self::WorkspaceRemoved { .. }
            | Self::TokenCreated { .. }
            | Self::SetupCreated { .. }
            | Self::SetupRedeemed { .. }
            | Self::CredentialStored { .. }
            | Self::BackupCreated { .. }
            | Self::MaintenanceDone { .. }
            | Self::AuditRotated { .. } => Level::Info,
        }
    }
}

/// Something that is written down before it happens.
pub trait Audited {
    /// The begin record.
    fn event(&self) -> Event;
    /// Who it is about.
    fn who(&self) -> Who;
}

/// Scopes as they are written in events.
impl From<ScopeSet> for String {
    fn from(scopes: ScopeSet) -> Self {
        scopes.to_string()
    }
}
