//! The security guide, carried out: every command in it as it is printed, in its order, against real
//! containers, and after each block what it is for.
//!
//! What a block takes away is first there, so that the block is seen to take it away.

mod controls;
mod operations;

use controls::{
    cors_for_one, cors_off, localhost, moderate, permissive, prompt_injection, providers,
    rate_limit, restrictive, selective, strict, tool_audit,
};
use operations::{logging, monitoring, preserve, resume, retention, rotate, stop};
use serde_json::json;
use std::time::{Duration, Instant};
use testkit::{Answer, Deployment, Ran};

/// A file outside, made readable on purpose: what is hidden is hidden by the sandbox.
const SHADOW: &str = "root:CANARY-of-shadow:19000::::::\n";

/// A block of shell, and the heading it stands under.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    heading: String,
    code: String,
}

fn guide() -> String {
    let path = testkit::binary::checkout().join("docs/user/security-guide.md");
    std::fs::read_to_string(path).unwrap()
}

fn blocks(text: &str) -> Vec<Block> {
    let (mut all, mut heading, mut open) = (Vec::new(), "", None::<String>);
    for line in text.lines() {
        let trimmed = line.trim_start();
        match (&mut open, trimmed) {
            (Some(_), "```") => all.push(Block {
                heading: heading.to_owned(),
                code: open.take().unwrap(),
            }),
            (Some(code), _) => {
                code.push_str(line);
                code.push('\n');
            }
            (None, "```bash") => open = Some(String::new()),
            (None, _) if trimmed.starts_with('#') => {
                heading = trimmed.trim_start_matches(['#', ' ']);
            }
            (None, _) => {}
        }
    }
    assert_eq!(open, None, "a block of the guide has no end");
    all
}

/// What is done at one block: run it with [`run`], and look.
type Lesson = fn(&Deployment, &str);

const LESSONS: &[(&str, Lesson)] = &[
    ("Strict Mode (Recommended for Production)", strict),
    ("Moderate Mode (Development)", moderate),
    ("Permissive Mode (Not Recommended)", permissive),
    ("Localhost Binding", localhost),
    ("CORS Configuration", cors_off),
    ("CORS Configuration", cors_for_one),
    ("Rate Limiting", rate_limit),
    ("Provider Authentication", providers),
    ("Enable Comprehensive Logging", logging),
    ("Log Retention", retention),
    ("Monitoring Logs", monitoring),
    ("Restrictive Policy (Recommended)", restrictive),
    ("Selective Tool Access", selective),
    ("Tool Audit", tool_audit),
    ("Prompt Injection Protection", prompt_injection),
    ("Incident Response", stop),
    ("Incident Response", preserve),
    ("Incident Response", rotate),
    ("Incident Response", resume),
];

#[test]
fn every_command_of_the_guide_works_as_printed_and_does_what_the_guide_says() {
    let blocks = blocks(&guide());
    let headings: Vec<_> = blocks.iter().map(|b| b.heading.as_str()).collect();
    let expected: Vec<_> = LESSONS.iter().map(|(heading, _)| *heading).collect();
    assert_eq!(headings, expected, "the guide and this test have parted");
    let here = Deployment::new();
    std::fs::write(here.folder().join("shadow"), SHADOW).unwrap();
    // Compose reads this beside compose.yaml: the file that no command may show, in both services.
    let volumes = "volumes: [\"./shadow:/etc/shadow:ro\"]";
    std::fs::write(
        here.folder().join("compose.override.yaml"),
        format!(
            "services:\n  clawdbot-gateway: {{ {volumes} }}\n  clawdbot-cli: {{ {volumes} }}\n"
        ),
    )
    .unwrap();
    here.up();
    // Many requests are made before the guide comes to counting them.
    here.set("gateway.security.rateLimit.enabled", "false");
    for (block, (heading, lesson)) in blocks.iter().zip(LESSONS) {
        println!("== {heading}\n{}", block.code);
        lesson(&here, &block.code);
    }
}

/// What the guide says in prose, line by line, without the marks of lists.
fn sentences(text: &str) -> Vec<String> {
    let mut in_block = false;
    let mut all = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") {
            in_block = !in_block;
            continue;
        }
        let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let said = ["- [ ] ", "- ", ". "]
            .iter()
            .find_map(|mark| number.strip_prefix(mark))
            .unwrap_or(line);
        if !in_block && !said.is_empty() && !said.starts_with('#') && !said.contains("](#") {
            all.push(said.to_owned());
        }
    }
    all
}

#[test]
fn every_sentence_of_the_guide_stands_beside_what_shows_it() {
    let guide = guide();
    // What introduces a list or a link elsewhere says nothing that could be false.
    let (body, links) = guide.split_once("## Additional Resources").unwrap();
    let body = body.split_once("core security principles:").unwrap().1;
    assert!(!links.is_empty());
    let table = testkit::binary::checkout().join("docs/compliance/security-guide.md");
    let table = std::fs::read_to_string(table).unwrap();
    let cells: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .collect();
    let said = sentences(body);
    assert!(said.len() > 50, "{said:?}");
    for sentence in said {
        assert!(
            cells.iter().any(|cell| cell.contains(&sentence)),
            "docs/compliance/security-guide.md has no row for: {sentence}"
        );
    }
}

#[test]
fn what_must_not_be_committed_is_ignored_by_git_and_kept_out_of_the_image() {
    let root = testkit::binary::checkout();
    let kept_out = std::fs::read_to_string(root.join(".dockerignore")).unwrap();
    // Nothing of the checkout goes into the image's context but what is named.
    let rules: Vec<_> = kept_out.lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(rules.first(), Some(&"*"), "{kept_out}");
    for path in [
        "data/secrets/operator.token",
        "data/config/gateway.json",
        ".env",
    ] {
        // Whether it would be, for a file that need not be there; 0: ignored.
        let mut git = std::process::Command::new("git");
        let git = git.arg("-C").arg(&root).args(["check-ignore", "-q", path]);
        assert_eq!(git.status().unwrap().code(), Some(0), "{path}");
        let named = format!("!{}", path.split('/').next().unwrap());
        assert!(!rules.contains(&named.as_str()), "{named}: {kept_out}");
    }
}

/// The block as it is printed, each command of it having to work.
fn run(here: &Deployment, code: &str) -> Ran {
    let ran = here.shell(&format!("set -e\n{code}"));
    println!("{}{}", ran.out, ran.err);
    ran.ok(code)
}

/// A running gateway takes a change within two seconds; a busy machine is given some more.
#[track_caller]
fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(15);
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within 15 s");
        std::thread::sleep(Duration::from_millis(250));
    }
}

fn command(here: &Deployment, argv: &[&str]) -> Answer {
    here.invoke("run_command", &json!({"command": argv}))
}

fn shows(answer: &Answer, text: &str) -> bool {
    answer.status == 200 && answer.text().contains(text)
}

#[test]
fn the_reader_of_the_guide_sees_every_block() {
    let all = blocks(
        "# A\n```bash\none\n# no heading\n```\n## B\n1. x\n\n   ```bash\n   two\n   ```\n```json\n{}\n```\n",
    );
    let block = |heading: &str, code: &str| Block {
        heading: heading.into(),
        code: code.into(),
    };
    assert_eq!(
        all,
        [block("A", "one\n# no heading\n"), block("B", "   two\n")]
    );
    let commands = guide().matches("docker compose").count();
    let in_blocks: usize = blocks(&guide())
        .iter()
        .map(|b| b.code.matches("docker compose").count())
        .sum();
    // Said in a sentence, and tried by a test of its own: `docker compose pull`.
    assert_eq!(commands, in_blocks + 1);
}
