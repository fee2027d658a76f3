//! The gateway in a container: as hardened as it is said to be, reachable by this machine alone, and its
//! sandbox as strong inside as outside.

mod sandbox;
mod update;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use testkit::{Call, Deployment};

/// The most an image may weigh, in bytes.
const LIGHT: u64 = 25_000_000;

/// What another container on the same network hears from one of compose's services.
pub(crate) fn as_neighbour(here: &Deployment, service: &str) -> String {
    // Python of this machine, in an image that has none.
    let ask = format!(
        "import socket\ntry:\n s=socket.create_connection((\"{service}\",18789),3)\n \
         s.sendall(b\"GET /health HTTP/1.1\\r\\nhost: 127.0.0.1\\r\\nconnection: close\\r\\n\\r\\n\")\n \
         print(s.recv(4096).decode())\nexcept OSError as e: print(e)"
    );
    let ran = here.shell(&format!(
        "docker run --rm -v /usr:/usr:ro --network \"$(docker compose ps -q clawdbot-gateway | xargs \
         docker inspect -f '{{{{range $k, $v := .NetworkSettings.Networks}}}}{{{{$k}}}}{{{{end}}}}')\" \
         --entrypoint /usr/bin/python3 {} -c '{ask}'",
        here.image()
    ));
    ran.ok("a neighbour").out
}

/// The whole content of the image: mode, owner and path of each file.
fn files(here: &Deployment) -> Vec<String> {
    let listing = here.shell(&format!(
        "id=$(docker create {0}) && docker export $id | tar tv --numeric-owner; docker rm $id >/dev/null",
        here.image()
    ));
    listing
        .ok("export")
        .out
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_image_is_small_holds_no_shell_and_says_what_it_is() {
    let here = Deployment::new();
    let told = here
        .shell(&format!("docker image inspect {}", here.image()))
        .ok("inspect")
        .json();
    let image = &told[0];
    let size = image["Size"].as_u64().unwrap();
    assert!(size <= LIGHT, "{size} bytes");
    let config = &image["Config"];
    assert_eq!(config["User"], "1000:1000");
    assert_eq!(
        config["Healthcheck"]["Test"],
        json!(["CMD", "/usr/bin/clawdbot", "health"])
    );
    assert_eq!(config["Entrypoint"], json!(["/usr/bin/clawdbot"]));
    assert_eq!(config["StopSignal"], "SIGTERM");
    let version = env!("CARGO_PKG_VERSION");
    for (label, value) in [
        ("title", "Clawdbot"),
        ("version", version),
        ("licenses", "MIT OR Apache-2.0"),
        ("source", "https://github.com/clawdbot/clawdbot"),
    ] {
        assert_eq!(
            config["Labels"][format!("org.opencontainers.image.{label}")],
            value
        );
    }
    // Nothing secret is baked in, and nothing of the builder.
    let variables: Vec<_> = config["Env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap())
        .collect();
    assert_eq!(variables, ["PATH=/usr/bin", "CLAWDBOT_HOME=/data"]);
    let files = files(&here);
    let programs: BTreeSet<_> = files
        .iter()
        .filter_map(|line| line.split(" usr/bin/").nth(1))
        .filter(|n| !n.is_empty())
        .collect();
    assert_eq!(
        programs,
        BTreeSet::from(["cat", "clawdbot", "grep", "ls"]),
        "no shell, no other program"
    );
    for line in &files {
        let mode = line.split(' ').next().unwrap();
        assert!(!mode[1..].contains(['s', 'S']), "setuid or setgid: {line}");
        let is_open = mode.as_bytes()[8] == b'w' && !mode.starts_with('l');
        assert!(
            !is_open || line.ends_with(" tmp/") || line.contains(" dev/"),
            "all may write: {line}"
        );
    }
    // Scanners of images look for Debian's packages here.
    for package in ["coreutils", "grep", "libc6"] {
        assert!(
            files
                .iter()
                .any(|line| line.ends_with(&format!("status.d/{package}"))),
            "{package}"
        );
    }
    let asked = here.shell(&format!(
        "docker run --rm --entrypoint /bin/sh {} -c id",
        here.image()
    ));
    assert_ne!(asked.code, 0, "there is no shell to be asked for");
}

#[test]
fn the_container_is_held_as_tightly_as_the_benchmark_asks() {
    let here = Deployment::new();
    here.up();
    let told = here.inspect();
    let host = &told["HostConfig"];
    let id = told["Config"]["User"].as_str().unwrap();
    assert!(!id.starts_with('0'), "4.1: user {id}");
    assert_eq!(host["CapDrop"], json!(["ALL"]), "5.4");
    assert_eq!(host["CapAdd"], Value::Null, "5.4");
    assert_eq!(host["Privileged"], false, "5.5");
    for mount in told["Mounts"].as_array().unwrap() {
        let destination = mount["Destination"].as_str().unwrap();
        assert_eq!(
            destination, "/data",
            "5.6, 5.32: nothing of the machine but the home"
        );
    }
    assert_eq!(told["Mounts"].as_array().unwrap().len(), 1, "5.6");
    for namespace in ["NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode"] {
        assert_ne!(
            host[namespace], "host",
            "5.10, 5.16, 5.17, 5.21, 5.31: {namespace}"
        );
    }
    assert_ne!(
        host["NetworkMode"], "default",
        "5.30: not the engine's shared bridge"
    );
    assert_eq!(host["Memory"], 1 << 30, "5.11");
    assert!(host["NanoCpus"].as_u64().unwrap() > 0, "5.12");
    assert_eq!(host["ReadonlyRootfs"], true, "5.13");
    let ports = host["PortBindings"].as_object().unwrap();
    assert_eq!(ports.len(), 1, "5.9");
    assert_eq!(ports["18789/tcp"][0]["HostIp"], "127.0.0.1", "5.14");
    assert_eq!(host["RestartPolicy"]["Name"], "on-failure", "5.15");
    assert_eq!(host["RestartPolicy"]["MaximumRetryCount"], 5, "5.15");
    assert_eq!(host["Devices"].as_array().map_or(0, Vec::len), 0, "5.18");
    let limits = host["Ulimits"].as_array().unwrap();
    assert!(
        limits.iter().any(|l| l["Name"] == "core" && l["Hard"] == 0),
        "5.19: {limits:?}"
    );
    let options = host["SecurityOpt"].as_array().unwrap();
    let options: Vec<_> = options.iter().map(|o| o.as_str().unwrap()).collect();
    assert!(options.contains(&"no-new-privileges:true"), "5.26");
    let filter = options
        .iter()
        .find_map(|o| o.strip_prefix("seccomp:").or(o.strip_prefix("seccomp=")));
    let filter: Value = serde_json::from_str(filter.expect("5.22: a filter")).unwrap();
    assert_eq!(filter["defaultAction"], "SCMP_ACT_ERRNO", "5.22");
    assert_eq!(host["PidsLimit"], 256, "5.29");
    assert!(told["Config"]["Healthcheck"]["Test"].is_array(), "5.27");
    // What the engine was told, the kernel holds: the gateway's own process and everything it starts.
    let pid = told["State"]["Pid"].as_i64().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    // No secret where `docker inspect` shows it.
    let said = told.to_string();
    assert!(
        !said.contains(&here.token()) && !said.contains("SECRET") && !said.contains("TOKEN"),
        "4.10"
    );
    let linted = here.shell(&format!(
        "{} -m compose_lint --fail-on high compose.yaml",
        testkit::binary::checkout()
            .join(".venv/bin/python")
            .display()
    ));
    assert_eq!(linted.code, 0, "{}{}", linted.out, linted.err);
    // Whoever is killed comes back by himself, and the log is whole.
    let kill = here
        .shell("docker compose exec -T clawdbot-gateway clawdbot health")
        .ok("health");
    assert!(kill.out.contains("\"ready\":true"));
}

#[test]
fn only_this_machine_is_answered() {
    let here = Deployment::new();
    here.up();
    assert_eq!(Call::get("/health").send(here.port).status, 200);
    let told = here.inspect();
    let networks = told["NetworkSettings"]["Networks"].as_object().unwrap();
    let address = networks.values().next().unwrap()["IPAddress"]
        .as_str()
        .unwrap()
        .to_owned();
    for name in ["clawdbot-gateway", address.as_str()] {
        let heard = as_neighbour(&here, name);
        assert!(!heard.contains("HTTP/"), "{name}: {heard}");
    }
    assert!(
        here.logs()
            .contains("refused a connection from a peer that is not this machine")
    );
    // The port is published on loopback and on no other address of this machine.
    let listeners = here
        .shell(&format!("ss -Hltn sport = :{}", here.port))
        .ok("ss");
    let listeners: Vec<_> = listeners.out.lines().collect();
    assert_eq!(listeners.len(), 1, "{listeners:?}");
    assert!(
        listeners[0].contains(&format!("127.0.0.1:{}", here.port)),
        "{listeners:?}"
    );
    // Nor does the name in the request let anybody in.
    let rebound = Call::get("/health")
        .header("host", "evil.example")
        .send(here.port);
    assert_eq!(rebound.status, 421);
}

#[test]
fn the_home_is_the_users_from_the_first_start_and_nobody_elses_is_taken() {
    let here = Deployment::new();
    assert!(!here.data().exists(), "the engine makes it, as root");
    let path = here
        .cli("config set gateway.audit.logLevel info")
        .ok("the very first command");
    assert!(path.out.contains("it was so already"), "{}", path.out);
    let owner = |path: &std::path::Path| std::fs::metadata(path).unwrap();
    let me = std::fs::metadata(here.home()).unwrap().uid();
    let expected = if me == 0 { 1000 } else { me };
    let found = owner(&here.data());
    assert_eq!((found.uid(), found.mode() & 0o777), (expected, 0o700));
    here.up();
    let found = owner(&here.data().join("logs"));
    assert_eq!((found.uid(), found.mode() & 0o777), (expected, 0o700));
    let _ = here.shell("docker compose down").ok("down");
    if me != 0 {
        return;
    }
    // A home of somebody else stays his, and what to do is said.
    std::os::unix::fs::chown(here.data(), Some(1234), Some(1234)).unwrap();
    let refused = here.cli("sandbox explain");
    assert_ne!(refused.code, 0, "{}", refused.err);
    assert!(refused.err.contains("CLAWDBOT_UID=1234"), "{}", refused.err);
    assert_eq!(owner(&here.data()).uid(), 1234);
    std::os::unix::fs::chown(here.data(), Some(0), Some(0)).unwrap();
    let _ = here.cli("sandbox explain");
    assert_eq!(owner(&here.data()).uid(), 0, "root's, with things in it");
}

#[test]
fn a_killed_gateway_comes_back_with_its_log_whole() {
    let here = Deployment::new();
    here.up();
    assert_eq!(here.turn("list the files").status, 200);
    let told = here.inspect();
    let pid = i32::try_from(told["State"]["Pid"].as_i64().unwrap()).unwrap();
    // As the kernel does when memory is out: from outside, without a warning.
    let kill = here.shell(&format!("kill -9 {pid}"));
    assert_eq!(
        kill.code, 0,
        "only who runs the engine can try this: {}",
        kill.err
    );
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while here.inspect()["RestartCount"] != 1 {
        assert!(
            std::time::Instant::now() < until,
            "{}",
            here.inspect()["State"]
        );
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    here.wait_until_ready();
    let verified = here.cli("audit verify");
    assert!(
        verified.code == 0 || verified.code == 1,
        "{}{}",
        verified.out,
        verified.err
    );
    assert_eq!(here.turn("list the files").status, 200);
}

#[test]
fn the_version_stands_in_one_place_more_and_is_the_same_there() {
    let compose =
        std::fs::read_to_string(testkit::binary::checkout().join("compose.yaml")).unwrap();
    assert!(compose.contains(&format!("VERSION: {}\n", env!("CARGO_PKG_VERSION"))));
    let lines = std::fs::read_to_string(testkit::binary::checkout().join("Dockerfile")).unwrap();
    let built_in = lines
        .lines()
        .find_map(|line| line.strip_prefix("ARG RUST="));
    assert!(compose.contains(&format!(
        "RUST: ${{CLAWDBOT_RUST:-{}}}\n",
        built_in.unwrap()
    )));
    assert!(
        !lines.lines().any(|line| line.starts_with("ADD ")),
        "4.9: COPY, and never ADD"
    );
}
