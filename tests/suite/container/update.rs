//! `docker compose pull`, against a registry that has something newer.

use testkit::Deployment;

/// A registry with one image in it; ended when dropped.
struct Registry {
    process: std::process::Child,
    port: u16,
}

impl Registry {
    fn of(saved: &std::path::Path) -> Self {
        use std::io::BufRead as _;
        let script = testkit::binary::checkout().join("tests/container/registry.py");
        let mut process = std::process::Command::new("python3")
            .arg(script)
            .arg(saved)
            .args(["clawdbot", "stable"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line.trim().parse().unwrap();
        Self { process, port }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn docker_compose_pull_fetches_the_newer_image_and_up_changes_over_to_it() {
    let here = Deployment::new();
    // The newer one: all that differs is what it says of itself.
    let saved = here.home().join("newer.tar");
    let _ = here
        .shell(&format!(
            "export CLAWDBOT_IMAGE={0}-newer CLAWDBOT_REVISION=newer; docker compose build && \
             docker save {0}-newer -o {1} && docker image rm {0}-newer",
            here.image(),
            saved.display()
        ))
        .ok("a newer image");
    let registry = Registry::of(&saved);
    let published = format!("127.0.0.1:{}/clawdbot:stable", registry.port);
    let typed = |words: &str| {
        let typed = format!("export CLAWDBOT_IMAGE={published}; {words}");
        here.shell(&typed).ok(words)
    };
    let _ = typed(&format!(
        "docker tag {} {published} && docker compose up -d",
        here.image()
    ));
    here.wait_until_ready();
    let _ = here
        .cli("models set-default demo/demo")
        .ok("something that is kept");
    assert_eq!(here.turn("list the files").status, 200);
    let revision = || {
        let label = "org.opencontainers.image.revision";
        here.inspect()["Config"]["Labels"][label].clone()
    };
    assert_eq!(revision(), "");
    let before = here.audit().records().len();

    // As the guide has it, once a month.
    let _ = typed("docker compose pull");
    let _ = typed("docker compose up -d");
    here.wait_until_ready();
    assert_eq!(revision(), "newer");
    assert!(
        here.audit().records().len() > before,
        "the same log goes on"
    );
    assert_eq!(
        here.turn("list the files").status,
        200,
        "with the same token"
    );
    let _ = typed("docker compose down");
    let _ = here.shell(&format!("docker image rm {published}"));
}
