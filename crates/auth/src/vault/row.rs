//! A credential as it is kept.

use super::CredentialInfo;
use clawdbot_domain::UnixTime;
use rusqlite::Row;

pub(super) struct Sealed {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) origin: String,
    pub(super) data_key: Vec<u8>,
    pub(super) secret: Vec<u8>,
    pub(super) last_used: Option<UnixTime>,
}

impl Sealed {
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            kind: row.get(1)?,
            origin: row.get(2)?,
            data_key: row.get(3)?,
            secret: row.get(4)?,
            last_used: row.get::<_, Option<i64>>(5)?.map(UnixTime::from_nanos),
        })
    }
}

/// A row of a provider that this version does not know is left out.
pub(super) fn info_of(row: &Row<'_>) -> rusqlite::Result<Option<CredentialInfo>> {
    let Ok(provider) = row.get_ref(0)?.as_str()?.parse() else {
        return Ok(None);
    };
    Ok(Some(CredentialInfo {
        provider,
        kind: row.get(1)?,
        fingerprint: row.get(2)?,
        origin: row.get(3)?,
        created: UnixTime::from_nanos(row.get(4)?),
        last_used: row.get::<_, Option<i64>>(5)?.map(UnixTime::from_nanos),
    }))
}
