//! `run_command`: one program and its arguments, no shell.

use super::{MOST_ARGUMENTS, Tool, Work};
use clawdbot_domain::{Effect, SandboxMode};
use clawdbot_sandbox::CommandJob;
use serde_json::{Map, Value, json};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

pub(super) const TOOL: Tool = Tool {
    name: "run_command",
    description: "Run one program in the workspace: `command` is the program and its arguments as a list. There is \
                  no shell, so no pipes, wildcards or variables. Output and errors come back together with the \
                  exit code. Only programs that the operator allowed can be started.",
    effect: Effect::Execute,
    schema,
    most_arguments: MOST_ARGUMENTS,
    work: Work::Command,
};

/// Where programs are looked for; no `PATH` decides.
const FOLDERS: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "command": {
                "type": "array", "minItems": 1, "maxItems": 256,
                "items": { "type": "string", "maxLength": 32768 },
                "description": "The program and its arguments, e.g. [\"ls\", \"-l\"]"
            },
            "cwd": {
                "type": "string", "minLength": 1, "maxLength": 4096,
                "description": "Folder to run in, relative to the workspace"
            }
        },
        "required": ["command"],
        "additionalProperties": false
    })
}

/// A command that may be started: resolved, and with what else its start needs.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The job for the sandbox.
    pub job: CommandJob,
    /// Every program that the kernel will let the call start.
    pub programs: Vec<PathBuf>,
}

/// Why a command is not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandRefused {
    /// There is nothing to run.
    #[error("the command is empty")]
    Empty,
    /// Strict runs none.
    #[error("sandbox mode is strict: no command runs")]
    Strict,
    /// Not on the list.
    #[error("{0:?} is not on gateway.sandbox.allowedCommands")]
    NotAllowed(String),
    /// Neither a bare name nor an absolute path.
    #[error("{0:?} is neither a program's name nor an absolute path")]
    Relative(String),
    /// Not there.
    #[error("there is no program {0:?} in /usr/local/bin, /usr/bin or /bin")]
    NotFound(String),
    /// There, but no program.
    #[error("{0:?} is not a file that can be started")]
    NoProgram(PathBuf),
    /// A program that tools could have written.
    #[error("{0:?} lies in the workspace, where tools can change it, so it is not started")]
    InWorkspace(PathBuf),
}

/// Resolves a command under a mode and its list. The list is looked at here a second time, after policy:
/// a permit for something else does not start this.
pub fn prepare(
    mode: SandboxMode,
    allowed: &[String],
    workspace: &Path,
    argv: Vec<String>,
    cwd: Option<String>,
) -> Result<Prepared, CommandRefused> {
    let name = argv.first().filter(|name| !name.is_empty());
    let name = name.ok_or(CommandRefused::Empty)?.clone();
    match mode {
        SandboxMode::Strict => return Err(CommandRefused::Strict),
        SandboxMode::Moderate if !allowed.contains(&name) => {
            return Err(CommandRefused::NotAllowed(name));
        }
        SandboxMode::Moderate | SandboxMode::Permissive => {}
    }
    let program = resolve(&name)?;
    let inside = workspace.canonicalize();
    if inside.is_ok_and(|workspace| program.starts_with(workspace)) {
        return Err(CommandRefused::InWorkspace(program));
    }
    let job = CommandJob::new(&program, argv, cwd)
        .map_err(|_| CommandRefused::NoProgram(program.clone()))?;
    // Of the list, what is not installed cannot be started anyway.
    let listed = allowed.iter().filter_map(|name| resolve(name).ok());
    let mut programs: Vec<PathBuf> = listed.chain([program]).collect();
    let interpreters: Vec<_> = programs.iter().flat_map(|p| interpreters(p)).collect();
    programs.extend(interpreters);
    programs.sort();
    programs.dedup();
    Ok(Prepared { job, programs })
}

/// The real path of a program.
fn resolve(name: &str) -> Result<PathBuf, CommandRefused> {
    let found = if name.contains('/') {
        if !name.starts_with('/') {
            return Err(CommandRefused::Relative(name.to_owned()));
        }
        Path::new(name).canonicalize().ok()
    } else {
        let mut places = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
        places.find_map(|place| place.canonicalize().ok())
    };
    let found = found.ok_or_else(|| CommandRefused::NotFound(name.to_owned()))?;
    let can_start = std::fs::metadata(&found)
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    if can_start {
        Ok(found)
    } else {
        Err(CommandRefused::NoProgram(found))
    }
}

/// What a script names in its first line: the kernel starts that too. Behind `env` stands a program by name.
fn interpreters(program: &Path) -> Vec<PathBuf> {
    let Ok(file) = std::fs::File::open(program) else {
        return Vec::new();
    };
    let mut line = Vec::new();
    let mut start = BufReader::new(file.take(256));
    if start.read_until(b'\n', &mut line).is_err() || !line.starts_with(b"#!") {
        return Vec::new();
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    let mut words = line.trim_start_matches("#!").split_whitespace();
    let Some(first) = words.next().and_then(|word| resolve(word).ok()) else {
        return Vec::new();
    };
    let by_env = first.file_name().is_some_and(|name| name == "env");
    let second = words.next().filter(|_| by_env);
    let second = second.and_then(|word| resolve(word).ok());
    [first].into_iter().chain(second).collect()
}

/// The argv and folder of a valid call.
pub(crate) fn asked(arguments: &Map<String, Value>) -> (Vec<String>, Option<String>) {
    let argv = arguments.get("command").and_then(Value::as_array);
    let argv = argv.into_iter().flatten().filter_map(Value::as_str);
    let cwd = arguments.get("cwd").and_then(Value::as_str);
    (argv.map(str::to_owned).collect(), cwd.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_it(
        mode: SandboxMode,
        allowed: &[&str],
        argv: &[&str],
    ) -> Result<Prepared, CommandRefused> {
        let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        let argv = argv.iter().map(ToString::to_string).collect();
        prepare(mode, &allowed, Path::new("/nonexistent"), argv, None)
    }

    #[test]
    fn a_listed_name_is_found_by_us_and_not_by_path() {
        let prepared = try_it(SandboxMode::Moderate, &["ls"], &["ls", "-l"]).unwrap();
        assert!(prepared.job.program.is_absolute());
        assert_eq!(prepared.job.argv, ["ls", "-l"]);
        assert!(prepared.programs.contains(&prepared.job.program));
    }

    #[test]
    fn strict_starts_nothing_even_when_listed() {
        let refused = try_it(SandboxMode::Strict, &["ls"], &["ls"]).unwrap_err();
        assert_eq!(refused, CommandRefused::Strict);
    }

    #[test]
    fn moderate_starts_what_is_listed_by_its_whole_name() {
        for argv in [
            &["id"][..],
            &["/bin/ls"],
            &["./ls"],
            &["ls;id"],
            &["ls "],
            &["LS"],
            &["\u{217c}s"],
        ] {
            let refused = try_it(SandboxMode::Moderate, &["ls"], argv).unwrap_err();
            assert_eq!(refused, CommandRefused::NotAllowed(argv[0].to_owned()));
        }
        for argv in [&[][..], &[""]] {
            let refused = try_it(SandboxMode::Moderate, &["ls", ""], argv).unwrap_err();
            assert_eq!(refused, CommandRefused::Empty);
        }
    }

    #[test]
    fn a_relative_path_is_never_a_program() {
        let refused = try_it(SandboxMode::Permissive, &[], &["./ls"]).unwrap_err();
        assert_eq!(refused, CommandRefused::Relative("./ls".to_owned()));
        let refused = try_it(SandboxMode::Permissive, &[], &["no-such-program"]).unwrap_err();
        assert_eq!(
            refused,
            CommandRefused::NotFound("no-such-program".to_owned())
        );
    }

    #[test]
    fn a_program_in_the_workspace_is_not_started() {
        let dir = tempfile::tempdir().unwrap();
        let tool = dir.path().canonicalize().unwrap().join("tool");
        std::fs::copy("/bin/true", &tool).unwrap();
        let name = tool.to_str().unwrap().to_owned();
        let refused = prepare(
            SandboxMode::Moderate,
            std::slice::from_ref(&name),
            dir.path(),
            vec![name.clone()],
            None,
        );
        assert_eq!(refused.unwrap_err(), CommandRefused::InWorkspace(tool));
    }

    #[test]
    fn a_script_brings_its_interpreter_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        std::fs::write(&script, "#!/bin/sh -e\necho\n").unwrap();
        assert_eq!(interpreters(&script), [resolve("/bin/sh").unwrap()]);
        std::fs::write(&script, "#!/usr/bin/env sh\n").unwrap();
        assert_eq!(
            interpreters(&script),
            [resolve("env").unwrap(), resolve("sh").unwrap()]
        );
        assert!(interpreters(Path::new("/bin/true")).is_empty());
    }
}
