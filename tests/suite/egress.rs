//! The way from a tool to the internet, in a world of its own: a name server that lies, web servers at every
//! address there is, and a gateway whose only cable leads there.
//!
//! What was reached is read from the servers' own logs, not from what the gateway says.

use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testkit::Home;

const PORT: &str = "18789";
/// How often a name that changes its mind is asked for.
const TRIES: usize = 1_000;
const CANARY: &str = "INSIDE-CANARY";

/// Two namespaces and a cable; gone when dropped.
struct World {
    tag: String,
    folder: tempfile::TempDir,
    servers: Vec<Child>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            tag: format!("cbe{}", std::process::id() % 100_000),
            folder: tempfile::tempdir().unwrap(),
            servers: Vec::new(),
        };
        // `w` takes connections for whatever address they are meant: an attempt to reach anything at all is
        // seen there, and would succeed.
        world.sh("for n in g w; do ip netns add $T-$n; ip -n $T-$n link set lo up; done
             ip link add $T'a' type veth peer name eth0 netns $T-w; ip link set $T'a' netns $T-g name eth0
             for n in g w; do ip -n $T-$n link set eth0 up; done
             ip -n $T-g addr add 93.184.215.2/24 dev eth0
             ip -n $T-g -6 addr add 2606:2800:21f:cb07::2/64 dev eth0 nodad
             ip -n $T-w addr add 93.184.215.14/24 dev eth0; ip -n $T-w addr add 93.184.215.53/24 dev eth0
             ip -n $T-w -6 addr add 2606:2800:21f:cb07::9/64 dev eth0 nodad
             ip -n $T-g route add default via 93.184.215.14
             ip -n $T-g -6 route add default via 2606:2800:21f:cb07::9
             ip -n $T-w route add local default dev lo table main
             ip -n $T-w -6 route add local default dev lo table main
             mkdir -p /etc/netns/$T-g
             echo 'nameserver 93.184.215.53
options timeout:3 attempts:2' > /etc/netns/$T-g/resolv.conf");
        for (namespace, side) in [("w", "outside"), ("g", "inside")] {
            let log = world.log_file(side);
            let script = testkit::binary::checkout().join("tests/egress/world.py");
            let mut server = world.in_namespace(namespace);
            server.arg("python3").arg(script).arg(side).arg(&log);
            world.servers.push(server.spawn().unwrap());
            let until = Instant::now() + Duration::from_secs(30);
            while world.log(side).is_empty() {
                assert!(
                    Instant::now() < until,
                    "the {side} of the world did not start"
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        world
    }

    fn sh(&self, script: &str) {
        let mut shell = Command::new("sh");
        let ran = shell.args(["-ec", script]).env("T", &self.tag).output();
        let ran = ran.unwrap();
        assert!(
            ran.status.success(),
            "this test makes network namespaces, as root, with iproute2: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    fn in_namespace(&self, name: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-{name}", self.tag)]);
        command
    }

    fn log_file(&self, side: &str) -> PathBuf {
        self.folder.path().join(side)
    }

    /// Who was connected to there so far.
    fn log(&self, side: &str) -> String {
        std::fs::read_to_string(self.log_file(side)).unwrap_or_default()
    }

    /// The addresses that were connected to, outside.
    fn reached(&self) -> Vec<String> {
        let log = self.log("outside");
        let lines = log.lines().filter(|line| *line != "ready");
        lines
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect()
    }

    fn gateway(&self, home: &Home) -> Gateway {
        let plain = home.command();
        let mut command = self.in_namespace("g");
        command
            .arg(plain.get_program())
            .args(plain.get_args())
            .args(["gateway", "--port", PORT])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Gateway(command.spawn().unwrap())
    }

    /// Fetches all of these through a gateway in this world.
    fn fetch(&self, token: &str, urls: &[String]) -> Vec<Value> {
        let script = testkit::binary::checkout().join("tests/egress/ask.py");
        let mut ask = self.in_namespace("g");
        ask.arg("python3").arg(script).args([PORT, token]);
        let mut asking = ask
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let urls = serde_json::to_vec(urls).unwrap();
        asking.stdin.take().unwrap().write_all(&urls).unwrap();
        let said = asking.wait_with_output().unwrap();
        assert!(said.status.success());
        let said = String::from_utf8(said.stdout).unwrap();
        said.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Nothing but public addresses was connected to, and the inside by nobody.
    fn is_clean(&self, what: &str) {
        assert_eq!(
            self.log("inside"),
            "ready\n",
            "{what}: loopback was reached"
        );
        let public = ["93.184.215.14", "2606:2800:21f:cb07::9"];
        for address in self.reached() {
            assert!(
                public.contains(&address.as_str()),
                "{what}: {address} was reached"
            );
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        let script = "for n in g w; do ip netns del $T-$n || true; done; rm -rf /etc/netns/$T-g";
        let mut shell = Command::new("sh");
        let _ = shell.args(["-c", script]).env("T", &self.tag).output();
    }
}

struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn home() -> Home {
    let home = Home::new();
    home.set_accepting_the_risk("gateway.security.rateLimit.enabled", "false");
    home.set("gateway.tools.policy", "whitelist");
    home.set("gateway.tools.allowList", r#"["fetch_url"]"#);
    home
}

fn operator(home: &Path) -> String {
    let file = home.join("secrets/operator.token");
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok(token) = std::fs::read_to_string(&file) {
            return token.trim().to_owned();
        }
        assert!(Instant::now() < until, "the gateway did not start");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the gateway fetches this with this in the answer.
fn until(world: &World, token: &str, url: &str, wanted: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let mut ask = world.in_namespace("g");
        let script = testkit::binary::checkout().join("tests/egress/ask.py");
        ask.arg("python3").arg(script).args([PORT, token]);
        ask.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut asking = ask.spawn().unwrap();
        let _ = write!(asking.stdin.take().unwrap(), "[{url:?}]");
        let said = asking.wait_with_output().unwrap();
        if String::from_utf8_lossy(&said.stdout).contains(wanted) {
            return;
        }
        assert!(Instant::now() < until, "{url} never answered {wanted}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Spellings of the inside, as hosts of a URL.
const INSIDE: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.127.127.127",
    "0.0.0.0",
    "0",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "0x7f.1",
    "0x7f000001",
    "0x7f.0x0.0x0.0x1",
    "127.0.0.1.",
    "127.0.0.01",
    "１２７.0.0.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "localhost.localdomain",
    "ip6-localhost",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::1]",
    "[2002:a4d:9::1]",
    "[2001:0:7f00:1::1]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[fd00::9]",
    "[fc00::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[fd00:ec2::254]",
    "[2606:2800:21f:cb07:0:5efe:a4d:9]",
    "[5f00::1]",
    "[100::1]",
    "[2001:db8::1]",
    "10.77.0.9",
    "10.0.0.1",
    "172.17.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "100.64.0.1",
    "100.100.100.200",
    "198.18.0.1",
    "192.0.0.192",
    "192.88.99.1",
    "168.63.129.16",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "0251.0376.0251.0376",
    "2852039166",
    "0xa9fea9fe",
    "user@127.0.0.1",
    "public.test@127.0.0.1",
    "127.0.0.1:80@public.test",
    "public.test:80:127.0.0.1",
    "inside.test",
    "inside.test.",
    "INSIDE.test",
    "cname.test",
    "loop.test",
    "zero.test",
    "meta.test",
    "metadata.google.internal",
    "metadata.google.internal.",
    "mapped.test",
    "nat64.test",
    "sixtofour.test",
    "ula.test",
    "loop6.test",
    "linklocal.test",
    "cgnat.test",
    "bench.test",
    "mixed.test",
    "mixed6.test",
];

/// NET-01 and NET-02.
#[test]
fn no_spelling_redirect_or_lying_name_server_leads_a_tool_inside() {
    let world = World::new();
    let home = home();
    let _gateway = world.gateway(&home);
    let token = operator(home.path());
    // The lab works: names are resolved by its server and pages come over its cable, in both families.
    until(&world, &token, "http://public.test/", "PUBLIC-PAGE");
    until(&world, &token, "http://public6.test/", "PUBLIC-PAGE");

    let direct: Vec<String> = INSIDE
        .iter()
        .map(|host| format!("http://{host}/"))
        .collect();
    let mut redirected: Vec<String> = Vec::new();
    for url in direct.iter().chain(&[
        "//inside.test/".to_owned(),
        "///127.0.0.1/".to_owned(),
        "\\\\127.0.0.1\\".to_owned(),
        "file:///etc/passwd".to_owned(),
        "gopher://127.0.0.1:80/_x".to_owned(),
        "ftp://127.0.0.1/".to_owned(),
        "http:/127.0.0.1/".to_owned(),
        "http:127.0.0.1/".to_owned(),
        "http://public.test/to/http%3A%2F%2F127.0.0.1%2F".to_owned(),
    ]) {
        let mut path = String::new();
        for byte in url.bytes() {
            let _ = write!(path, "%{byte:02X}");
        }
        redirected.push(format!("http://public.test/to/{path}"));
    }
    let hops: Vec<String> = (0..8)
        .map(|left| format!("http://public.test/hops/{left}"))
        .collect();
    let before = world.reached().len();
    for urls in [&direct, &redirected, &hops] {
        let answers = world.fetch(&token, urls);
        assert_eq!(answers.len(), urls.len());
        for said in &answers {
            assert_eq!(said["status"], 200, "{said}");
            assert_eq!(said["failed"], true, "{said}");
            assert!(!said["said"].as_str().unwrap().contains(CANARY), "{said}");
        }
        world.is_clean("a URL");
    }
    let hops_seen = world.reached().len() - before;
    assert!(
        hops_seen > redirected.len(),
        "the redirects were really followed: {hops_seen}"
    );

    // A name that is public when it is looked at and inside when it is dialled, a thousand times.
    let lying = ["rebind.test", "rebind-lan.test", "rebind-meta.test"];
    let urls: Vec<String> = (0..TRIES)
        .map(|at| format!("http://{}/{at}", lying[at % 3]))
        .collect();
    let before = world.reached().len();
    let answers = world.fetch(&token, &urls);
    let public = answers
        .iter()
        .filter(|a| a["said"].as_str().unwrap().contains("PUBLIC-PAGE"));
    let public = public.count();
    let refused = answers.iter().filter(|a| {
        a["said"]
            .as_str()
            .unwrap()
            .contains("not on the public internet")
    });
    let refused = refused.count();
    assert_eq!(public + refused, TRIES, "each try is one or the other");
    assert!(
        public >= TRIES / 3 && refused >= TRIES / 3,
        "{public} public, {refused} refused"
    );
    assert_eq!(
        world.reached().len() - before,
        public,
        "each page is one connection"
    );
    world.is_clean("a name that lies");
    println!(
        "{} hosts, {} redirects, {} chains, {TRIES} tries at names that lie: {public} to the public address, {refused} refused, 0 inside",
        direct.len(),
        redirected.len(),
        hops.len()
    );

    // Every try to get inside that was well-formed is on record. A flood of them is a few whole records and
    // one with a number, which is written when ten seconds are over.
    let on_record = || {
        let of_egress = home.audit().of("tool.egress");
        let refusals = of_egress.iter().filter(|r| !r.get("refused").is_null());
        let counts = refusals.map(|r| r.get("repeats").as_u64().unwrap_or(1));
        counts.sum::<u64>()
    };
    let give_up = Instant::now() + Duration::from_secs(60);
    while on_record() <= refused as u64 + 100 {
        assert!(Instant::now() < give_up, "{} on record", on_record());
        std::thread::sleep(Duration::from_millis(200));
    }

    // The control: what stands there would have been reached. In mode permissive, by name, it is.
    home.set("gateway.sandbox.mode", "permissive");
    home.set("gateway.sandbox.allowedHosts", r#"["10.77.0.9"]"#);
    until(&world, &token, "http://10.77.0.9/", CANARY);
    assert!(world.reached().contains(&"10.77.0.9".to_owned()));
}
