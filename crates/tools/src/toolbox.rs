//! All tools, and the one way to run one.

use crate::broker::{Asker, Broker};
use crate::catalogue::Catalogue;
use crate::child::ToolJob;
use crate::schema::BadCall;
use crate::tool::{self, Tool, Work, run_command};
use crate::workspaces::{Place, Workspaces};
use clawdbot_audit::Recorded;
use clawdbot_domain::{
    Audited as _, Effect, Event, Outcome, ToolCall, ToolName, ToolSpec, Untrusted, Who, sha256_hex,
};
use clawdbot_policy::Permit;
use clawdbot_sandbox::{Confinement, Ended, Extras, Finished, Need, Profile, Sandbox, Watch};
use rustix::fd::OwnedFd;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::UnixStream;

/// The tools of one gateway, on its workspaces.
#[derive(Debug)]
pub struct Toolbox {
    sandbox: Arc<Sandbox>,
    workspaces: Workspaces,
    allowed_commands: Vec<String>,
    broker: Option<Arc<Broker>>,
    catalogue: Catalogue,
}

/// What came of a permitted call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutcome {
    /// What goes to the model. Whatever a tool returns may have been written by anyone.
    pub output: Untrusted,
    /// True when the tool failed.
    pub is_error: bool,
    /// Exit code of a command that ended by itself.
    pub exit: Option<i32>,
    /// True when the output was cut at its cap.
    pub truncated: bool,
    /// The sandbox layers it ran under; none when it did not run.
    pub layers: Vec<String>,
}

impl Toolbox {
    /// The built-in tools. Commands run as the sandbox's mode says; in mode moderate those on
    /// `allowed_commands`.
    pub fn new(
        sandbox: Arc<Sandbox>,
        workspaces: Workspaces,
        allowed_commands: Vec<String>,
    ) -> Self {
        Self {
            sandbox,
            workspaces,
            allowed_commands,
            broker: None,
            catalogue: Catalogue::default(),
        }
    }

    /// The same with a way to the network, for the tools that need one.
    #[must_use]
    pub fn with_broker(mut self, broker: Broker) -> Self {
        self.broker = Some(Arc::new(broker));
        self
    }

    /// Every tool.
    pub fn specs(&self) -> Arc<[ToolSpec]> {
        self.catalogue.specs()
    }

    /// The tool of this name.
    pub fn spec(&self, name: &str) -> Option<&ToolSpec> {
        self.catalogue.spec(name)
    }

    /// Where calls work.
    pub fn workspaces(&self) -> &Workspaces {
        &self.workspaces
    }

    /// That there is no tool of this name, with the nearest one.
    pub fn unknown(&self, name: &str) -> BadCall {
        self.catalogue.unknown(name)
    }

    /// Turns what a model or client proposed into a call, or says in words fit for a model what is wrong
    /// with it.
    pub fn validate(
        &self,
        id: &str,
        name: &str,
        arguments_json: &str,
    ) -> Result<ToolCall, BadCall> {
        self.catalogue.validate(id, name, arguments_json)
    }

    /// Runs one permitted call that was written down, in a child of its own, and writes down how it ended.
    /// Dropping the future ends the child with all it started; the record then says `abandoned`.
    pub async fn run(&self, permit: Recorded<Permit>) -> ToolOutcome {
        self.run_watched(permit, None).await
    }

    /// The same, where somebody sees what a command writes while it writes it, up to its cap. It is what the tool
    /// wrote: nobody has looked at it yet.
    pub async fn run_watched(
        &self,
        permit: Recorded<Permit>,
        watch: Option<Watch<'_>>,
    ) -> ToolOutcome {
        let (permit, record) = permit.act();
        let who = permit.who();
        let call = permit.into_call();
        let (outcome, error) = match self.execute(&call, who, watch).await {
            Ok(outcome) => (outcome, None),
            Err(why) => (ToolOutcome::not_run(&why), Some(why)),
        };
        let how = match error {
            None => Outcome::Ok,
            Some(_) => Outcome::Failed,
        };
        record.close(how, outcome.event(call.name, error));
        outcome
    }

    async fn execute(
        &self,
        call: &ToolCall,
        who: Who,
        watch: Option<Watch<'_>>,
    ) -> Result<ToolOutcome, String> {
        let tool = tool::find(call.name.as_str())
            .filter(|tool| tool.effect == call.effect)
            .ok_or_else(|| format!("there is no tool {} with effect {}", call.name, call.effect))?;
        let place = self.place(&who).await?;
        match tool.work {
            Work::Inside(_) => self.inside(tool, call, &place, None).await,
            Work::Online(_) => self.online(tool, call, &place, who).await,
            Work::Command => self.command(tool, call, &place, watch).await,
        }
    }

    /// Counting what a workspace holds is work for the disk, not for a thread that serves requests.
    async fn place(&self, who: &Who) -> Result<Place, String> {
        let (workspaces, who) = (self.workspaces.clone(), who.clone());
        let placed = tokio::task::spawn_blocking(move || workspaces.place(&who)).await;
        placed.map_err(|error| error.to_string())?
    }

    /// The child asks on its end of a socket, the broker answers on the other, side by side.
    async fn online(
        &self,
        tool: &Tool,
        call: &ToolCall,
        place: &Place,
        who: Who,
    ) -> Result<ToolOutcome, String> {
        let broker = self
            .broker
            .as_ref()
            .ok_or("this gateway has no way to the network")?;
        let said = |error: std::io::Error| format!("the line to the broker: {error}");
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(said)?;
        ours.set_nonblocking(true).map_err(said)?;
        let ours = UnixStream::from_std(ours).map_err(said)?;
        let tool_name = call.name.clone();
        let asker = Asker {
            who,
            tool: tool_name,
        };
        let child = self.inside(tool, call, place, Some(theirs.into()));
        tokio::pin!(child);
        tokio::select! {
            outcome = &mut child => return outcome,
            // A child that says nothing, or nonsense, is told nothing; its own answer says the rest.
            _ = broker.serve(ours, &asker) => {}
        }
        child.await
    }

    async fn inside(
        &self,
        tool: &Tool,
        call: &ToolCall,
        place: &Place,
        line: Option<OwnedFd>,
    ) -> Result<ToolOutcome, String> {
        let job = serde_json::to_vec(&ToolJob {
            tool: tool.name.to_owned(),
            arguments: call.arguments.clone(),
        });
        let job = job.map_err(|error| error.to_string())?;
        let confinement = self.confine(tool, Profile::Builtin, place, &[])?;
        let extras = Extras { line, watch: None };
        let finished = self.sandbox.run_with(&confinement, &job, extras).await;
        let finished = finished.map_err(|error| error.to_string())?;
        Ok(ToolOutcome::of(
            finished,
            self.sandbox.layers_of(&confinement),
        ))
    }

    async fn command(
        &self,
        tool: &Tool,
        call: &ToolCall,
        place: &Place,
        watch: Option<Watch<'_>>,
    ) -> Result<ToolOutcome, String> {
        let (argv, cwd) = run_command::asked(&call.arguments);
        let (mode, allowed) = (self.sandbox.mode(), &self.allowed_commands);
        let prepared = run_command::prepare(mode, allowed, &place.folder, argv, cwd)
            .map_err(|refused| refused.to_string())?;
        let confinement = self.confine(tool, Profile::Command, place, &prepared.programs)?;
        let finished = self
            .sandbox
            .run_command(&confinement, &prepared.job, Extras { line: None, watch })
            .await;
        let finished = finished.map_err(|error| error.to_string())?;
        Ok(ToolOutcome::of(
            finished,
            self.sandbox.layers_of(&confinement),
        ))
    }

    fn confine(
        &self,
        tool: &Tool,
        profile: Profile,
        place: &Place,
        programs: &[PathBuf],
    ) -> Result<Confinement, String> {
        let need = Need {
            profile,
            workspace: &place.folder,
            // What reaches the network has nothing to write here.
            write: matches!(tool.effect, Effect::Write | Effect::Execute),
            programs,
        };
        let confinement = self
            .sandbox
            .confine(&need)
            .map_err(|error| error.to_string())?;
        if !need.write {
            return Ok(confinement);
        }
        let limits = place.limits(confinement.limits())?;
        Ok(confinement.with_limits(limits))
    }
}

impl ToolOutcome {
    fn not_run(why: &str) -> Self {
        Self {
            output: Untrusted::new(why),
            is_error: true,
            exit: None,
            truncated: false,
            layers: Vec::new(),
        }
    }

    fn of(finished: Finished, layers: Vec<String>) -> Self {
        let Finished { output, ended } = finished;
        let mut text = String::from_utf8_lossy(&output).into_owned();
        let (is_error, exit, note) = match ended {
            Ended::Answered { is_error } => (is_error, None, None),
            Ended::Exited(code) => (code != 0, Some(code), Some(format!("exit code {code}"))),
            Ended::Signalled(9) => {
                let why = "as the kernel does where memory or processor time is at an end";
                (true, None, Some(format!("ended by signal 9, {why}")))
            }
            Ended::Signalled(signal) => (true, None, Some(format!("ended by signal {signal}"))),
            Ended::TimedOut => (true, None, Some("ended: its time was up".to_owned())),
            Ended::Outgrown(what) => (true, None, Some(format!("ended: {what}"))),
            Ended::TooMuchOutput => {
                let note = format!("ended: more than {} bytes of output", output.len());
                (true, None, Some(note))
            }
        };
        if let Some(note) = note {
            let line = if text.is_empty() || text.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            let _ = writeln!(text, "{line}[{note}]");
        }
        Self {
            output: Untrusted::new(text),
            is_error,
            exit,
            truncated: ended == Ended::TooMuchOutput,
            layers,
        }
    }

    fn event(&self, tool: ToolName, error: Option<String>) -> Event {
        Event::ToolEnd {
            tool,
            exit: self.exit,
            output_bytes: self.output.len() as u64,
            output_sha256: sha256_hex(self.output.reveal_untrusted().as_bytes()),
            truncated: self.truncated,
            layers: self.layers.clone(),
            error,
        }
    }
}
