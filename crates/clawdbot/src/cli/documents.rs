//! The documents, held to the program: whatever they tell a person to type, set, ask or open exists.

use super::Cli;
use clap::{CommandFactory as _, error::ErrorKind};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every page of ours, by its path from the root, but what the program writes itself.
fn pages() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    let folders = ["", "docs", "docs/user", "docs/design", "docs/compliance"];
    for folder in folders {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = Path::new(folder).join(entry.unwrap().file_name());
            if path.extension().is_some_and(|end| end == "md") {
                let text = std::fs::read_to_string(root().join(&path)).unwrap();
                pages.push((path.display().to_string(), text));
            }
        }
    }
    assert!(pages.len() > 25, "{}", pages.len());
    pages
}

/// What stands in blocks (line by line), and what stands between backticks in the prose.
fn code(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut blocks, mut prose) = (Vec::<String>::new(), String::new());
    let mut inside = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if inside && blocks.last().is_some_and(|last| last.ends_with('\\')) {
            let last = blocks.last_mut().unwrap();
            last.pop();
            last.push_str(line);
        } else if inside {
            blocks.push(line.trim_start().trim_start_matches("$ ").to_owned());
        } else {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    let spans = prose.split('`').skip(1).step_by(2);
    (blocks, spans.map(|s| s.replace('\n', " ")).collect())
}

/// The simple commands of a line of shell, in words: quotes are taken off, comments and redirections
/// left out.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut all, mut words) = (Vec::new(), Vec::new());
    let (mut word, mut quote) = (None::<String>, None);
    let mut letters = line.chars().peekable();
    while let Some(c) = letters.next() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '$') if letters.peek() == Some(&'(') => {}
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '|' | '&' | ';' | '(' | ')') => {
                words.extend(word.take());
                all.push(std::mem::take(&mut words));
            }
            (Some(_) | None, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    all.push(words);
    for words in &mut all {
        // `<name>` stands for a value.
        words.retain(|word| word.ends_with('>') || !word.starts_with(['<', '>']));
    }
    all
}

/// The arguments of the program, where a command starts it in one of the ways the documents do.
fn arguments(words: &[String]) -> Option<Vec<String>> {
    let all: Vec<_> = words.iter().map(String::as_str).collect();
    let given = match all.as_slice() {
        ["clawdbot", given @ ..]
        | ["sudo", "clawdbot", given @ ..]
        | ["cargo", "run", "--release", "--", given @ ..]
        | ["docker", "compose", "exec", _, "clawdbot", given @ ..] => given,
        ["docker", "compose", ..] => {
            let at = all.iter().position(|word| *word == "clawdbot-cli")?;
            all.get(at + 1..)?
        }
        _ => return None,
    };
    // The crate's name before that of a test; the tool's own child; any command.
    let other = |word: &&str| word.contains('_') || *word == "COMMAND";
    if given.first().is_some_and(other) {
        return None;
    }
    Some(given.iter().map(|word| (*word).to_owned()).collect())
}

fn parse(given: &[String]) -> Result<(), clap::Error> {
    let argv = std::iter::once("clawdbot".to_owned()).chain(given.iter().cloned());
    Cli::command().try_get_matches_from(argv).map(drop)
}

#[test]
fn every_command_line_printed_is_one_the_program_takes() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (page, text) in pages() {
        let (blocks, spans) = code(&text);
        for (line, whole) in blocks
            .iter()
            .map(|line| (line, true))
            .chain(spans.iter().map(|span| (span, false)))
        {
            for given in commands(line).iter().filter_map(|words| arguments(words)) {
                seen += 1;
                let Err(error) = parse(&given) else { continue };
                let kind = error.kind();
                let helps = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion];
                // Prose may name a command without all it takes.
                let lacks = [
                    ErrorKind::MissingRequiredArgument,
                    ErrorKind::MissingSubcommand,
                    ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                ];
                // `<provider-name>` says that a name goes there.
                let named = kind == ErrorKind::ValueValidation && line.contains("-name>");
                if !(helps.contains(&kind) || named || !whole && lacks.contains(&kind)) {
                    wrong.push(format!("{page}: {line}\n{error}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 150, "only {seen} command lines were found");
}

/// What the sources tell people to type, up to the first word that is filled in later. A message
/// that names a command which does not exist is worse than one that names none.
#[test]
fn every_command_a_message_names_exists() {
    let mut seen = 0;
    for file in sources(&root().join("crates")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        for after in code.split("clawdbot ").skip(1) {
            let words = after.split([' ', '`', '"', '\n', ',', ';', ')', '(', ':', '\'']);
            let words: Vec<_> = words.take_while(|word| !word.is_empty()).collect();
            let command = Cli::command();
            let mut at = &command;
            let mut depth = 0;
            for word in &words {
                match at.find_subcommand(word) {
                    Some(sub) => (at, depth) = (sub, depth + 1),
                    None => break,
                }
            }
            if depth == 0 {
                // A word of the prose, or a name: "clawdbot token 1" begins a derivation.
                continue;
            }
            seen += 1;
            let next = words.get(depth).copied().unwrap_or_default();
            assert!(
                !at.has_subcommands()
                    || next.is_empty()
                    || !next.chars().all(|c| c.is_ascii_lowercase()),
                "{}: clawdbot {} has no {next}",
                file.display(),
                words[..depth].join(" ")
            );
            for flag in words.iter().filter_map(|word| word.strip_prefix("--")) {
                let known = |command: &clap::Command| {
                    command
                        .get_arguments()
                        .any(|arg| arg.get_long() == Some(flag))
                };
                assert!(
                    flag.is_empty() || known(at) || known(&command),
                    "{}: clawdbot {} has no --{flag}",
                    file.display(),
                    words[..depth].join(" ")
                );
            }
        }
    }
    assert!(seen > 100, "only {seen} were found");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path());
    entries
        .flat_map(|path| match path.extension() {
            _ if path.is_dir() => sources(&path),
            Some(end) if end == "rs" => vec![path],
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn every_setting_event_and_route_named_exists() {
    let read =
        |name: &str| std::fs::read_to_string(root().join("docs/reference").join(name)).unwrap();
    let (events, routes) = (read("events.md"), read("openapi.json"));
    let routes: serde_json::Value = serde_json::from_str(&routes).unwrap();
    let (mut settings, mut asked, mut wrong) = (0, 0, Vec::new());
    for (page, text) in pages() {
        let (blocks, spans) = code(&text);
        for text in blocks.iter().chain(&spans) {
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || ".{}_".contains(c)));
            for word in words.map(|word| word.trim_end_matches('.')) {
                if word.starts_with("gateway.") || word.starts_with("agents.main.") {
                    let known = clawdbot_config::Key::under(word).is_ok()
                        || events.contains(&format!("`{word}`"))
                        // Files of the home, and a slip that is refused.
                        || ["gateway.log", "gateway.lock", "gateway.sandbox.mod"].contains(&word);
                    if !known {
                        wrong.push(format!("{page}: there is no setting {word}"));
                    }
                    settings += 1;
                } else if word.starts_with("security.")
                    && word != "security.md"
                    && !events.contains(word)
                {
                    wrong.push(format!("{page}: there is no event {word}"));
                }
            }
        }
        for span in spans {
            let Some((method, path)) = span.split_once(' ') else {
                continue;
            };
            if matches!(method, "GET" | "POST") && path.starts_with('/') {
                let known = routes["paths"][path].get(method.to_lowercase()).is_some();
                if !known {
                    wrong.push(format!("{page}: there is no route {span}"));
                }
                asked += 1;
            }
        }
    }
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for path in routes["paths"].as_object().unwrap().keys() {
        if !readme.contains(&format!("{path}`")) {
            wrong.push(format!("README.md does not name {path}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(settings > 60 && asked > 20, "{settings} {asked}");
}

#[test]
fn every_file_and_heading_linked_to_exists() {
    let ours = [
        "crates/",
        "docs/",
        "tests/",
        "training/",
        "packaging/",
        "container/",
        "bench/",
    ];
    let mut seen = 0;
    for (page, text) in pages() {
        let folder = root().join(&page).parent().unwrap().to_owned();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.starts_with("http") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let file = if path.is_empty() {
                root().join(&page)
            } else {
                folder.join(path)
            };
            assert!(file.exists(), "{page}: there is no {link}");
            if !heading.is_empty() {
                let there = std::fs::read_to_string(&file).unwrap();
                let known = there
                    .lines()
                    .any(|line| line.starts_with('#') && anchor(line) == heading);
                assert!(known, "{page}: {path} has no heading #{heading}");
            }
            seen += 1;
        }
        for span in code(&text).1 {
            let first = span.split([' ', ':']).next().unwrap_or_default();
            if ours.iter().any(|folder| first.starts_with(folder))
                && !first.contains(['*', '{', '…', '<'])
            {
                assert!(root().join(first).exists(), "{page}: there is no {first}");
                seen += 1;
            }
        }
    }
    assert!(seen > 80, "{seen}");
}

/// A heading's name in links, as forges make it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
