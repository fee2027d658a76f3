//! Rows of our own: templates expanded with a fixed seed, languages combined, attacks put into
//! harmless documents, and some of everything in disguise.

use crate::random::Random;
use crate::rows::Row;
use std::collections::HashMap;
use std::fmt::Write as _;

const ENGLISH: &str = include_str!("../own/english.txt");
const TASKS: &str = include_str!("../own/tasks.txt");
const LANGUAGES: &str = include_str!("../own/languages.txt");

/// How many times the number at a section's head.
const TIMES: usize = 3;

/// How deep slots may stand in slots.
const DEEP: usize = 4;

/// How many rows of each kind are made for one language.
const PER_LANGUAGE: usize = 36;

/// How many times as many of them are harmless shapes: fewer shapes, and a language by itself must
/// not look like an attack.
const HARMLESS_MORE: usize = 3;

/// Lists of words by the name of their slot.
type Slots<'t> = HashMap<&'t str, Vec<&'t str>>;

/// All generated rows. The same every time.
pub(crate) fn rows(seed: u64) -> Vec<Row> {
    let mut random = Random(seed);
    let slots = slots();
    let mut rows = english(&slots, &mut random);
    rows.extend(languages(&slots, &mut random));
    let disguised = disguised(&rows, &mut random);
    rows.extend(disguised);
    rows
}

fn slots() -> Slots<'static> {
    let mut slots = Slots::new();
    let mut name = "";
    let mut in_templates = false;
    for line in ENGLISH.lines().chain(TASKS.lines()).map(str::trim_end) {
        if let Some(next) = line.strip_prefix('@') {
            in_templates = false;
            name = next;
        } else if is_head(line) {
            in_templates = true;
        } else if !in_templates && !line.is_empty() && !line.starts_with('#') {
            slots.entry(name).or_default().push(line);
        }
    }
    slots
}

fn is_head(line: &str) -> bool {
    line.starts_with("[0 ") || line.starts_with("[1 ")
}

fn english(slots: &Slots<'_>, random: &mut Random) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut head: Option<(u8, &str, &str, usize)> = None;
    for line in ENGLISH.lines().chain(TASKS.lines()) {
        // The second file begins with lists of words again.
        if line.starts_with("# More templates") {
            head = None;
        }
        if is_head(line) {
            let parts: Vec<&str> = line.trim_matches(['[', ']']).split(' ').collect();
            if let [label, kind, source, _, times] = parts.as_slice() {
                head = Some((
                    u8::from(*label == "1"),
                    kind,
                    source,
                    times.parse().unwrap_or(1),
                ));
            }
            continue;
        }
        let Some((label, kind, source, times)) = head else {
            continue;
        };
        if line.is_empty() {
            continue;
        }
        let varied = if line.contains('{') { times * TIMES } else { 1 };
        for _ in 0..varied {
            rows.push(row(
                &expand(line, slots, random, DEEP),
                label,
                kind,
                source,
                "en",
            ));
        }
    }
    rows
}

fn row(text: &str, label: u8, kind: &str, source: &str, lang: &str) -> Row {
    Row {
        text: text.replace("\\n", "\n"),
        label,
        kind: kind.to_owned(),
        source: source.to_owned(),
        lang: lang.to_owned(),
        licence: "MIT OR Apache-2.0".to_owned(),
    }
}

fn expand(template: &str, slots: &Slots<'_>, random: &mut Random, deep: usize) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let slot = after
            .split_once('}')
            .and_then(|(name, tail)| Some((slots.get(name)?, tail)));
        match slot {
            Some((choices, tail)) if deep > 0 => {
                let choice = random.choose(choices).copied().unwrap_or_default();
                out.push_str(&expand(choice, slots, random, deep - 1));
                rest = tail;
            }
            _ => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    lower_now_and_then(out, random)
}

/// People do not always begin with a capital, or shout.
fn lower_now_and_then(text: String, random: &mut Random) -> String {
    match random.below(24) {
        0 | 1 => text.to_lowercase(),
        2 => text.to_uppercase(),
        _ => text,
    }
}

/// Which parts make an attack or a harmless text, by channel.
const SHAPES: &[(u8, &str, &[&str])] = &[
    (1, "direct", &["ign", "rev"]),
    (1, "direct", &["ign", "say"]),
    (1, "direct", &["ign"]),
    (1, "direct", &["rev"]),
    (1, "direct", &["say", "ign"]),
    (1, "direct", &["ask", "ign", "say"]),
    (1, "jailbreak", &["role"]),
    (1, "jailbreak", &["ign", "role"]),
    (1, "jailbreak", &["role", "rev"]),
    (1, "indirect", &["ai", "act"]),
    (1, "indirect", &["ai", "act", "sec"]),
    (1, "indirect", &["ask", "ai", "ign", "act"]),
    (1, "indirect", &["act", "sec"]),
    (1, "indirect", &["ign", "act", "sec"]),
    (0, "benign", &["ben"]),
    (0, "benign", &["ask"]),
    (0, "benign", &["ask", "ask"]),
    (0, "benign", &["ben", "ask"]),
    (0, "benign", &["ask", "ben", "ask"]),
    (0, "benign", &["ask", "ask", "ask", "ask"]),
];

fn languages(slots: &Slots<'_>, random: &mut Random) -> Vec<Row> {
    let mut rows = Vec::new();
    for block in LANGUAGES.split("\n= ").skip(1) {
        let mut lines = block.lines();
        let lang = lines.next().unwrap_or_default().trim();
        let parts: HashMap<&str, Vec<&str>> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, list)| (name, list.split(" | ").map(str::trim).collect()))
            .collect();
        let source = |label: u8| {
            format!(
                "own-{lang}-{}",
                if label == 1 { "attack" } else { "benign" }
            )
        };
        for (label, kind, shape) in SHAPES {
            let times = PER_LANGUAGE / 3 * if *label == 0 { HARMLESS_MORE } else { 1 };
            for _ in 0..times {
                let Some(text) = combine(shape, &parts, random) else {
                    continue;
                };
                let text = expand(&text, slots, random, 1);
                rows.push(row(&text, *label, kind, &source(*label), lang));
            }
        }
    }
    rows
}

fn combine(
    shape: &[&str],
    parts: &HashMap<&str, Vec<&str>>,
    random: &mut Random,
) -> Option<String> {
    let mut text = String::new();
    for name in shape {
        let part = *random.choose(parts.get(name)?)?;
        if !text.is_empty() {
            text.push_str(
                random
                    .choose(&[" ", ". ", "! ", "\n", ". ", ", "])
                    .copied()
                    .unwrap_or(" "),
            );
        }
        text.push_str(part);
        if *name == "ai" {
            text.push(':');
        }
    }
    Some(text)
}

/// Some rows again, as they are sent to slip through; harmless ones too, so that a disguise alone
/// is not learned as an attack.
fn disguised(rows: &[Row], random: &mut Random) -> Vec<Row> {
    let mut more = Vec::new();
    for row in rows {
        let text = match random.below(60) {
            0 => base64(row.text.as_bytes()),
            1 => row.text.chars().map(leet).collect(),
            2 => row.text.chars().flat_map(|c| [c, '\u{200b}']).collect(),
            3 => row.text.chars().map(look_alike).collect(),
            4 => percent(&row.text),
            _ => continue,
        };
        let source = format!(
            "{}-disguised",
            if row.label == 1 {
                "own-attack"
            } else {
                "own-benign"
            }
        );
        more.push(Row {
            text,
            source,
            ..row.clone()
        });
    }
    more
}

fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let _ = write!(out, "%{byte:02x}");
    }
    out
}

fn leet(c: char) -> char {
    match c {
        'o' | 'O' => '0',
        'i' | 'I' => '1',
        'e' | 'E' => '3',
        'a' | 'A' => '4',
        's' => '5',
        't' => '7',
        other => other,
    }
}

fn look_alike(c: char) -> char {
    match c {
        'o' => 'о',
        'e' => 'е',
        'a' => 'а',
        other => other,
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0u8; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let all = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for at in 0..4 {
            let letter = LETTERS[(all >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    out
}

/// Attacks put into harmless documents.
pub(crate) fn embedded(rows: &[Row], count: usize, seed: u64) -> Vec<Row> {
    let mut random = Random(seed);
    let documents: Vec<&Row> = rows
        .iter()
        .filter(|r| r.label == 0 && r.text.len() > 300)
        .collect();
    let attacks: Vec<&Row> = rows
        .iter()
        .filter(|r| {
            r.label == 1
                && r.text.len() < 400
                && r.kind != "jailbreak"
                && r.source.starts_with("own-")
        })
        .collect();
    let mut made = Vec::new();
    for _ in 0..count {
        let (Some(document), Some(attack)) = (random.choose(&documents), random.choose(&attacks))
        else {
            break;
        };
        let (before, after) = cut(&document.text, &mut random);
        let gap = random
            .choose(&["\n", "\n\n", " ", "\n---\n"])
            .copied()
            .unwrap_or("\n");
        let text = format!("{before}{gap}{}{gap}{after}", attack.text);
        made.push(Row {
            text,
            kind: "indirect".to_owned(),
            source: "own-embedded".to_owned(),
            ..(*attack).clone()
        });
    }
    made
}

/// A part of a document, in two.
fn cut<'t>(text: &'t str, random: &mut Random) -> (&'t str, &'t str) {
    let place = |at: usize| {
        (at..text.len())
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(text.len())
    };
    let length = [200, 400, 700, 1000][random.below(4)].min(text.len());
    let start = place(random.below(text.len() - length + 1));
    let end = place(start + length);
    let middle = place(start + random.below(length + 1)).min(end);
    let middle = match random.below(4) {
        0 => start,
        1 => end,
        _ => middle,
    };
    (&text[start..middle], &text[middle..end])
}
