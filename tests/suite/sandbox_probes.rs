//! Every probe of `tests/probes`: first unconfined, because a probe that cannot succeed proves nothing,
//! then confined, in each environment. A probe prints REACHED, or the canary, when it got what it must not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// An ordinary user that exists on no machine. Who is not root tries as himself instead.
const NOBODY: u32 = 31_337;
/// How long a confined probe may take, seconds; what waits for ever is cut here.
pub(super) const SECONDS: &str = "3";
/// Programs that a lenient operator might allow. More than anyone should: here the kernel must hold.
pub(super) const ALLOWED: &[&str] = &[
    "sh",
    "bash",
    "python3",
    "/usr/bin/python3",
    "cat",
    "grep",
    "ls",
    "find",
    "sed",
    "awk",
    "tar",
    "timeout",
    "truncate",
    "mkfifo",
    "setsid",
    "sleep",
    "rm",
    "ln",
    "mv",
    "cp",
    "env",
    "id",
    "touch",
    "chmod",
    "chown",
    "head",
    "tail",
    "dd",
    "git",
    "xargs",
    "sort",
    "stat",
    "tee",
    "mkdir",
    "unshare",
    "mount",
    "kill",
    "nsenter",
    "readlink",
    "test",
    "true",
    "wc",
    "ps",
    "mknod",
    "setfattr",
    "true",
    "tr",
    "cut",
    "od",
    "strings",
    "sha256sum",
];

#[derive(Debug)]
pub(super) struct Probe {
    pub(super) id: String,
    pub(super) group: String,
    pub(super) lang: String,
    code: String,
    /// What must come of it with namespaces.
    pub(super) full: String,
    /// And without.
    bare: String,
    by: String,
    /// Whether it reaches when an ordinary user runs it unconfined, or why that cannot be tried.
    pub(super) alone: String,
}

pub(super) fn probes() -> Vec<Probe> {
    let path = testkit::binary::checkout().join("tests/probes/probes.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| row[name].as_str().unwrap().to_owned();
        Probe {
            id: field("id"),
            group: field("group"),
            lang: field("lang"),
            code: field("code"),
            full: field("moderate"),
            bare: field("bare"),
            by: field("by"),
            alone: field("alone"),
        }
    });
    lines.collect()
}

/// Who somebody is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Who {
    fn ordinary() -> Self {
        if is_root() {
            return Self {
                uid: NOBODY,
                gid: NOBODY,
            };
        }
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }
}

impl Who {
    /// Lets him start it. Nobody has to ask to be himself, and a container's filter does not let him.
    fn starts(self, command: &mut Command) -> &mut Command {
        if is_root() {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }
}

/// True where `container.rs` runs this test inside the gateway's container.
fn in_container() -> bool {
    std::env::var_os("CLAWDBOT_PROBES_IN").is_some_and(|place| place == "container")
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Who runs a probe, and where it must be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    name: &'static str,
    root: bool,
    /// None: unconfined.
    tier: Option<&'static str>,
}

const UNCONFINED: Place = Place {
    name: "unconfined",
    root: false,
    tier: None,
};
const PLACES: [Place; 3] = [
    Place {
        name: "user, T1",
        root: false,
        tier: Some("T1"),
    },
    Place {
        name: "user, T3",
        root: false,
        tier: Some("T3"),
    },
    Place {
        name: "root, T1",
        root: true,
        tier: Some("T1"),
    },
];

/// What is known to stay open, and why. Nothing else may be reached.
pub(super) const EXPOSED: &[(&str, &str, &str)] = &[
    (
        "res-memory-multi",
        "any",
        "memory is bounded for each process; all together they are looked at, and a burst between two looks passes",
    ),
    (
        "res-fork-bomb",
        "root, T1",
        "the kernel counts no processes of root; they are looked at, and a burst between two looks passes",
    ),
    (
        "res-zombies",
        "root, T1",
        "the kernel counts no processes of root; they are looked at, and a burst between two looks passes",
    ),
    (
        "res-disk-fill-many",
        "any",
        "bytes are bounded for each file; all together they are looked at, and a burst between two looks passes",
    ),
    (
        "res-inodes",
        "any",
        "files are counted while a command runs, and a burst between two looks passes",
    ),
    (
        "fs-stat-oracle",
        "user, T3",
        "without namespaces it can be learned that a path exists",
    ),
];

fn is_exposed(id: &str, place: &str) -> bool {
    EXPOSED
        .iter()
        .any(|(probe, at, _)| *probe == id && (*at == place || *at == "any"))
}

/// A folder of things to reach, their victim, a workspace and a gateway's home, for one user.
pub(super) struct House {
    pub(super) root: tempfile::TempDir,
    who: Who,
    victim: Child,
    environment: BTreeMap<String, String>,
}

impl House {
    pub(super) fn new(who: Who) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        lay_out(path, who);
        std::fs::copy(testkit::binary::clawdbot(), path.join("clawdbot")).unwrap();
        compile(path);
        if is_root() {
            let owner = format!("{}:{}", who.uid, who.gid);
            let mut chown = Command::new("chown");
            assert!(
                chown
                    .args(["-R", &owner])
                    .arg(path)
                    .status()
                    .unwrap()
                    .success()
            );
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let (victim, environment) = victim(path, who);
        Self {
            root,
            who,
            victim,
            environment,
        }
    }

    pub(super) fn workspace(&self) -> PathBuf {
        self.root.path().join("home/workspace")
    }

    /// A probe that killed it must not make the next ones fail for the wrong reason.
    pub(super) fn keep_victim(&mut self) {
        if self.victim.try_wait().unwrap().is_some() {
            (self.victim, self.environment) = victim(self.root.path(), self.who);
        }
    }

    /// The argv of a probe, with the victim's whereabouts in it: the sandbox passes no variables on.
    fn argv(&self, probe: &Probe) -> Vec<String> {
        let own = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        match probe.lang.as_str() {
            "python" => {
                let values = serde_json::to_string(&self.environment).unwrap();
                let code = format!("import os\nos.environ.update({values})\n{}", probe.code);
                own(&["/usr/bin/python3", "-c", &code])
            }
            "sh" => {
                let mut code = String::new();
                for (name, value) in &self.environment {
                    let _ = writeln!(code, "export {name}='{value}'");
                }
                own(&["sh", "-c", &(code + &probe.code)])
            }
            "c" => {
                let built = self.root.path().join(&probe.id);
                own(&[built.to_str().unwrap()])
            }
            other => panic!("no language {other}"),
        }
    }

    fn run(&self, probe: &Probe, place: Place) -> Said {
        self.run_by(probe, place.tier.is_none(), |argv| match place.tier {
            None => Command::new(&argv[0]),
            Some(tier) => {
                let mut command = self.sandboxed(ALLOWED, tier);
                if probe.lang == "c" {
                    command.args(["--allow", &argv[0]]);
                }
                command.arg("--").arg(&argv[0]);
                command
            }
        })
    }

    /// Runs a probe by a command that takes the rest of its argv.
    pub(super) fn run_by(
        &self,
        probe: &Probe,
        unconfined: bool,
        starter: impl FnOnce(&[String]) -> Command,
    ) -> Said {
        lay_out(self.root.path(), self.who);
        let argv = self.argv(probe);
        let mut command = starter(&argv);
        command
            .args(&argv[1..])
            .current_dir(self.workspace())
            .env("API_KEY", "CANARY-7f3a91");
        if unconfined {
            command.envs(&self.environment);
        }
        let output = finish(self.who.starts(&mut command));
        Said::of(&output)
    }

    fn sandboxed(&self, allowed: &[&str], tier: &str) -> Command {
        let mut command = Command::new(self.root.path().join("clawdbot"));
        command
            .arg("--home")
            .arg(self.root.path().join("home"))
            .args(["sandbox", "run", "--mode", "moderate", "--write"])
            .args(["--seconds", SECONDS, "--tier", tier]);
        for name in allowed {
            command.args(["--allow", name]);
        }
        command
    }

    /// The argv in mode strict, with everything on the list: the exit code.
    fn strict(&self, probe: &Probe) -> Option<i32> {
        let argv = self.argv(probe);
        let mut command = Command::new(self.root.path().join("clawdbot"));
        command.arg("--home").arg(self.root.path().join("home"));
        command.args(["sandbox", "run", "--mode", "strict", "--write"]);
        for name in ALLOWED.iter().copied().chain([argv[0].as_str()]) {
            command.args(["--allow", name]);
        }
        command.arg("--").args(&argv);
        let output = finish(self.who.starts(&mut command));
        assert_ne!(Said::of(&output), Said::Reached, "{} in strict", probe.id);
        output.status.code()
    }

    /// The argv as a model would propose it, where only harmless readers are allowed: the exit code.
    fn proposed(&self, probe: &Probe) -> Option<i32> {
        let mut command = self.sandboxed(&["ls", "cat", "grep"], "T1");
        command.arg("--").args(self.argv(probe));
        finish(self.who.starts(&mut command)).status.code()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.victim);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.victim.wait();
    }
}

fn own(path: &Path, who: Who) {
    if is_root() {
        std::os::unix::fs::chown(path, Some(who.uid), Some(who.gid)).unwrap();
    }
}

/// The prey and the workspace as they were: what one run did must not make the next one look good or bad.
fn lay_out(root: &Path, who: Who) {
    let _ = std::fs::remove_dir_all(root.join("home/workspace"));
    let _ = std::fs::remove_dir_all(root.join("prey/outside"));
    for folder in [
        "prey",
        "prey/home",
        "prey/home/.ssh",
        "prey/outside",
        "prey/gwcfg",
        "home",
        "home/workspace",
    ] {
        let folder = root.join(folder);
        let _ = std::fs::create_dir(&folder);
        own(&folder, who);
    }
    for (file, text) in [
        ("prey/home/.ssh/id_rsa", "CANARY-7f3a91\n"),
        ("prey/gwcfg/settings.json", "{\"sandbox\":\"on\"}\n"),
        ("prey/outside/del", "keep\n"),
        ("prey/outside/meta", "keep\n"),
        ("prey/outside/steal", "CANARY-7f3a91\n"),
        ("prey/outside/trunc", "keep\n"),
        ("home/workspace/wsfile", "workspace-data\n"),
    ] {
        let file = root.join(file);
        std::fs::write(&file, text).unwrap();
        own(&file, who);
    }
}

fn compile(folder: &Path) {
    for probe in probes().iter().filter(|probe| probe.lang == "c") {
        let source = folder.join(format!("{}.c", probe.id));
        std::fs::write(&source, &probe.code).unwrap();
        let mut cc = Command::new("cc");
        let built = cc
            .arg("-w")
            .arg("-o")
            .arg(folder.join(&probe.id))
            .arg(&source);
        assert!(built.status().unwrap().success(), "{}", probe.id);
    }
}

fn victim(root: &Path, who: Who) -> (Child, BTreeMap<String, String>) {
    let prey = root.join("prey");
    let fixture = prey.join("fixture.json");
    for stale in ["fixture.json", "svc.sock", "dg.sock"] {
        let _ = std::fs::remove_file(prey.join(stale));
    }
    let script = testkit::binary::checkout().join("tests/probes/victim.py");
    let script = std::fs::read_to_string(script).unwrap();
    let mut command = Command::new("/usr/bin/python3");
    command
        .args(["-c", &script])
        .arg(&prey)
        .env("SECRET", "CANARY-7f3a91-env");
    let child = who
        .starts(&mut command)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while !fixture.exists() {
        assert!(Instant::now() < until, "the victim did not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    let text = std::fs::read_to_string(fixture).unwrap();
    let values: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    let text = |value: serde_json::Value| {
        let own = value.as_str().map(str::to_owned);
        own.unwrap_or_else(|| value.to_string())
    };
    (
        child,
        values.into_iter().map(|(k, v)| (k, text(v))).collect(),
    )
}

/// Waits for a probe; one that hangs unconfined is ended after a while, and what it left behind with it.
fn finish(command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let group = rustix::process::Pid::from_child(&child);
    let (done, waits) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if waits.recv_timeout(Duration::from_secs(30)).is_err() {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    let _ = done.send(());
    watch.join().unwrap();
    output
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Reached,
    Allowed,
    Blocked,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        if text.contains("REACHED") || text.contains("CANARY") {
            Self::Reached
        } else if text.contains("ALLOWED-OK") {
            Self::Allowed
        } else {
            Self::Blocked
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Reached => "REACHED",
            Self::Allowed => "allowed",
            Self::Blocked => "blocked",
        }
    }
}

/// One line of the table, and what is wrong with it.
struct Row {
    line: String,
    wrong: Vec<String>,
    reached: usize,
    validated: bool,
}

fn judge(probe: &Probe, user: &mut House, mut root: Option<&mut House>) -> Row {
    let mut wrong = Vec::new();
    // In a container what uses up the machine uses up the test's own share of it.
    let tries = probe.alone == "yes" && !(in_container() && probe.group == "resource");
    let alone = if tries {
        user.keep_victim();
        Some(user.run(probe, UNCONFINED))
    } else {
        None
    };
    let first = alone.map_or("not tried", Said::word);
    let mut line = format!("{:<28} {first:<10}", probe.id);
    let mut reached = 0;
    for place in PLACES {
        let house = match (place.root, root.as_deref_mut()) {
            (false, _) => &mut *user,
            (true, Some(root)) => root,
            // Only root can try as root.
            (true, None) => continue,
        };
        house.keep_victim();
        let expected = match place.tier {
            Some("T3") => &probe.bare,
            _ => &probe.full,
        };
        let said = if expected == "refused" {
            match house.proposed(probe) {
                Some(77) => "refused".to_owned(),
                code => {
                    wrong.push(format!(
                        "{} {}: exit {code:?}, not 77",
                        probe.id, place.name
                    ));
                    "RAN".to_owned()
                }
            }
        } else {
            let said = house.run(probe, place);
            let open = is_exposed(&probe.id, place.name);
            let right = match said {
                Said::Reached => open,
                Said::Allowed => true,
                Said::Blocked => expected != "allowed",
            };
            if said == Said::Reached {
                reached += 1;
            }
            if !right {
                let said = said.word();
                wrong.push(format!(
                    "{} {}: {said}, not {expected}",
                    probe.id, place.name
                ));
            }
            let word = if open && said == Said::Reached {
                "exposed"
            } else {
                said.word()
            };
            word.to_owned()
        };
        let _ = write!(line, " {said:<10}");
    }
    // Strict starts nothing, whatever it is and whoever allowed it.
    let strict = user.strict(probe);
    if strict != Some(77) {
        wrong.push(format!("{} strict: exit {strict:?}, not 77", probe.id));
    }
    let _ = write!(
        line,
        " {:<10} {}",
        if strict == Some(77) { "refused" } else { "RAN" },
        probe.by
    );
    Row {
        line,
        wrong,
        reached,
        validated: alone == Some(Said::Reached),
    }
}

#[test]
fn no_probe_reaches_what_it_must_not_beyond_the_listed_exposures() {
    // A descriptor as a careless parent would leave it.
    let leaked = std::fs::File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let probes = probes();
    let next = AtomicUsize::new(0);
    let rows: Mutex<BTreeMap<usize, Row>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut user = House::new(Who::ordinary());
                let mut root = is_root().then(|| House::new(Who { uid: 0, gid: 0 }));
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(probe) = probes.get(at) else { break };
                    let row = judge(probe, &mut user, root.as_mut());
                    rows.lock().unwrap().insert(at, row);
                }
                for house in root.iter().chain([&user]) {
                    left_behind(house);
                }
            });
        }
    });
    let rows = rows.into_inner().unwrap();
    println!(
        "{:<28} {:<10} {:<10} {:<10} {:<10} {:<10} BY",
        "PROBE", "ALONE", PLACES[0].name, PLACES[1].name, PLACES[2].name, "strict"
    );
    for row in rows.values() {
        println!("{}", row.line);
    }
    let validated = rows.values().filter(|row| row.validated).count();
    let reached: usize = rows.values().map(|row| row.reached).sum();
    println!(
        "{} probes, {validated} validated unconfined, {reached} reached (all listed)",
        rows.len()
    );
    for (probe, place, why) in EXPOSED {
        println!("exposed: {probe} ({place}): {why}");
    }
    let wrong: Vec<_> = rows.values().flat_map(|row| &row.wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // A container's own walls stop some of them by themselves.
    let enough = if in_container() { 70 } else { 90 };
    assert!(
        validated >= enough,
        "only {validated} probes were shown to succeed unconfined"
    );
}

/// What daemons of a call would have written after it.
fn left_behind(house: &House) {
    std::thread::sleep(Duration::from_secs(4));
    for late in ["late.txt", "late2.txt"] {
        // The unconfined run leaves them on purpose; only one that grows now would be a daemon's.
        let path = house.workspace().join(late);
        let size = || std::fs::metadata(&path).map_or(0, |found| found.len());
        let before = size();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(before, size(), "{late}");
    }
}
