//! Programs that do more than their name says. No list of them is a lock: the kernel holds what they do to the
//! call's confinement. It is for the person who puts one on `gateway.sandbox.allowedCommands`.

/// What a program on the list may do besides, inside the confinement; none when nothing is known of it.
pub fn trap(program: &str) -> Option<&'static str> {
    let name = program.rsplit('/').next().unwrap_or(program);
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    Some(match plain {
        "sh" | "bash" | "dash" | "zsh" | "fish" | "ksh" | "busybox" | "toybox" => {
            "is a shell: it runs whatever text a model writes"
        }
        "python" | "perl" | "ruby" | "node" | "deno" | "bun" | "lua" | "php" | "Rscript"
        | "java" | "awk" | "gawk" | "mawk" | "ed" | "vi" | "vim" | "emacs" | "gdb" | "make"
        | "cmake" => "is an interpreter: it runs whatever text a model writes",
        "env" | "xargs" | "nohup" | "timeout" | "nice" | "ionice" | "setsid" | "stdbuf"
        | "time" | "watch" | "parallel" | "script" | "flock" | "chroot" | "unshare" | "nsenter" => {
            "starts other programs of the list, with any arguments"
        }
        "find" => {
            "starts programs of the list (-exec) and deletes or writes files (-delete, -fprintf)"
        }
        "tar" => "starts programs of the list (--checkpoint-action, -I, --to-command)",
        "sed" => "starts programs (the e command) and writes files (the w command)",
        "git" => {
            "starts programs by its configuration (-c, hooks, pagers) that a workspace can bring along"
        }
        "sort" => "starts programs of the list (--compress-program)",
        "rsync" | "ssh" | "scp" | "sftp" => "starts programs of the list (-e, ProxyCommand)",
        "zip" | "man" | "less" | "more" => "starts programs of the list (-TT, pagers, !)",
        "npm" | "npx" | "pip" | "pipx" | "cargo" | "go" | "gem" | "apt" | "apt-get" | "dpkg" => {
            "is a package manager: it runs scripts that a workspace or package brings along"
        }
        "ld-linux-x86-64.so" | "ld.so" => "is the loader: it starts any library as a program",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::trap;

    #[test]
    fn shells_interpreters_and_launchers_are_told_apart_from_readers() {
        for name in [
            "bash",
            "/bin/sh",
            "python3.11",
            "python3",
            "awk",
            "env",
            "find",
            "git",
            "npm",
        ] {
            assert!(trap(name).is_some(), "{name}");
        }
        for name in ["ls", "cat", "grep", "head", "wc", "true"] {
            assert_eq!(trap(name), None, "{name}");
        }
    }
}
