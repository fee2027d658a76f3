//! A child for the tests of this room: what the gateway's binary does when it is started as one, with
//! attacks for tools. Started by hand it is a hostile command: `sandbox_child ATTACK…`.
#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "attacks are made with system calls that no safe wrapper offers"
)]

use clawdbot_sandbox::child::{ARGUMENT, Answer, Job, main as child};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().map(String::as_str) == Some(ARGUMENT) {
        return child(builtin);
    }
    let said = attack(&arguments);
    let _ = writeln!(std::io::stdout(), "{said}");
    ExitCode::SUCCESS
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature is the sandbox's"
)]
fn builtin(job: Job) -> Answer {
    let words = String::from_utf8_lossy(&job.bytes).into_owned();
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    Answer {
        output: attack(&words),
        is_error: false,
    }
}

/// Says `reached …` or what stopped it.
fn attack(words: &[String]) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["read", path] => told(std::fs::read(path).map(|bytes| bytes.len())),
        ["list", path] => told(std::fs::read_dir(path).map(Iterator::count)),
        ["write", path] => told(std::fs::write(path, "x")),
        ["env"] => format!("{:?}", std::env::vars().collect::<Vec<_>>()),
        ["descriptors"] => open_descriptors(),
        ["status"] => status(),
        ["run", program] => told(
            std::process::Command::new(program)
                .output()
                .map(|o| o.status),
        ),
        ["exec", program] => exec(program),
        ["tcp", port] => told(std::net::TcpStream::connect(format!("127.0.0.1:{port}"))),
        ["udp"] => told(std::net::UdpSocket::bind("0.0.0.0:0")),
        ["unix", path] => told(std::os::unix::net::UnixStream::connect(path)),
        ["syscall", number] => syscall(number.parse().unwrap_or(-1)),
        ["kill", pid] => signal(pid.parse().unwrap_or(0)),
        ["late-signal"] => answer(unsafe { libc::raise(libc::SIGIO) }.into()),
        ["fork"] => answer(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) }),
        ["namespaces"] => namespaces(),
        ["clone3"] => answer(unsafe { libc::syscall(libc::SYS_clone3, 0, 0) }),
        ["executable-memory"] => executable_memory(),
        ["limits-of", pid] => limits_of(pid.parse().unwrap_or(0)),
        ["setuid-file", path] => setuid_file(path),
        ["flood"] => flood(),
        ["sleep"] => sleep(),
        ["stubborn"] => {
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            sleep()
        }
        ["daemon", marker] => daemon(marker),
        ["forks", count, marker] => forks(count.parse().unwrap_or(0), marker),
        ["memory"] => memory(),
        ["hogs", count, megabytes] => hogs(count, 0, megabytes),
        ["sharers", count, megabytes] => hogs(count, megabytes.parse().unwrap_or(0), "0"),
        ["fill", folder] => fill(folder),
        ["crumbs", folder] => crumbs(folder),
        other => format!("no attack {other:?}"),
    }
}

fn told<T: std::fmt::Debug>(outcome: std::io::Result<T>) -> String {
    match outcome {
        Ok(what) => format!("reached {what:?}"),
        Err(error) => format!("stopped {}", error.raw_os_error().unwrap_or(-1)),
    }
}

fn answer(answer: libc::c_long) -> String {
    if answer < 0 {
        told(Err::<(), _>(std::io::Error::last_os_error()))
    } else {
        format!("reached {answer}")
    }
}

/// Becomes the program, without the pipes and forks that a library would want first.
fn exec(program: &str) -> String {
    use std::os::unix::process::CommandExt as _;
    told(Err::<(), _>(std::process::Command::new(program).exec()))
}

/// With null arguments: `EFAULT` and the like mean that the kernel let the call in.
fn syscall(number: libc::c_long) -> String {
    answer(unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) })
}

fn signal(pid: i32) -> String {
    answer(unsafe { libc::kill(pid, 0) }.into())
}

fn namespaces() -> String {
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        0 => unsafe { libc::_exit(0) },
        made => answer(made),
    }
}

fn executable_memory() -> String {
    let (rwx, how) = (
        libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, rwx, how, -1, 0) };
    if at == libc::MAP_FAILED {
        answer(-1)
    } else {
        answer(0)
    }
}

fn limits_of(pid: i32) -> String {
    let none = std::ptr::null::<libc::rlimit>();
    let mut old = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    answer(unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, none, &raw mut old) }.into())
}

fn setuid_file(path: &str) -> String {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut how = std::fs::OpenOptions::new();
    told(how.write(true).create_new(true).mode(0o4755).open(path))
}

fn open_descriptors() -> String {
    let open = (3..1024).filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0);
    format!("{:?}", open.collect::<Vec<_>>())
}

fn status() -> String {
    let held = |which| unsafe { libc::prctl(which, 0, 0, 0, 0) };
    let bounding =
        (0..41).filter(|n| unsafe { libc::prctl(libc::PR_CAPBSET_READ, *n, 0, 0, 0) } == 1);
    format!(
        "nnp {} seccomp {} bounding {} session {}",
        held(libc::PR_GET_NO_NEW_PRIVS),
        held(libc::PR_GET_SECCOMP),
        bounding.count(),
        unsafe { libc::getsid(0) != libc::getpid() }
    )
}

/// So many processes, each of which fills so much memory and keeps it, after one that they have in common.
fn hogs(count: &str, common: usize, megabytes: &str) -> String {
    let size = megabytes.parse::<usize>().unwrap_or(0) << 20;
    let common = vec![1_u8; common << 20];
    for _ in 0..count.parse().unwrap_or(0) {
        match unsafe { libc::fork() } {
            0 => {
                let kept = vec![1_u8; size];
                std::thread::sleep(Duration::from_secs(60));
                std::process::exit(kept.len().try_into().unwrap_or(0));
            }
            made if made < 0 => break,
            _ => {}
        }
    }
    std::thread::sleep(Duration::from_secs(2));
    format!("{count} lived beside {} bytes", common.len())
}

fn flood() -> String {
    let line = [b'A'; 8192];
    loop {
        if std::io::stdout().write_all(&line).is_err() {
            return "stopped".to_owned();
        }
    }
}

fn sleep() -> String {
    std::thread::sleep(Duration::from_secs(600));
    "reached the end".to_owned()
}

/// Forks twice into a session of its own and writes down that it still lives, again and again.
fn daemon(marker: &str) -> String {
    unsafe {
        if libc::fork() != 0 {
            return "left a daemon".to_owned();
        }
        libc::setsid();
        if libc::fork() != 0 {
            libc::_exit(0);
        }
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
    }
    live(marker)
}

fn live(marker: &str) -> ! {
    loop {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(marker);
        let _ = file.and_then(|mut file| file.write_all(b"."));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn forks(count: u32, marker: &str) -> String {
    let mut made = 0;
    for _ in 0..count {
        match unsafe { libc::fork() } {
            0 => live(marker),
            -1 => break,
            _ => made += 1,
        }
    }
    format!("made {made}")
}

/// Files of 1 MiB, until it is stopped.
fn fill(folder: &str) -> String {
    let piece = vec![1_u8; 1 << 20];
    for at in 0..200 {
        if let Err(error) = std::fs::write(format!("{folder}/fill{at}"), &piece) {
            return told(Err::<(), _>(error));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    "reached 200 MiB".to_owned()
}

/// Empty files, until it is stopped.
fn crumbs(folder: &str) -> String {
    for at in 0..1_000_000 {
        if let Err(error) = std::fs::write(format!("{folder}/crumb{at}"), "") {
            return told(Err::<(), _>(error));
        }
    }
    "reached a million".to_owned()
}

fn memory() -> String {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut more = Vec::new();
        if more.try_reserve_exact(64 << 20).is_err() {
            return format!("stopped at {} MiB", all.len() * 64);
        }
        more.resize(1, 1);
        all.push(more);
        if all.len() > 64 {
            return "reached 4 GiB".to_owned();
        }
    }
}
