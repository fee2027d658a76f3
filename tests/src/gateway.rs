//! A gateway as its users run it: the real binary, a home of its own, a free port.

use crate::audit::AuditLog;
use crate::binary;
use crate::http::{Answer, Call};
use crate::upstream::Upstream;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a gateway may take to get ready. Proving the sandbox takes a moment on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// The key that is given for the mock; it is searched for in logs and answers.
pub const UPSTREAM_KEY: &str = "sk-upstream-0123456789abcdef-canary";

/// A home directory, before and between gateways.
#[derive(Debug)]
pub struct Home {
    dir: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Itself, if it ended well.
    ///
    /// # Panics
    /// When it did not.
    #[must_use]
    pub fn ok(self, what: &str) -> Self {
        assert!(
            self.code == 0,
            "{what} ended with {}: {}{}",
            self.code,
            self.out,
            self.err
        );
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|e| panic!("standard output is no JSON ({e}): {:?}", self.out))
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// An empty home.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("clawdbot-test-").tempdir();
        Self {
            dir: dir.expect("a temporary folder can be made"),
        }
    }

    /// A home whose OpenAI and Anthropic are both this upstream, the default model among them.
    pub fn with_upstream(upstream: &Upstream) -> Self {
        let home = Self::new();
        let base = format!("http://127.0.0.1:{}", upstream.port());
        home.set("models.providers.openai.baseUrl", &format!("{base}/v1"));
        home.set("models.providers.anthropic.baseUrl", &base);
        home.set("models.default", "openai/gpt-mock");
        for provider in ["openai", "anthropic"] {
            let args = ["models", "auth", "paste-token", "--provider", provider];
            let _ = home
                .run_with_input(&args, &format!("{UPSTREAM_KEY}\n"))
                .ok("paste-token");
        }
        home
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The folder that tools may touch.
    pub fn workspace(&self) -> PathBuf {
        self.path().join("workspace")
    }

    /// What was written down here.
    pub fn audit(&self) -> AuditLog {
        AuditLog::in_folder(&self.path().join("logs"))
    }

    /// A command of the binary under test, with this home and nothing of the tester's environment
    /// that could change it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary::clawdbot());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CLAWDBOT_") {
                command.env_remove(name);
            }
        }
        command
            .arg("--home")
            .arg(self.path())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs one command to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with_input(args, "")
    }

    /// Runs one command to its end, with this on its standard input.
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Ran {
        let mut command = self.command();
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary under test starts");
        let mut stdin = child.stdin.take().expect("standard input is piped");
        // A command that reads no input may be gone already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child
            .wait_with_output()
            .expect("the binary under test ends");
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Changes a setting, as a user does.
    pub fn set(&self, key: &str, value: &str) {
        let _ = self
            .run(&["config", "set", key, value])
            .ok(&format!("config set {key} {value}"));
    }

    /// Changes a setting whose weakening takes consent.
    pub fn set_accepting_the_risk(&self, key: &str, value: &str) {
        let args = ["config", "set", "--i-accept-the-risk", key, value];
        let _ = self.run(&args).ok(&format!("config set {key} {value}"));
    }

    /// Makes a token with these scopes.
    pub fn token(&self, scopes: &str) -> String {
        let args = ["tokens", "create", "--name", "test", "--scopes", scopes];
        self.run(&args).ok("tokens create").out.trim().to_owned()
    }

    /// Starts a gateway here and waits until it is ready.
    pub fn start(self) -> Gateway {
        let command = self.command();
        Gateway::start(self, command)
    }

    /// Starts a gateway here whose writes past a file size limit fail instead of killing it, so that
    /// such a limit can stand for a full disk.
    pub fn start_without_file_size_signal(self) -> Gateway {
        let direct = self.command();
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(direct.get_program());
        shell.args(direct.get_args()).stdin(Stdio::null());
        for (name, value) in direct.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        Gateway::start(self, shell)
    }
}

/// A running gateway; killed when dropped.
#[derive(Debug)]
pub struct Gateway {
    /// Its home.
    pub home: Home,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The operator's token.
    pub token: String,
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Gateway {
    /// A gateway in front of this upstream.
    pub fn before(upstream: &Upstream) -> Self {
        Home::with_upstream(upstream).start()
    }

    /// A gateway of this home, started by this command, which may carry an environment of its own.
    pub fn start(home: Home, mut command: Command) -> Self {
        command
            .args(["gateway", "--port", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary under test starts");
        let said = Arc::new(Mutex::new(String::new()));
        listen_to(&mut child, Arc::clone(&said));
        let give_up = Instant::now() + STARTS_WITHIN;
        let mut gateway = Self {
            home,
            port: 0,
            token: String::new(),
            child,
            said,
        };
        while gateway.port == 0 || !gateway.is_ready() {
            gateway.must_live(give_up);
            gateway.port = port_in(&gateway.said()).unwrap_or(0);
            std::thread::sleep(Duration::from_millis(5));
        }
        let token = gateway.home.path().join("secrets/operator.token");
        let token = std::fs::read_to_string(&token).expect("the operator has a token");
        token.trim().clone_into(&mut gateway.token);
        gateway
    }

    fn must_live(&mut self, give_up: Instant) {
        let ended = self.child.try_wait().expect("the child can be asked");
        assert!(
            ended.is_none(),
            "the gateway ended ({ended:?}) before it was ready: {}",
            self.said()
        );
        assert!(
            Instant::now() < give_up,
            "the gateway did not get ready: {}",
            self.said()
        );
    }

    fn is_ready(&self) -> bool {
        std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() && {
            let said = Call::get("/ready").send(self.port);
            // One that was told to stay closed is as ready as it will be.
            said.status == 200 || said.text().contains("\"incident\"")
        }
    }

    /// What it has said on standard error so far.
    pub fn said(&self) -> String {
        self.said.lock().expect("no reader panics").clone()
    }

    /// What it has written down.
    pub fn audit(&self) -> AuditLog {
        self.home.audit()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request with the operator's token.
    pub fn ask(&self, call: Call) -> Answer {
        call.bearer(&self.token).send(self.port)
    }

    /// POSTs a JSON value with the operator's token.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Call::post(path, body))
    }

    /// Calls one tool by hand.
    pub fn invoke(&self, name: &str, arguments: &Value) -> Answer {
        self.post(
            "/tools/invoke",
            &serde_json::json!({"name": name, "arguments": arguments}),
        )
    }

    /// Asks the agent one thing in OpenAI's dialect.
    pub fn turn(&self, message: &str) -> Answer {
        let messages = serde_json::json!([{"role": "user", "content": message}]);
        let body = serde_json::json!({"model": "clawdbot/main", "messages": messages});
        self.post("/v1/chat/completions", &body)
    }

    /// Kills it without a warning, as a power cut would, and gives its home back.
    pub fn kill(mut self) -> Home {
        self.end();
        std::mem::take(&mut self.home)
    }

    /// Asks it to stop; its exit code, and its home.
    pub fn stop(mut self) -> (i32, Home) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .expect("it can be signalled");
        let status = self.child.wait().expect("it ends");
        (status.code().unwrap_or(-1), std::mem::take(&mut self.home))
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            println!("--- the gateway said:\n{}", self.said());
        }
    }
}

/// A disk that is full, as far as a gateway can tell: no file of its may grow. Permissions would not
/// stop a test that runs as root. The gateway was started by
/// [`Home::start_without_file_size_signal`].
#[derive(Debug)]
pub struct BrokenLog {
    pid: Pid,
    before: Rlimit,
}

impl BrokenLog {
    /// From now on no file of this gateway grows.
    ///
    /// # Panics
    /// When the limit cannot be set.
    pub fn of(gateway: &Gateway) -> Self {
        let pid = i32::try_from(gateway.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.expect("a running gateway has an id");
        let none = Rlimit {
            current: Some(0),
            maximum: None,
        };
        let before = prlimit(Some(pid), Resource::Fsize, none).expect("the limit can be set");
        Self { pid, before }
    }

    /// It can be written again.
    ///
    /// # Panics
    /// When the limit cannot be set.
    pub fn mend(self) {
        prlimit(Some(self.pid), Resource::Fsize, self.before).expect("the limit can be set");
    }
}

fn listen_to(child: &mut Child, said: Arc<Mutex<String>>) {
    let stderr = child.stderr.take().expect("standard error is piped");
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut said = said.lock().expect("no reader panics");
            said.push_str(&line);
            said.push('\n');
        }
    });
}

/// The port in `listening on SCHEME://ADDRESS:PORT`; which address depends on where the test runs (in a
/// container it is all of them).
fn port_in(said: &str) -> Option<u16> {
    let (_, rest) = said.split_once("listening on ")?;
    let (_, rest) = rest.split_once("://")?;
    let (address, _) = rest.split_once('\n')?;
    address.rsplit(':').next()?.trim().parse().ok()
}
