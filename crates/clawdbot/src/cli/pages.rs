//! What the command line says of itself, for shells, `man` and the reference.

use super::{Cli, CliResult, Exit, Failure};
use clap::{Args, CommandFactory as _};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write one page for each command into this folder, instead of printing the first
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// `clawdbot completions`.
pub fn completions(shell: clap_complete::Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "clawdbot", &mut script);
    crate::say!("{}", String::from_utf8_lossy(&script).trim_end());
    Exit::Done
}

/// `clawdbot man`.
pub fn man(args: &ManArgs) -> CliResult {
    let Some(dir) = &args.to else {
        let mut page = Vec::new();
        // Writing to memory does not fail.
        let _ = clap_mangen::Man::new(Cli::command()).render(&mut page);
        crate::say!("{}", String::from_utf8_lossy(&page).trim_end());
        return Ok(Exit::Done);
    };
    let cannot = |e| Failure::new(Exit::CannotCreate, format!("{}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(cannot)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(cannot)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory as _;
    use std::fmt::Write as _;
    use std::path::Path;

    /// One section a command, in the order of the help.
    fn describe(command: &mut clap::Command, name: &str, page: &mut String) {
        if name != "clawdbot" {
            // Said once, at the top.
            *command = std::mem::take(command).mut_args(|arg| match arg.get_id().as_str() {
                "home" | "help" => arg.hide(true),
                _ => arg,
            });
        }
        let level = "#".repeat(name.split(' ').count().min(3));
        let help = command.render_long_help().to_string();
        let help: Vec<_> = help.lines().map(str::trim_end).collect();
        let help = help.join("\n");
        writeln!(page, "\n{level}# `{name}`\n\n```text\n{}\n```", help.trim()).unwrap();
        for sub in command.get_subcommands_mut() {
            if sub.get_name() != "help" && !sub.is_hide_set() {
                let name = format!("{name} {}", sub.get_name());
                describe(sub, &name, page);
            }
        }
    }

    #[test]
    fn the_reference_is_what_the_commands_say() {
        let mut page = String::from(
            "# The command line\n\nWritten from the program by `UPDATE_REFERENCE=1 cargo nextest run -p clawdbot \
             reference`; do not edit.\n",
        );
        let mut command = Cli::command().term_width(100).disable_help_subcommand(true);
        command.build();
        describe(&mut command, "clawdbot", &mut page);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == page,
            "docs/reference/cli.md is not what the commands say; \
             UPDATE_REFERENCE=1 cargo nextest run -p clawdbot reference writes it anew"
        );
    }

    #[test]
    fn every_command_has_a_manual_page() {
        let dir = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(Cli::command(), dir.path()).unwrap();
        let page = std::fs::read_to_string(dir.path().join("clawdbot-audit-verify.1")).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
}
