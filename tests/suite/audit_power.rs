//! The power is cut under a gateway at work: what was acknowledged is on the disk, and what was done has
//! its begin record there.
//!
//! The disk is a file served by nbdkit, so that what it has at one moment can be taken away and mounted.
//! The control is the same gateway with flushes that do nothing: if its records survived as well, the
//! harness would show nothing.

use serde_json::json;
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::disk::{Cache, Disk, FileSystem, mount_for_this_test_alone, unmount};
use testkit::{Call, Gateway, Home, Judges};

/// A home whose log is on a disk of its own.
fn home_on(kind: FileSystem, cache: Cache) -> (Home, Disk) {
    mount_for_this_test_alone();
    let home = Home::new();
    let disk = Disk::new(kind, cache, &home.path().join("logs"));
    home.set_accepting_the_risk("gateway.tools.policy", "whitelist");
    home.set("gateway.tools.allowList", r#"["write_file"]"#);
    home.set("gateway.security.rateLimit.maxRequests", "1000000");
    (home, disk)
}

/// The same gateway, whose flushes are said to have worked and do nothing.
fn without_flushes(home: &Home) -> Command {
    let direct = home.command();
    // Not --seccomp-bpf: it takes new privileges away, which the gateway notices when it proves its sandbox.
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-qqq", "-o", "/dev/null"]);
    strace.args(["-e", "trace=fdatasync,fsync,syncfs,sync"]);
    strace.args(["-e", "inject=fdatasync,fsync,syncfs,sync:retval=0"]);
    strace.arg(direct.get_program()).args(direct.get_args());
    strace
}

/// Clients that let the gateway write files, and know which it said it had written.
struct Clients {
    done: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Clients {
    fn of(gateway: &Gateway, count: usize) -> Self {
        let (done, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let number = Arc::new(AtomicU64::new(0));
        let threads = (0..count).map(|_| {
            let (done, stop, number) = (Arc::clone(&done), Arc::clone(&stop), Arc::clone(&number));
            let (port, token) = (gateway.port, gateway.token.clone());
            std::thread::spawn(move || write_files(port, &token, &done, &stop, &number))
        });
        let threads = threads.collect();
        Self {
            done,
            stop,
            threads,
        }
    }

    /// The files that are said to have been written.
    fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

fn write_files(
    port: u16,
    token: &str,
    done: &Mutex<Vec<String>>,
    stop: &AtomicBool,
    number: &AtomicU64,
) {
    while !stop.load(Ordering::Relaxed) {
        let name = format!("act-{:06}", number.fetch_add(1, Ordering::Relaxed));
        let arguments = json!({"path": name, "content": "done"});
        let body = json!({"name": "write_file", "arguments": arguments});
        let call = Call::post("/tools/invoke", &body).bearer(token);
        let answer = call.send(port);
        if answer.status == 200 {
            done.lock().unwrap().push(name);
        }
    }
}

/// What one cut showed.
#[derive(Debug)]
struct Shown {
    /// Acts that were acknowledged before it, or are on the workspace's disk.
    acts: usize,
    /// Those of them that have no begin record in what was left.
    lost: Vec<String>,
    /// The verdict over what was left, and after the next command there.
    codes: (i32, i32),
}

/// Cuts the power once while the clients work.
fn cut(gateway: &Gateway, disk: &Disk, clients: &Clients, judges: &mut Judges, at: usize) -> Shown {
    // What was acknowledged by now, and whatever was done: no act comes before its record.
    let mut acts: BTreeSet<String> = clients.done().into_iter().collect();
    let workspace = std::fs::read_dir(gateway.home.workspace()).unwrap();
    let names = workspace.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    acts.extend(names.filter(|name| name.starts_with("act-")));
    let image = disk.cut(&format!("cut{at}"));
    let left = Home::new();
    let logs = left.path().join("logs");
    disk.mount_cut(&image, &logs);
    let before = judges.agree(&format!("cut {at}"), &logs).code;
    let records = left.audit().of("tool.begin");
    let begun: BTreeSet<String> = records
        .iter()
        .filter_map(|record| {
            let arguments = serde_json::from_str::<serde_json::Value>(record.text("arguments"));
            Some(arguments.ok()?["path"].as_str()?.to_owned())
        })
        .collect();
    let secrets = gateway.home.path().join("secrets");
    let mut copying = Command::new("cp");
    let copied = copying.arg("-a").arg(secrets).arg(left.path()).status();
    assert!(copied.unwrap().success());
    let ran = left.run(&["config", "set", "gateway.port", "18999"]);
    let after = if ran.code == 0 {
        judges.agree("after", &logs).code
    } else {
        -1
    };
    unmount(&logs);
    std::fs::remove_file(image).unwrap();
    Shown {
        acts: acts.len(),
        lost: acts.difference(&begun).cloned().collect(),
        codes: (before, after),
    }
}

/// Cuts the power so many times, and tells what each cut showed.
fn cuts(kind: FileSystem, cache: Cache, flushing: bool, times: usize) -> Vec<Shown> {
    let (home, disk) = home_on(kind, cache);
    let command = if flushing {
        home.command()
    } else {
        without_flushes(&home)
    };
    let gateway = Gateway::start(home, command);
    let clients = Clients::of(&gateway, 3);
    let mut judges = Judges::new();
    let shown = (0..times).map(|at| {
        let (enough, pause) = (clients.done().len() + 15, 37 * (at as u64 % 7));
        while clients.done().len() < enough {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(pause));
        cut(&gateway, &disk, &clients, &mut judges, at)
    });
    let shown: Vec<_> = shown.collect();
    clients.end();
    let home = gateway.kill();
    println!("{kind:?} {cache:?} flushing {flushing}: {shown:?}");
    // The disk goes first: the home is a folder that it is mounted in.
    drop(disk);
    drop(home);
    shown
}

fn nothing_is_lost(kind: FileSystem, cache: Cache, times: usize) {
    for (at, shown) in cuts(kind, cache, true, times).iter().enumerate() {
        assert!(shown.acts >= 15, "cut {at}: {shown:?}");
        assert!(shown.lost.is_empty(), "cut {at}: {shown:?}");
        assert!([0, 1].contains(&shown.codes.0), "cut {at}: {shown:?}");
        assert_eq!(
            shown.codes.1, 0,
            "cut {at}: the next start goes on: {shown:?}"
        );
    }
}

#[test]
fn a_power_cut_loses_nothing_acknowledged_on_xfs_with_a_disk_that_loses_its_cache() {
    nothing_is_lost(FileSystem::Xfs, Cache::LosesUnflushed, 2);
}

#[test]
fn a_power_cut_loses_nothing_acknowledged_on_ext4_with_a_disk_that_loses_its_cache() {
    nothing_is_lost(FileSystem::Ext4, Cache::LosesUnflushed, 2);
}

#[test]
fn a_power_cut_loses_nothing_acknowledged_on_xfs_with_a_disk_without_a_cache() {
    nothing_is_lost(FileSystem::Xfs, Cache::WriteThrough, 2);
}

#[test]
fn the_harness_sees_what_a_gateway_loses_whose_flushes_do_nothing() {
    let shown = cuts(FileSystem::Xfs, Cache::LosesUnflushed, false, 1);
    assert!(shown.iter().all(|cut| !cut.lost.is_empty()), "{shown:?}");
}

#[test]
#[ignore = "minutes; CUTS=200 makes it longer"]
fn many_power_cuts_lose_nothing_acknowledged_on_either_file_system() {
    let times = std::env::var("CUTS")
        .ok()
        .and_then(|cuts| cuts.parse().ok());
    let times: usize = times.unwrap_or(20);
    for kind in [FileSystem::Xfs, FileSystem::Ext4] {
        for cache in [Cache::LosesUnflushed, Cache::WriteThrough] {
            nothing_is_lost(kind, cache, times);
        }
    }
}
