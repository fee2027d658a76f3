//! A key from a command, such as one that asks the system's keyring:
//! `CLAWDBOT_VAULT_KEY_COMMAND="/usr/bin/secret-tool lookup service clawdbot"`.
//!
//! A keyring's own libraries would bring D-Bus and fifty crates into the process that holds every
//! secret, for a service that hardly any server runs (`docs/design/0005-keys-of-the-vault.md`).

use crate::error::VaultError;
use crate::files::{self, Key};
use std::ffi::OsString;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long the command may take; a keyring may first ask a person to unlock it.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);

/// More than any key's text.
const MOST: u64 = 4096;

/// What the command is given of our environment: what a keyring is found by, and nothing else.
const ENVIRONMENT: [&str; 5] = [
    "HOME",
    "USER",
    "LANG",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// Runs it, without a shell, and reads the key: 64 hexadecimal digits on standard output.
pub(super) fn key(words: &[OsString]) -> Result<Key, VaultError> {
    let wrong =
        |why: String| VaultError::Locked(format!("CLAWDBOT_VAULT_KEY_COMMAND gave no key: {why}"));
    let Some((program, arguments)) = words.split_first() else {
        return Err(wrong("it is empty".to_owned()));
    };
    // Not looked for along a PATH that somebody else may have set.
    if !Path::new(program).is_absolute() {
        return Err(wrong("give the whole path of the program".to_owned()));
    }
    let passed = ENVIRONMENT
        .iter()
        .filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(passed)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.map_err(|e| wrong(e.to_string()))?;
    let ended = wait(&mut child).map_err(|e| wrong(e.to_string()))?;
    if !ended {
        return Err(wrong(format!(
            "it did not end within {} s",
            PATIENCE.as_secs()
        )));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(MOST as usize));
    if let Some(out) = child.stdout.take() {
        let read = out.take(MOST).read_to_end(&mut text);
        read.map_err(|e| wrong(e.to_string()))?;
    }
    let status = child.wait().map_err(|e| wrong(e.to_string()))?;
    if !status.success() {
        return Err(wrong(format!("it ended with {status}")));
    }
    files::decode_key(&text)
        .ok_or_else(|| wrong("its output is not 64 hexadecimal digits".to_owned()))
}

/// True when it ended by itself.
fn wait(child: &mut Child) -> std::io::Result<bool> {
    let give_up = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() >= give_up {
            // It may have ended just now.
            let _ = child.kill();
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
    Ok(true)
}
