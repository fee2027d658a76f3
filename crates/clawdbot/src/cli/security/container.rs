//! How the container, or the machine, is hardened in which this runs.

use super::{Finding, Severity};
use rustix::fs::StatVfsMountFlags;
use std::path::Path;

/// What the kernel says of this process and its surroundings.
#[derive(Debug, Clone, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are answers to questions that have nothing to do with each other"
)]
pub(super) struct Surroundings {
    pub(super) in_container: bool,
    pub(super) root: bool,
    /// Effective capabilities.
    pub(super) capabilities: u64,
    pub(super) no_new_privs: bool,
    pub(super) seccomp: bool,
    pub(super) root_read_only: bool,
    pub(super) docker_socket: bool,
    /// Text of the cgroup's own limits; `None` where they are not told.
    pub(super) memory_limit: Option<String>,
    pub(super) process_limit: Option<String>,
}

impl Surroundings {
    /// Those of this process.
    pub(super) fn look() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map_or("", str::trim)
        };
        let limit = |name: &str| {
            let text = std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(name));
            text.ok().map(|text| text.trim().to_owned())
        };
        let there = |path: &str| Path::new(path).exists();
        let read_only = rustix::fs::statvfs("/")
            .is_ok_and(|root| root.f_flag.contains(StatVfsMountFlags::RDONLY));
        Self {
            in_container: there("/.dockerenv")
                || there("/run/.containerenv")
                || std::env::var_os("container").is_some(),
            root: rustix::process::geteuid().is_root(),
            capabilities: u64::from_str_radix(field("CapEff:"), 16).unwrap_or(u64::MAX),
            no_new_privs: field("NoNewPrivs:") == "1",
            seccomp: field("Seccomp:") != "0",
            root_read_only: read_only,
            docker_socket: there("/var/run/docker.sock"),
            memory_limit: limit("memory.max"),
            process_limit: limit("pids.max"),
        }
    }
}

/// What is not as the compose file makes it.
pub(super) fn judge(here: &Surroundings) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |id: &str, severity, what: &str, why: &str, mend: &str| {
        found.push(Finding::new(
            format!("container.{id}"),
            severity,
            what,
            why,
            mend,
        ));
    };
    if here.root {
        let severity = if here.in_container {
            Severity::Fail
        } else {
            Severity::Warn
        };
        add(
            "root",
            severity,
            "this runs as root",
            "whoever breaks out of the gateway is root",
            "run it as a user of its own (in compose: user: \"1000:1000\")",
        );
    }
    if !here.in_container {
        return found;
    }
    if here.docker_socket {
        add(
            "docker-socket",
            Severity::Fail,
            "the Docker socket is in the container",
            "whoever reaches it is root on the host",
            "take /var/run/docker.sock out of the volumes",
        );
    }
    if here.capabilities != 0 {
        add(
            "capabilities",
            Severity::Warn,
            "the container keeps capabilities",
            "each is a piece of root",
            "cap_drop: [ALL]",
        );
    }
    if !here.no_new_privs {
        add(
            "no-new-privileges",
            Severity::Warn,
            "programs may gain privileges",
            "a setuid program is a way to root",
            "security_opt: [no-new-privileges:true]",
        );
    }
    if !here.seccomp {
        add(
            "seccomp",
            Severity::Fail,
            "no seccomp filter is around the container",
            "every system call of the kernel can be attacked",
            "take seccomp=unconfined out of security_opt",
        );
    }
    if !here.root_read_only {
        add(
            "read-only",
            Severity::Warn,
            "the container's own files can be changed",
            "whoever breaks in can stay",
            "read_only: true, with a tmpfs for /tmp",
        );
    }
    for (id, limit, mend) in [
        ("memory", &here.memory_limit, "mem_limit: 512m"),
        ("processes", &here.process_limit, "pids_limit: 256"),
    ] {
        if limit.as_deref() == Some("max") {
            add(
                id,
                Severity::Warn,
                &format!("the container has no limit of {id}"),
                "it can take the host down with it",
                mend,
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Surroundings, judge};

    /// What takes a layer away.
    type Weaken = fn(&mut Surroundings);

    fn hardened() -> Surroundings {
        Surroundings {
            in_container: true,
            no_new_privs: true,
            seccomp: true,
            root_read_only: true,
            memory_limit: Some("536870912".into()),
            process_limit: Some("256".into()),
            ..Surroundings::default()
        }
    }

    #[test]
    fn a_hardened_container_has_no_finding_and_each_layer_that_is_missing_has_one() {
        assert_eq!(judge(&hardened()), []);
        let max = || Some("max".to_owned());
        let each: [(&str, Weaken); 7] = [
            ("root", |s| s.root = true),
            ("docker-socket", |s| s.docker_socket = true),
            ("capabilities", |s| s.capabilities = 1 << 21),
            ("no-new-privileges", |s| s.no_new_privs = false),
            ("seccomp", |s| s.seccomp = false),
            ("read-only", |s| s.root_read_only = false),
            ("memory", |s| s.memory_limit = Some("max".into())),
        ];
        for (id, weaken) in each {
            let mut here = hardened();
            weaken(&mut here);
            let found = judge(&here);
            assert_eq!(
                found.iter().map(|f| f.id.as_str()).collect::<Vec<_>>(),
                [format!("container.{id}")]
            );
        }
        let both = Surroundings {
            process_limit: max(),
            memory_limit: max(),
            ..hardened()
        };
        assert_eq!(judge(&both).len(), 2);
        let outside = Surroundings::default();
        assert_eq!(judge(&outside), [], "a machine is no container");
    }
}
