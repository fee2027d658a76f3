//! From mode and need to the paths a child can reach. The gateway's home is in none of them.

use crate::confinement::{Grant, Profile, Rights};
use crate::sandbox::Need;
use clawdbot_domain::SandboxMode;
use std::io;
use std::path::{Path, PathBuf};

/// The read-only system of a command in mode moderate: programs and libraries to read, and the few
/// files below `/etc` that hold nothing about this machine or its people.
const SYSTEM: [&str; 12] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/ssl/certs",
    "/etc/ca-certificates.conf",
    "/etc/terminfo",
];

/// Devices with nothing behind them.
const DEVICES: [(&str, Rights); 5] = [
    ("/dev/null", Rights::ReadWrite),
    ("/dev/zero", Rights::Read),
    ("/dev/full", Rights::ReadWrite),
    ("/dev/random", Rights::Read),
    ("/dev/urandom", Rights::Read),
];

/// Where the dynamic loaders live: the kernel opens the one an ELF program names as if it were
/// started, so a program without its loader does not start either.
const LOADERS: [&str; 6] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-linux.so.2",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
    "/usr/lib64/ld-linux-x86-64.so.2",
];

/// A path that is a link, and where it leads.
pub(crate) type Link = (PathBuf, PathBuf);

/// Every path a child gets, and the links beside them: `/bin`, where it is one, leads to what is granted.
pub(crate) fn grants(
    mode: SandboxMode,
    home: &Path,
    need: &Need<'_>,
) -> io::Result<(Vec<Grant>, Vec<Link>)> {
    let mut links = Vec::new();
    let all = list(mode, home, need, &mut links)?;
    Ok((without_repeats(all), links))
}

/// What is granted by a folder above is not granted again: each rule costs every call some microseconds.
fn without_repeats(mut all: Vec<Grant>) -> Vec<Grant> {
    all.sort();
    all.dedup();
    let kept = all.clone();
    all.retain(|grant| {
        !kept.iter().any(|above| {
            above.path != grant.path
                && above.rights == grant.rights
                && grant.path.starts_with(&above.path)
        })
    });
    all
}

fn list(
    mode: SandboxMode,
    home: &Path,
    need: &Need<'_>,
    links: &mut Vec<Link>,
) -> io::Result<Vec<Grant>> {
    let workspace = Grant {
        path: need.workspace.to_owned(),
        rights: if need.write {
            Rights::ReadWrite
        } else {
            Rights::Read
        },
    };
    let mut all = vec![workspace];
    match (need.profile, mode) {
        // A built-in tool needs no system, whatever the mode: the binary is mapped already.
        (Profile::Builtin, _) | (Profile::Command, SandboxMode::Strict) => {}
        (Profile::Command, SandboxMode::Moderate) => {
            moderate(home, need.programs, &mut all, links)?;
        }
        (Profile::Command, SandboxMode::Permissive) => {
            all_but(Path::new("/"), Rights::All, home, &mut all, links)?;
        }
    }
    Ok(all)
}

fn moderate(
    home: &Path,
    programs: &[PathBuf],
    all: &mut Vec<Grant>,
    links: &mut Vec<Link>,
) -> io::Result<()> {
    for path in SYSTEM {
        add_link(Path::new(path), links);
        all_but(Path::new(path), Rights::Read, home, all, links)?;
    }
    for (path, rights) in DEVICES {
        add(Path::new(path), rights, all);
    }
    // Only the listed programs can be started, by the kernel's own measure (`find -exec sh` finds no
    // sh), although everything below /usr can be read.
    for path in programs {
        add(path, Rights::ReadExecute, all);
    }
    for path in LOADERS {
        add(Path::new(path), Rights::ReadExecute, all);
    }
    Ok(())
}

fn add_link(path: &Path, links: &mut Vec<Link>) {
    if let Ok(target) = std::fs::read_link(path) {
        links.push((path.to_owned(), target));
    }
}

fn add(path: &Path, rights: Rights, all: &mut Vec<Grant>) {
    if path.exists() {
        all.push(Grant {
            path: path.to_owned(),
            rights,
        });
    }
}

/// Everything beneath `path` but `home`. Landlock only allows, so where home lies beneath, its
/// siblings are granted one by one all the way down, and the folders on the way not at all.
fn all_but(
    path: &Path,
    rights: Rights,
    home: &Path,
    all: &mut Vec<Grant>,
    links: &mut Vec<Link>,
) -> io::Result<()> {
    let Ok(real) = path.canonicalize() else {
        return Ok(());
    };
    if real.starts_with(home) {
        return Ok(());
    }
    if !home.starts_with(&real) {
        all.push(Grant { path: real, rights });
        return Ok(());
    }
    for entry in std::fs::read_dir(&real)? {
        let entry = entry?;
        // A link is judged by where it leads when it is followed, not granted by itself.
        if entry.file_type()?.is_symlink() {
            add_link(&entry.path(), links);
        } else {
            all_but(&entry.path(), rights, home, all, links)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(all: &[Grant]) -> Vec<&Path> {
        all.iter().map(|g| g.path.as_path()).collect()
    }

    #[test]
    fn home_and_the_folders_above_it_are_left_out_and_its_siblings_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for sub in ["a/home/secrets", "a/sibling", "b"] {
            std::fs::create_dir_all(root.join(sub)).unwrap();
        }
        let mut all = Vec::new();
        all_but(
            &root,
            Rights::Read,
            &root.join("a/home"),
            &mut all,
            &mut Vec::new(),
        )
        .unwrap();
        all.sort();
        assert_eq!(paths(&all), [root.join("a/sibling"), root.join("b")]);
    }

    #[test]
    fn what_a_folder_above_grants_is_not_granted_again_but_more_is() {
        let grant = |path: &str, rights| Grant {
            path: path.into(),
            rights,
        };
        let all = vec![
            grant("/usr/bin", Rights::Read),
            grant("/usr", Rights::Read),
            grant("/usr/bin/ls", Rights::ReadExecute),
            grant("/usrlocal", Rights::Read),
        ];
        let kept = without_repeats(all);
        assert_eq!(
            paths(&kept),
            [
                Path::new("/usr"),
                Path::new("/usr/bin/ls"),
                Path::new("/usrlocal")
            ]
        );
    }

    #[test]
    fn a_link_to_home_is_no_way_round() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("home")).unwrap();
        std::os::unix::fs::symlink(root.join("home"), root.join("link")).unwrap();
        let mut all = Vec::new();
        all_but(
            &root,
            Rights::Read,
            &root.join("home"),
            &mut all,
            &mut Vec::new(),
        )
        .unwrap();
        assert_eq!(all, []);
    }

    #[test]
    fn strict_and_every_built_in_tool_reach_the_workspace_alone() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = dir.path().canonicalize().unwrap();
        let home = Path::new("/nonexistent/home");
        let need = |profile, write| Need {
            profile,
            workspace: &workspace,
            write,
            programs: &[],
        };
        for mode in SandboxMode::ALL {
            let (grants, links) = grants(*mode, home, &need(Profile::Builtin, false)).unwrap();
            assert_eq!(links, []);
            assert_eq!(
                grants,
                [Grant {
                    path: workspace.clone(),
                    rights: Rights::Read
                }]
            );
        }
        let (grants, _) = grants(SandboxMode::Strict, home, &need(Profile::Command, true)).unwrap();
        assert_eq!(
            grants,
            [Grant {
                path: workspace.clone(),
                rights: Rights::ReadWrite
            }]
        );
    }
}
