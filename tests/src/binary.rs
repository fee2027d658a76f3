//! Where the binary under test is.

use std::path::PathBuf;

/// `$CLAWDBOT_BIN`, else the binary that was built beside the running test.
///
/// # Panics
/// When there is none, with the command that builds it.
pub fn clawdbot() -> PathBuf {
    if let Some(given) = std::env::var_os("CLAWDBOT_BIN") {
        let path = PathBuf::from(given);
        assert!(
            path.is_file(),
            "CLAWDBOT_BIN names {}, which is no file",
            path.display()
        );
        return path;
    }
    // target/<profile>/deps/suite-… → target/<profile>/clawdbot
    let test = std::env::current_exe().expect("a running test knows its own path");
    let beside = test
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("clawdbot"));
    let found = beside.clone().find(|path| path.is_file());
    found.unwrap_or_else(|| {
        let looked = beside
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>();
        panic!(
            "the binary under test is not built (looked for {}); build it: cargo build -p clawdbot",
            looked.join(" and ")
        )
    })
}

/// The root of the checkout.
pub fn checkout() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("tests/ stands in the checkout")
        .to_owned()
}
