//! The gateway as compose runs it: a checkout, a project, an image and a port of its own, in the engine that
//! `./test` found or started.

use crate::audit::AuditLog;
use crate::binary;
use crate::gateway::Ran;
use crate::http::{Answer, Call};
use serde_json::Value;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a gateway in a container may take to get ready on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(90);

/// Somebody's folder with the project in it, where the security guide says that it is.
#[derive(Debug)]
pub struct Deployment {
    dir: tempfile::TempDir,
    project: String,
    /// The gateway's port on 127.0.0.1.
    pub port: u16,
}

impl Default for Deployment {
    fn default() -> Self {
        Self::new()
    }
}

impl Deployment {
    /// A fresh checkout whose image is built. Nothing runs yet.
    ///
    /// # Panics
    /// When there is no engine, or nothing to build from, with the command that mends it.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("clawdbot-deployment-")
            .tempdir();
        let dir = dir.expect("a temporary folder can be made");
        let project = format!("clawdbot-test-{}-{}", std::process::id(), unique());
        let deployment = Self {
            dir,
            project,
            port: free_port(),
        };
        deployment.check_out();
        let info = deployment.shell("docker info && docker compose version");
        assert!(
            info.code == 0,
            "no container engine answers, or it has no compose; ./test starts one, or by hand: \
             export DOCKER_HOST=unix://$(tests/container/engine up)/docker.sock\n{}{}",
            info.out,
            info.err
        );
        let _ = deployment
            .shell("docker compose build")
            .ok("docker compose build");
        deployment
    }

    /// The parts of the checkout that compose looks at.
    fn check_out(&self) {
        let from = binary::checkout();
        let rootfs = from.join("container/rootfs");
        assert!(
            rootfs.join("root/usr/bin/clawdbot").is_file(),
            "there is nothing to make an image of; make it: container/build"
        );
        std::fs::create_dir_all(self.folder()).expect("the folder can be made");
        for name in ["compose.yaml", "Dockerfile", ".dockerignore", "container"] {
            let copied = Command::new("cp")
                .arg("-a")
                .arg(from.join(name))
                .arg(self.folder())
                .status();
            assert!(copied.is_ok_and(|s| s.success()), "{name} can be copied");
        }
    }

    /// The person's home, `~` in the guide.
    pub fn home(&self) -> &Path {
        self.dir.path()
    }

    /// Where the guide has the project.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("Development/clawdbot-workspace")
    }

    /// The gateway's home, as it is seen outside.
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// The image.
    pub fn image(&self) -> String {
        format!("{}:here", self.project)
    }

    /// A shell command as this person types it, in the project's folder.
    pub fn command(&self, typed: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-uo", "pipefail", "-c", typed]);
        let real_home = std::env::var_os("HOME").unwrap_or_default();
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CLAWDBOT_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(self.folder())
            .env("HOME", self.home())
            .env("NO_COLOR", "1")
            .env("COMPOSE_PROJECT_NAME", &self.project)
            .env("COMPOSE_PROGRESS", "plain")
            .env("CLAWDBOT_IMAGE", self.image())
            .env("CLAWDBOT_BUILT", "prebuilt")
            .env("CLAWDBOT_PORT", self.port.to_string())
            .stdin(Stdio::null());
        // Compose itself was found through the tester's home.
        if std::env::var_os("DOCKER_CONFIG").is_none() {
            command.env("DOCKER_CONFIG", Path::new(&real_home).join(".docker"));
        }
        let me = std::fs::metadata(self.dir.path()).expect("the folder is there");
        if me.uid() != 0 {
            command.env("CLAWDBOT_UID", me.uid().to_string());
            command.env("CLAWDBOT_GID", me.gid().to_string());
        }
        command
    }

    /// Types a command and waits for its end.
    pub fn shell(&self, typed: &str) -> Ran {
        self.shell_with_input(typed, "")
    }

    /// The same with something on its standard input.
    pub fn shell_with_input(&self, typed: &str, input: &str) -> Ran {
        let mut child = self
            .command(typed)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let mut stdin = child.stdin.take().expect("standard input is piped");
        // A command that reads no input may be gone already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("the command ends");
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A command of the second service.
    pub fn cli(&self, words: &str) -> Ran {
        self.shell(&format!("docker compose run --rm clawdbot-cli {words}"))
    }

    /// Changes a setting through the second service.
    pub fn set(&self, key: &str, value: &str) {
        let _ = self
            .cli(&format!("config set --i-accept-the-risk {key} '{value}'"))
            .ok(key);
    }

    /// Starts the gateway and waits until it is ready.
    pub fn up(&self) {
        let _ = self
            .shell("docker compose up -d clawdbot-gateway")
            .ok("docker compose up");
        self.wait_until_ready();
    }

    /// Restarts it, which also empties what it counted.
    pub fn restart(&self) {
        let _ = self
            .shell("docker compose restart clawdbot-gateway")
            .ok("docker compose restart");
        self.wait_until_ready();
    }

    /// Waits for the gateway's own word, through the health check, so that nothing is counted against the
    /// person outside.
    pub fn wait_until_ready(&self) {
        let until = Instant::now() + STARTS_WITHIN;
        while self
            .shell("docker compose exec -T clawdbot-gateway clawdbot health")
            .code
            != 0
        {
            assert!(
                Instant::now() < until,
                "the gateway did not get ready: {}",
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// What the gateway said.
    pub fn logs(&self) -> String {
        let ran = self.shell("docker compose logs --no-log-prefix clawdbot-gateway");
        ran.out + &ran.err
    }

    /// The container's own description, as the engine keeps it.
    pub fn inspect(&self) -> Value {
        let id = self.shell("docker compose ps -q clawdbot-gateway").ok("ps");
        let told = self
            .shell(&format!("docker inspect {}", id.out.trim()))
            .ok("inspect");
        told.json()[0].clone()
    }

    /// The operator's token.
    pub fn token(&self) -> String {
        let file = self.data().join("secrets/operator.token");
        let token = std::fs::read_to_string(file).expect("the operator has a token");
        token.trim().to_owned()
    }

    /// Sends a request with the operator's token, to the published port.
    pub fn ask(&self, call: Call) -> Answer {
        call.bearer(&self.token()).send(self.port)
    }

    /// Calls one tool by hand.
    pub fn invoke(&self, name: &str, arguments: &Value) -> Answer {
        let body = serde_json::json!({"name": name, "arguments": arguments});
        self.ask(Call::post("/tools/invoke", &body))
    }

    /// Asks the agent one thing.
    pub fn turn(&self, message: &str) -> Answer {
        let messages = serde_json::json!([{"role": "user", "content": message}]);
        let body = serde_json::json!({"model": "clawdbot/main", "messages": messages});
        self.ask(Call::post("/v1/chat/completions", &body))
    }

    /// What it has written down.
    pub fn audit(&self) -> AuditLog {
        AuditLog::in_folder(&self.data().join("logs"))
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- the gateway said:\n{}", self.logs());
        }
        let _ =
            self.shell("docker compose --profile cli down --volumes --remove-orphans --timeout 2");
        let _ = self.shell(&format!("docker image rm {}", self.image()));
    }
}

fn unique() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}
