//! The broker: the one way from a tool to the network, and it stays outside of the tool.
//!
//! A tool's child has no network. It has one connected socket to this, asks for one URL on it and reads the
//! answer. The name is resolved once; every address that came back must be public, and the connection goes to
//! one of these very addresses, so a name that answers differently the next time leads nowhere. Each redirect
//! is read, judged, written down and resolved as if it had been asked for. No cookie, no proxy variable, no
//! credential; sizes and times are capped here, whatever the child does.

mod address;
mod dial;
pub(crate) mod line;
pub(crate) mod search;
mod target;

pub use dial::{Lookup, Resolve, System};
pub use search::{Dialect, Keeper, SearchSettings};
pub use target::HostRules;

use clawdbot_audit::Recorder;
use clawdbot_domain::{Event, Outcome, ToolName, Who};
use dial::Answered;
use line::{Head, MOST_BODY, MOST_REQUEST, Wanted};
use search::Question;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use target::Target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// How long one request may take, with all its redirects.
const TIME: Duration = Duration::from_secs(25);
/// The most redirects.
const MOST_HOPS: usize = 5;

/// The way out.
pub struct Broker {
    rules: HostRules,
    resolver: Arc<dyn Resolve>,
    search: Option<SearchSettings>,
    recorder: Recorder,
    dialer: dial::Dialer,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// On whose behalf something is fetched.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) who: Who,
    pub(crate) tool: ToolName,
}

impl Broker {
    /// A broker that lets tools reach these hosts. Fails when TLS cannot be set up.
    pub fn new(
        rules: HostRules,
        search: Option<SearchSettings>,
        resolver: Arc<dyn Resolve>,
        recorder: Recorder,
    ) -> Result<Self, String> {
        Ok(Self {
            rules,
            resolver,
            search,
            recorder,
            dialer: dial::Dialer::new()?,
        })
    }

    /// Serves the one request of a child, until it is answered or the child is gone.
    pub(crate) async fn serve(&self, mut line: UnixStream, asker: &Asker) -> io::Result<()> {
        let mut prefix = [0; 4];
        line.read_exact(&mut prefix).await?;
        let mut request = vec![0; line::length(prefix, MOST_REQUEST)?];
        line.read_exact(&mut request).await?;
        let outcome = match serde_json::from_slice(&request) {
            Err(error) => Err(format!("not a request: {error}")),
            Ok(wanted) => match tokio::time::timeout(TIME, self.get(wanted, asker)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(format!("no answer within {} seconds", TIME.as_secs())),
            },
        };
        let (head, body) = outcome.unwrap_or_else(|why| (Head::Refused(why), Vec::new()));
        line.write_all(&line::frame(&serde_json::to_vec(&head)?)?)
            .await?;
        line.write_all(&line::frame(&body)?).await?;
        line.shutdown().await
    }

    async fn get(&self, wanted: Wanted, asker: &Asker) -> Result<(Head, Vec<u8>), String> {
        match wanted {
            Wanted::Url(url) => self.page(&url, asker).await,
            Wanted::Search { query, count } => self.search(&query, count, asker).await,
        }
    }

    async fn page(&self, url: &str, asker: &Asker) -> Result<(Head, Vec<u8>), String> {
        let mut target = Target::parse(url)?;
        for _ in 0..=MOST_HOPS {
            let answer = self.hop(&target, asker).await?;
            if let Some(location) = answer.redirect() {
                let next = target.join(location);
                target = next.map_err(|why| format!("{} redirects: {why}", target.origin()))?;
                continue;
            }
            let head = Head::Got {
                url: format!("{}{}", target.origin(), target.path),
                status: answer.status,
                media: answer.media,
                cut: answer.cut,
            };
            return Ok((head, answer.body));
        }
        Err(format!("more than {MOST_HOPS} redirects"))
    }

    /// One request to one checked address.
    async fn hop(&self, target: &Target, asker: &Asker) -> Result<Answered, String> {
        let judged = self.judge(target).await;
        let address = match judged {
            Ok(address) => address,
            Err(why) => {
                let event = egress(target, None, asker, Some(why.clone()));
                self.note(asker, Outcome::Denied, event).await?;
                return Err(why);
            }
        };
        let event = egress(target, Some(address), asker, None);
        self.note(asker, Outcome::Begin, event).await?;
        self.dialer.ask(target, address, &[], None, MOST_BODY).await
    }

    /// Resolves once. One address that is not public among many is reason enough: it was put there.
    async fn judge(&self, target: &Target) -> Result<std::net::SocketAddr, String> {
        self.rules.takes(target)?;
        let found = self.lookup(target).await?;
        for address in &found {
            self.rules.takes_address(target, address.ip())?;
        }
        let first = found.first().copied();
        first.ok_or_else(|| format!("{} has no address", target.host))
    }

    async fn lookup(&self, target: &Target) -> Result<Vec<std::net::SocketAddr>, String> {
        if let Some(address) = target.address {
            return Ok(vec![(address, target.port).into()]);
        }
        let found = self.resolver.lookup(&target.host, target.port).await;
        found.map_err(|error| format!("{}: name lookup: {error}", target.host))
    }

    /// The provider was chosen by the operator, so its address is not judged; and its key goes to its own origin
    /// only, because no redirect is followed.
    async fn search(
        &self,
        query: &str,
        count: usize,
        asker: &Asker,
    ) -> Result<(Head, Vec<u8>), String> {
        let settings = self.search.as_ref().ok_or("no search provider is set up")?;
        let Question {
            target,
            headers,
            body,
        } = settings.ask(query, count)?;
        let found = self.lookup(&target).await?;
        let address = *found
            .first()
            .ok_or("the search provider's name has no address")?;
        let event = egress(&target, Some(address), asker, None);
        self.note(asker, Outcome::Begin, event).await?;
        let answer = self
            .dialer
            .ask(&target, address, &headers, body, MOST_BODY)
            .await?;
        if answer.status != 200 {
            return Err(format!("the search provider answered {}", answer.status));
        }
        let provider = settings.dialect;
        Ok((Head::Found { provider }, answer.body))
    }

    /// Written down before it happens; what cannot be written down does not happen.
    async fn note(&self, asker: &Asker, outcome: Outcome, event: Event) -> Result<(), String> {
        let noted = self.recorder.note(asker.who.clone(), outcome, event).await;
        noted
            .map(drop)
            .map_err(|error| format!("the audit log cannot be written: {error}"))
    }
}

/// The path and query may hold what a page should not have told; the call's own record has them.
fn egress(
    target: &Target,
    address: Option<std::net::SocketAddr>,
    asker: &Asker,
    refused: Option<String>,
) -> Event {
    Event::Egress {
        tool: asker.tool.clone(),
        origin: target.origin(),
        address: address.map(|address| address.to_string()),
        refused,
    }
}
