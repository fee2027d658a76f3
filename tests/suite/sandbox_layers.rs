//! Every probe against each layer alone and with each layer left out: which of them stops what, and where only
//! one stands in the way.
//!
//! The layers are left out by a build of the sandbox for this experiment (`--features holes`), which no binary
//! that anybody runs is made with.

use crate::sandbox_probes::{ALLOWED, EXPOSED, House, Probe, SECONDS, Said, Who, is_root, probes};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Users that exist on no machine, one a thread: a probe that signals everything of its user must not end
/// another's.
const NOBODIES: u32 = 31_400;

/// What is left standing. The base is what every child has: an empty environment, no inherited descriptor, no
/// capability, no way to new privileges, limits, a session of its own.
struct Standing {
    name: &'static str,
    tier: &'static str,
    left_out: &'static str,
}

const fn standing(name: &'static str, tier: &'static str, left_out: &'static str) -> Standing {
    Standing {
        name,
        tier,
        left_out,
    }
}

/// The base, then each layer alone upon it.
const ALONE: [Standing; 4] = [
    standing("base", "T3", "landlock,seccomp"),
    standing("landlock", "T3", "seccomp"),
    standing("seccomp", "T3", "landlock"),
    standing("namespaces", "T1", "landlock,seccomp"),
];
/// All but one.
const WITHOUT: [Standing; 3] = [
    standing("-landlock", "T1", "landlock"),
    standing("-seccomp", "T1", "seccomp"),
    standing("-namespac.", "T3", "-"),
];

/// Probes that one layer alone stands against, and why no other does. Whatever is not here has two. All of these
/// are calls into the kernel that lead nowhere by themselves: what is stopped is the way to a hole in the kernel.
const ONE: &[(&str, &str, &str)] = &[
    (
        "fs-write-setuid-bit",
        "seccomp",
        "in the workspace, which is mounted nosuid: the bit means nothing there",
    ),
    (
        "k-clone3-newuser",
        "seccomp",
        "a namespace in a namespace, with no more rights over anything outside",
    ),
    ("k-personality", "seccomp", "changes the caller alone"),
    ("k-modify-ldt", "seccomp", "changes the caller alone"),
    (
        "k-memfd-secret",
        "seccomp",
        "memory of the caller, bounded as such",
    ),
    (
        "k-name-to-handle",
        "seccomp",
        "opening by such a handle takes a capability",
    ),
    (
        "k-quotactl",
        "seccomp",
        "asks about what is mounted; setting takes a capability",
    ),
    ("k-mbind", "seccomp", "changes the caller alone"),
    (
        "k-io-setup",
        "seccomp",
        "work on files that are open already",
    ),
    (
        "net-vsock",
        "seccomp",
        "no namespace holds this family back; a host that listens there would be reached",
    ),
    (
        "net-ia32-socketcall",
        "seccomp",
        "a socket in a network with nobody in it",
    ),
];

/// Groups of probes that reach for something outside of the call. The others use up what a call has, or ask
/// for a program that policy refuses.
const ESCAPES: [&str; 6] = [
    "fs-read", "fs-write", "kernel", "network", "proc-env", "process",
];

fn build() -> PathBuf {
    let checkout = testkit::binary::checkout();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut making = Command::new(cargo);
    let made = making
        .current_dir(&checkout)
        .args([
            "build",
            "--quiet",
            "-p",
            "clawdbot-sandbox",
            "--features",
            "holes",
        ])
        .args(["--example", "hole"])
        .status()
        .unwrap();
    assert!(made.success(), "the sandbox with holes is built");
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| checkout.join("target"));
    target.join("debug/examples/hole")
}

fn run(house: &House, hole: &Path, probe: &Probe, standing: &Standing) -> Said {
    house.run_by(probe, false, |argv| {
        let mut allowed = ALLOWED.join(",");
        let _ = write!(allowed, ",{}", argv[0]);
        let mut command = Command::new(hole);
        command
            .arg(house.root.path().join("home"))
            .arg(house.workspace());
        command.args([
            standing.tier,
            SECONDS,
            standing.left_out,
            &allowed,
            "--",
            &argv[0],
        ]);
        command
    })
}

/// What became of one probe: alone, then with one left out.
type Row = ([Said; 4], [Said; 3]);

#[test]
fn what_escapes_is_stopped_by_two_layers_or_the_one_is_named() {
    assert!(
        is_root(),
        "this test runs probes as users that own nothing: run it as root"
    );
    let built = build();
    let probes: Vec<Probe> = probes()
        .into_iter()
        .filter(|probe| probe.full != "refused" && probe.alone == "yes")
        .collect();
    let next = AtomicUsize::new(0);
    let rows: Mutex<BTreeMap<usize, Row>> = Mutex::default();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (probes, next, rows, built) = (&probes, &next, &rows, &built);
            scope.spawn(move || {
                let uid = NOBODIES + thread;
                let mut house = House::new(Who { uid, gid: uid });
                let hole = house.root.path().join("hole");
                std::fs::copy(built, &hole).unwrap();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(probe) = probes.get(at) else { break };
                    let mut one = |standing: &Standing| {
                        house.keep_victim();
                        run(&house, &hole, probe, standing)
                    };
                    let row = (
                        ALONE.each_ref().map(&mut one),
                        WITHOUT.each_ref().map(&mut one),
                    );
                    rows.lock().unwrap().insert(at, row);
                }
            });
        }
    });
    let rows = rows.into_inner().unwrap();
    let mut wrong = Vec::new();
    let head = ALONE
        .iter()
        .chain(&WITHOUT)
        .map(|s| format!("{:<10}", s.name));
    println!(
        "{:<28} {} STOPPED ALONE BY",
        "PROBE",
        head.collect::<Vec<_>>().join(" ")
    );
    for (at, (alone, without)) in &rows {
        let probe = &probes[*at];
        let stops = |said: &Said| *said == Said::Blocked;
        let by = ALONE.iter().zip(alone).filter(|(_, said)| stops(said));
        let by: Vec<&str> = by.map(|(standing, _)| standing.name).collect();
        let cells = alone
            .iter()
            .chain(without)
            .map(|s| format!("{:<10}", s.word()));
        let cells = cells.collect::<Vec<_>>().join(" ");
        println!(
            "{:<28} {cells} {}",
            probe.id,
            if by.is_empty() {
                "none alone".into()
            } else {
                by.join(", ")
            }
        );
        let escapes = ESCAPES.contains(&probe.group.as_str()) && probe.full == "blocked";
        let exposed = EXPOSED.iter().any(|(id, ..)| *id == probe.id);
        if !escapes || exposed {
            continue;
        }
        // With any one layer left out it must still be stopped, unless that one is the one that is named.
        for (left_out, said) in WITHOUT.iter().zip(without) {
            let layer = left_out.name.trim_start_matches('-').trim_end_matches('.');
            let named = ONE
                .iter()
                .any(|(id, one, _)| *id == probe.id && one.starts_with(layer));
            if (*said == Said::Reached) != named {
                let id = &probe.id;
                wrong.push(format!(
                    "{id} without {layer}: {}, listed: {named}",
                    said.word()
                ));
            }
        }
    }
    for (id, layer, why) in ONE {
        println!("one layer only: {id}: {layer}: {why}");
    }
    println!(
        "{} probes, {} settings each",
        rows.len(),
        ALONE.len() + WITHOUT.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The experiment itself: with the base alone most of what is forbidden is reached.
    let reached = rows.values().filter(|(alone, _)| alone[0] == Said::Reached);
    assert!(reached.count() >= 40, "the layers were really left out");
}
