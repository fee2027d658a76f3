//! Other machines, made of network namespaces: a neighbour container, and a network that is routed.
//!
//! The gateway runs in a namespace of its own, as in a container: `gw` is its default gateway, from
//! where a published port arrives; `next` is a neighbour on the same bridge; `far` is behind a router.

use std::process::{Child, Command, Stdio};
use std::time::Duration;
use testkit::Home;

/// Namespaces of one test, gone with it.
struct Lab {
    tag: String,
}

impl Lab {
    fn new() -> Self {
        let lab = Self {
            tag: format!("cb{}", std::process::id() % 100_000),
        };
        // The gateway 10.77.0.2; its default gateway 10.77.0.1 in `gw`, which also routes for the
        // network 10.78.0.0/24 of `far`; the neighbour 10.77.0.3. All meet on a bridge in `gw`.
        lab.sh(
            "for n in g gw next far; do ip netns add $T-$n; ip -n $T-$n link set lo up; done
             ip -n $T-gw link add name sw type bridge; ip -n $T-gw link set sw up; ip -n $T-gw addr add 10.77.0.1/24 dev sw
             i=2; for n in g next; do
               ip link add $T$i type veth peer name eth0 netns $T-$n; ip link set $T$i netns $T-gw
               ip -n $T-gw link set $T$i master sw up; ip -n $T-$n link set eth0 up
               ip -n $T-$n addr add 10.77.0.$i/24 dev eth0; ip -n $T-$n route add default via 10.77.0.1; i=$((i+1))
             done
             ip link add $T'f' type veth peer name eth0 netns $T-far; ip link set $T'f' netns $T-gw
             ip -n $T-gw link set $T'f' up; ip -n $T-gw addr add 10.78.0.1/24 dev $T'f'
             ip -n $T-far link set eth0 up; ip -n $T-far addr add 10.78.0.2/24 dev eth0
             ip -n $T-far route add default via 10.78.0.1
             ip netns exec $T-gw sysctl -qw net.ipv4.ip_forward=1",
        );
        lab
    }

    fn sh(&self, script: &str) {
        let mut shell = Command::new("sh");
        let ran = shell
            .args(["-ec", script])
            .env("T", &self.tag)
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "this test makes network namespaces, as root, with iproute2: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    /// What a client in a namespace gets: the first line of the answer, or nothing.
    fn ask(&self, from: &str, address: &str, port: u16) -> String {
        let script = "import socket,sys\ns=socket.socket(); s.settimeout(3)\ntry:\n s.connect((sys.argv[1],int(sys.argv[2])))\n s.sendall(b'GET /health HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\n\\r\\n')\n print(s.recv(4096).decode().split('\\r\\n')[0])\nexcept OSError as e: print('refused', e)";
        let ran = Command::new("ip")
            .args([
                "netns",
                "exec",
                &format!("{}-{from}", self.tag),
                "python3",
                "-c",
                script,
                address,
            ])
            .arg(port.to_string())
            .output()
            .unwrap();
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    /// A gateway in the namespace `g`, with a marker file as container engines leave it.
    fn gateway(&self, home: &Home) -> Running {
        let plain = home.command();
        let args = plain
            .get_args()
            .map(|a| a.to_string_lossy().into_owned())
            .collect::<Vec<_>>();
        let script = "mount -t tmpfs none /run && touch /run/.containerenv && exec \"$@\"";
        let child = Command::new("ip")
            .args([
                "netns",
                "exec",
                &format!("{}-g", self.tag),
                "unshare",
                "--mount",
                "sh",
                "-ec",
                script,
                "sh",
            ])
            .arg(plain.get_program())
            .args(args)
            .args(["gateway", "--port", "18789"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Running(child)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let script = "for n in g gw next far; do ip netns del $T-$n || true; done";
        let _ = Command::new("sh")
            .args(["-c", script])
            .env("T", &self.tag)
            .output();
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CON-02, CON-03. `localhost` in a container means this machine, also when the port is published.
#[test]
fn a_neighbour_and_a_routed_network_are_refused_at_accept_and_the_published_port_is_not() {
    let lab = Lab::new();
    let home = Home::new();
    let gateway = lab.gateway(&home);
    let mut own = String::new();
    for _ in 0..200 {
        own = lab.ask("g", "127.0.0.1", 18789);
        if own.starts_with("HTTP/1.1 200") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(own.starts_with("HTTP/1.1 200"), "from inside: {own}");
    let published = lab.ask("gw", "10.77.0.2", 18789);
    assert!(
        published.starts_with("HTTP/1.1 200"),
        "from the default gateway: {published}"
    );
    for (who, why) in [("next", "a neighbour"), ("far", "a routed network")] {
        let said = lab.ask(who, "10.77.0.2", 18789);
        assert!(!said.contains("HTTP/"), "{why} got in: {said}");
    }
    // The control: with a wide bind, and a token made for it, the same neighbours do reach it.
    drop(gateway);
    home.set_accepting_the_risk("gateway.bind", "lan");
    home.set("gateway.allowedHosts", r#"["localhost"]"#);
    let _ = home.token("read");
    let _wide = lab.gateway(&home);
    let mut said = String::new();
    for _ in 0..200 {
        said = lab.ask("next", "10.77.0.2", 18789);
        if said.starts_with("HTTP/1.1 200") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(said.starts_with("HTTP/1.1 200"), "the lab works: {said}");
    let said = lab.ask("far", "10.77.0.2", 18789);
    assert!(said.starts_with("HTTP/1.1 200"), "the lab routes: {said}");
}
