//! `clawdbot chat`: a conversation with a running gateway.

use super::gateway::runtime;
use super::record::settings;
use super::{CliResult, Exit, Failure};
use crate::client::{Client, Heard};
use crate::home::Home;
use crate::pin::Pin;
use crate::{note, say};
use clap::Args;
use clawdbot_auth::operator;
use clawdbot_config::Settings;
use serde_json::{Value, json};
use std::io::{BufRead as _, IsTerminal as _, Write as _};

#[derive(Debug, Args)]
pub struct ChatArgs {
    /// Ask this and exit; without it, talk until end of input
    message: Option<String>,

    /// The gateway's port, when it is not gateway.port
    #[arg(long)]
    port: Option<u16>,

    /// Show each step of a turn: screened, permitted or refused, recorded, sandboxed
    #[arg(long, short)]
    verbose: bool,

    /// Send this message although the guard refused it: the id from the refusal, once
    #[arg(long, value_name = "ID", requires = "message")]
    allow_finding: Option<String>,
}

pub fn run(args: &ChatArgs, home: &Home) -> CliResult {
    let client = client(home, args.port)?;
    runtime()?.block_on(async {
        match &args.message {
            Some(message) => {
                let client = client.allowing(args.allow_finding.clone());
                ask(&client, &mut Vec::new(), message, args.verbose).await
            }
            None => talk(&client).await,
        }
    })
}

/// A client of the gateway of this home, as its operator.
pub(super) fn client(home: &Home, port: Option<u16>) -> Result<Client, Failure> {
    let loaded = settings(home)?;
    let token = operator::read(&home.secrets()).map_err(|e| Failure::new(Exit::Io, e))?;
    let token = token.ok_or_else(|| {
        Failure::new(Exit::Unavailable, "there is no operator token in this home")
            .hint("start the gateway once: clawdbot up")
    })?;
    Ok(Client::new(
        port.unwrap_or(loaded.settings.gateway.port),
        token,
        pin(&loaded.settings)?,
    ))
}

/// What a gateway under these settings must show.
pub(super) fn pin(settings: &Settings) -> Result<Option<Pin>, Failure> {
    let certificate = settings.gateway.tls.certificate.as_ref();
    let pin = certificate.map(|path| Pin::read(path.as_ref()));
    pin.transpose()
        .map_err(|e| Failure::new(Exit::BadConfig, e))
}

/// One message, every step shown.
pub(super) async fn once(client: &Client, message: &str) -> CliResult {
    note!("you: {message}");
    ask(client, &mut Vec::new(), message, true).await
}

/// A conversation on the terminal.
pub(super) async fn talk(client: &Client) -> CliResult {
    let mut history = Vec::new();
    note!("ask anything; an empty line or ctrl-d ends the chat. Try: list the files");
    loop {
        if std::io::stdin().is_terminal() {
            let _ = write!(anstream::stderr().lock(), "\n> ");
        }
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin()
                .lock()
                .read_line(&mut line)
                .map(|n| (n > 0).then_some(line))
        });
        let line = line.await.map_err(|e| Failure::new(Exit::Bug, e))?;
        let line = line.map_err(|e| Failure::new(Exit::Io, format!("cannot read: {e}")))?;
        let Some(line) = line.map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()) else {
            return Ok(Exit::Done);
        };
        if let Err(failure) = ask(client, &mut history, &line, true).await {
            // One failed question does not end a conversation.
            failure.report();
            history.pop();
        }
    }
}

/// Asks, prints the answer as it comes, and keeps both in the history.
async fn ask(client: &Client, history: &mut Vec<Value>, message: &str, steps: bool) -> CliResult {
    history.push(json!({"role": "user", "content": message}));
    let mut screen = Screen::new(steps);
    client.ask(history, |heard| screen.take(heard)).await?;
    say!("");
    let exit = see_through(client, &mut screen).await?;
    history.push(json!({"role": "assistant", "content": screen.answer}));
    Ok(exit)
}

/// Goes on with a turn that waited, now that a person has said yes or no.
pub(super) async fn resume(client: &Client, turn: &str) -> CliResult {
    let mut screen = Screen::new(true);
    client.go_on(turn, |heard| screen.take(heard)).await?;
    say!("");
    see_through(client, &mut screen).await
}

/// Asks the person whenever the turn waits for one.
async fn see_through(client: &Client, screen: &mut Screen) -> CliResult {
    while let Some(waits) = screen.waits.take() {
        // Nobody is there to ask: the turn waits, and the answer has said how to go on.
        if !std::io::stdin().is_terminal() {
            return Ok(Exit::Unavailable);
        }
        decide(client, &waits).await?;
        let turn = field(&waits, "turn");
        client.go_on(&turn, |heard| screen.take(heard)).await?;
        say!("");
    }
    Ok(Exit::Done)
}

/// What has come of an answer so far.
struct Screen {
    steps: bool,
    answer: String,
    fresh_line: bool,
    /// The step in which the turn began to wait.
    waits: Option<Value>,
}

impl Screen {
    const fn new(steps: bool) -> Self {
        Self {
            steps,
            answer: String::new(),
            fresh_line: true,
            waits: None,
        }
    }

    fn take(&mut self, heard: Heard) {
        match heard {
            // The first event of a stream carries no text; it is no reason for a line break.
            Heard::Text(text) if text.is_empty() => {}
            Heard::Text(text) => {
                let _ = write!(anstream::stdout().lock(), "{}", visible(&text));
                let _ = anstream::stdout().lock().flush();
                self.fresh_line = text.ends_with('\n');
                self.answer.push_str(&text);
            }
            // A running command speaks as it goes; what it says is set apart from the answer.
            Heard::Step(step) if field(&step, "step") == "output" => {
                if self.steps {
                    command_says(&field(&step, "text"), &mut self.fresh_line);
                }
            }
            Heard::Step(step) => {
                if self.steps {
                    if !self.fresh_line {
                        say!("");
                        self.fresh_line = true;
                    }
                    if let Some(line) = told(&step) {
                        note!("  {line}");
                    }
                }
                if field(&step, "step") == "waits" {
                    self.waits = Some(step);
                }
            }
        }
    }
}

fn field(step: &Value, name: &str) -> String {
    let value = step.get(name).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}

/// Shows the whole call, asks, and tells the gateway. Whatever is not a plain yes is a no.
async fn decide(client: &Client, waits: &Value) -> Result<(), Failure> {
    note!("");
    note!("  {} wants to run with", field(waits, "tool"));
    note!("  {}", visible(&field(waits, "arguments")));
    let reasons = waits.get("reasons").and_then(Value::as_array).cloned();
    for reason in reasons.iter().flatten().filter_map(Value::as_str) {
        note!("  because {}", visible(reason));
    }
    let path = |what: &str| format!("/approvals/{}/{what}", field(waits, "approval"));
    let mut answer = answered("  run this very call? [y/N, a: and do not ask again] ").await?;
    if matches!(answer.as_str(), "a" | "A" | "always") {
        match client
            .post(&path("approve"), &json!({"always": true}))
            .await
        {
            Ok(_) => {
                note!("  not asked again: clawdbot approvals always list");
                return Ok(());
            }
            // Nothing was decided: what cannot be for good can still be for once.
            Err(refused) => note!("  {}", visible(refused.message())),
        }
        answer = answered("  run this very call, once? [y/N] ").await?;
    }
    let yes = matches!(answer.as_str(), "y" | "Y" | "yes");
    let what = if yes { "approve" } else { "deny" };
    client.post(&path(what), &json!({})).await.map(drop)
}

/// A person's answer on the terminal.
async fn answered(question: &str) -> Result<String, Failure> {
    let _ = write!(anstream::stderr().lock(), "{question}");
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = line.await.map_err(|e| Failure::new(Exit::Bug, e))?;
    let line = line.map_err(|e| Failure::new(Exit::Io, format!("cannot read: {e}")))?;
    Ok(line.trim().to_owned())
}

/// On standard error like every step, each line marked: a command must not be able to pose as the assistant.
fn command_says(text: &str, fresh_line: &mut bool) {
    let mut shown = String::new();
    for part in text.split_inclusive('\n') {
        if *fresh_line {
            shown.push_str("  | ");
        }
        shown.push_str(&visible(part));
        *fresh_line = part.ends_with('\n');
    }
    let mut out = anstream::stderr().lock();
    // Somebody who closed standard error wants none of it.
    let _ = out.write_all(shown.as_bytes()).and_then(|()| out.flush());
}

/// Model output is somebody else's text: a terminal must not obey it.
fn visible(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c.to_string(),
        c if c.is_control() || is_format(c) => c.escape_unicode().to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// Characters that reorder or hide text: bidirectional controls, zero-width, tags.
const fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// One step in a line.
fn told(step: &Value) -> Option<String> {
    let text = |key: &str| {
        step.get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let record = || match step.get("record").and_then(Value::as_u64) {
        Some(number) => format!("recorded as no. {number}"),
        None => "not recorded: auditing of this is off".to_owned(),
    };
    let list = |key: &str| {
        let items = step.get(key).and_then(Value::as_array).map(Vec::as_slice);
        let items = items.unwrap_or_default().iter().filter_map(Value::as_str);
        items.collect::<Vec<_>>().join(", ")
    };
    let line = match text("step").as_str() {
        "screened" => {
            let found = step
                .get("finding")
                .and_then(Value::as_str)
                .unwrap_or("nothing found");
            let bytes = step.get("bytes").and_then(Value::as_u64).unwrap_or(0);
            format!(
                "screened   {} text, {bytes} bytes: {found}",
                text("channel")
            )
        }
        "asked" => format!(
            "asking     {}/{}; {}",
            text("provider"),
            text("model"),
            record()
        ),
        "permitted" => format!(
            "permitted  {} {} by {}; {}",
            text("tool"),
            text("arguments"),
            list("rules"),
            record()
        ),
        "refused" => {
            let rules = step
                .get("rules")
                .and_then(Value::as_array)
                .map(Vec::as_slice);
            let named = rules
                .unwrap_or_default()
                .iter()
                .filter_map(|r| r.get("rule")?.as_str());
            let named = named.collect::<Vec<_>>().join(", ");
            let verdict = if text("verdict") == "ask" {
                "needs approval"
            } else {
                "refused"
            };
            format!("{verdict:<10} {} by {named}; {}", text("tool"), record())
        }
        "waits" => format!(
            "waits      {} for a person until {}; {}",
            text("tool"),
            text("expires"),
            record()
        ),
        "ran" => {
            let cut = step.get("truncated") == Some(&Value::Bool(true));
            let cut = if cut {
                "; cut at its cap and ended"
            } else {
                ""
            };
            format!(
                "sandboxed  {} ran under {}{cut}",
                text("tool"),
                list("layers")
            )
        }
        _ => return None,
    };
    Some(visible(&line))
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn a_terminal_does_not_obey_what_a_model_says() {
        assert_eq!(visible("a\x1b[2Jb\n\u{202e}c"), "a\\u{1b}[2Jb\n\\u{202e}c");
    }
}
