//! `clawdbot backup`, and what must not come back with one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use testkit::{Home, Ran};

const SECRET: &str = "sk-ant-canary-0123456789abcdefghijklmnop";
/// sysexits: bad data, try again, refused.
const BAD_DATA: i32 = 65;
const TRY_AGAIN: i32 = 75;
const REFUSED: i32 = 77;

fn lived_in() -> Home {
    let home = Home::new();
    home.set("gateway.security.rateLimit.maxRequests", "77");
    let paste = ["models", "auth", "paste-token", "--provider", "anthropic"];
    let _ = home.run_with_input(&paste, SECRET).ok("paste-token");
    fs::create_dir_all(home.workspace().join("deep/er")).unwrap();
    fs::write(home.workspace().join("deep/er/file.txt"), "kept").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", home.workspace().join("link")).unwrap();
    home
}

fn backup_of(home: &Home, to: &Path) -> PathBuf {
    let file = to.join("home.backup");
    let _ = home
        .run(&["backup", "create", file.to_str().unwrap()])
        .ok("create");
    file
}

fn restore(home: &Home, file: &Path, more: &[&str]) -> Ran {
    let args = ["backup", "restore", file.to_str().unwrap()];
    home.run(&[args.as_slice(), more].concat())
}

#[test]
fn settings_credentials_and_workspace_come_back_in_another_home_with_the_key() {
    let (first, second) = (lived_in(), Home::new());
    let dir = tempfile::tempdir().unwrap();
    let file = backup_of(&first, dir.path());
    let restored = restore(&second, &file, &[]).ok("restore");
    assert!(restored.err.contains("stay sealed"), "{}", restored.err);
    let get = ["config", "get", "gateway.security.rateLimit.maxRequests"];
    assert_eq!(second.run(&get).ok("get").out.trim(), "77");
    let kept = fs::read_to_string(second.workspace().join("deep/er/file.txt"));
    assert_eq!(kept.unwrap(), "kept");
    assert!(
        !second.workspace().join("link").exists(),
        "a link is not taken"
    );
    // The key is carried by hand, and then it opens.
    fs::copy(
        first.path().join("secrets/vault.key"),
        second.path().join("secrets/vault.key"),
    )
    .unwrap();
    let list = second.run(&["models", "auth", "list"]).ok("list");
    assert!(list.out.contains("anthropic"), "{}", list.out);
    assert!(!list.err.contains("locked"), "{}", list.err);
    for event in ["security.backup.restored", "security.config.changed"] {
        assert!(!second.audit().of(event).is_empty(), "{event}");
    }
}

#[test]
fn a_backup_holds_no_secret_no_token_and_no_key() {
    let home = lived_in();
    let token = home.token("admin");
    let dir = tempfile::tempdir().unwrap();
    let file = backup_of(&home, dir.path());
    let bytes = fs::read(&file).unwrap();
    let holds = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    assert!(holds(b"deep/er/file.txt"), "the harness sees what is there");
    assert!(!holds(SECRET.as_bytes()));
    let id = token.split('.').next().unwrap().rsplit('-').next().unwrap();
    assert!(!holds(id.as_bytes()), "not even the id of a token");
    for secret in ["vault.key", "pepper", "operator.token", "audit.key"] {
        if let Ok(key) = fs::read(home.path().join("secrets").join(secret)) {
            assert!(!holds(key.trim_ascii()), "{secret}");
        }
    }
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let again = home.run(&["backup", "create", file.to_str().unwrap()]);
    assert_ne!(again.code, 0, "never over another file");
}

#[test]
fn a_revoked_token_stays_revoked_whatever_is_restored() {
    let home = lived_in();
    let token = home.token("read");
    let dir = tempfile::tempdir().unwrap();
    let file = backup_of(&home, dir.path());
    let id = token.split('.').next().unwrap().rsplit('-').next().unwrap();
    let _ = home.run(&["tokens", "revoke", id]).ok("revoke");
    let _ = restore(&home, &file, &["--replace"]).ok("restore");
    let gateway = home.start();
    let asked = gateway.ask(testkit::Call::get("/status").bearer(&token));
    assert_eq!(asked.status, 401);
}

#[test]
fn what_is_here_gives_way_only_when_told_and_nothing_while_a_gateway_runs() {
    let home = lived_in();
    let dir = tempfile::tempdir().unwrap();
    let file = backup_of(&home, dir.path());
    fs::write(home.workspace().join("newer.txt"), "newer").unwrap();
    assert_eq!(restore(&home, &file, &[]).code, REFUSED);
    assert!(home.workspace().join("newer.txt").exists());
    let _ = restore(&home, &file, &["--replace"]).ok("restore");
    assert!(!home.workspace().join("newer.txt").exists());
    let aside = fs::read_dir(home.path())
        .unwrap()
        .map(|e| e.unwrap().path());
    let aside = aside.filter(|path| path.to_string_lossy().contains("workspace.before-"));
    let kept: Vec<_> = aside
        .filter(|path| path.join("newer.txt").exists())
        .collect();
    assert_eq!(kept.len(), 1, "what gave way is kept");
}

#[test]
fn a_backup_that_was_touched_changes_nothing() {
    let home = lived_in();
    let dir = tempfile::tempdir().unwrap();
    let file = backup_of(&home, dir.path());
    let whole = fs::read(&file).unwrap();
    let other = Home::new();
    let untouched = |what: &str| {
        let touched = restore(&other, &file, &[]);
        assert_eq!(
            touched.code, BAD_DATA,
            "{what}: {}{}",
            touched.out, touched.err
        );
        let get = ["config", "get", "gateway.security.rateLimit.maxRequests"];
        assert_eq!(other.run(&get).ok("get").out.trim(), "100", "{what}");
        assert!(!other.workspace().join("deep").exists(), "{what}");
    };
    let find = |what: &[u8]| whole.windows(what.len()).position(|w| w == what).unwrap();
    for (what, at) in [
        ("a setting", find(b"\"maxRequests\": 77")),
        ("a list", find(b"sha256")),
        ("a file", find(b"kept")),
    ] {
        let mut bytes = whole.clone();
        bytes[at + 1] ^= 1;
        fs::write(&file, bytes).unwrap();
        untouched(what);
    }
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    untouched("half of it");
    fs::write(&file, &whole).unwrap();
    let wrong = restore(&other, &file, &["--sha256", &"0".repeat(64)]);
    assert_eq!(wrong.code, BAD_DATA);
}

/// An archive as an attacker makes it: a list that is right, and a name that leads out.
fn forged(file: &Path, name: &str, kind: &str) {
    let script = r#"
import hashlib, io, json, sys, tarfile
path, name, kind = sys.argv[1:]
data = b"owned"
entry = dict(path=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
if kind != "file":
    entry.update(bytes=0, sha256=hashlib.sha256(b"").hexdigest())
listing = json.dumps(dict(format=1, version="x", made="x", files=[entry])).encode()
with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
    info = tarfile.TarInfo("manifest.json"); info.size = len(listing)
    archive.addfile(info, io.BytesIO(listing))
    info = tarfile.TarInfo(name)
    if kind == "file":
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    else:
        info.type = tarfile.SYMTYPE if kind == "symlink" else tarfile.LNKTYPE
        info.linkname = "/etc/passwd"
        archive.addfile(info)
"#;
    let made = std::process::Command::new("python3")
        .args(["-c", script, file.to_str().unwrap(), name, kind])
        .status()
        .unwrap();
    assert!(made.success());
}

#[test]
fn a_name_that_has_no_place_in_a_backup_is_not_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("forged");
    let ours = Home::new();
    for (name, kind) in [
        ("../../outside", "file"),
        ("workspace/../../outside", "file"),
        ("/tmp/clawdbot-outside", "file"),
        ("secrets/pepper", "file"),
        ("state/tokens.db", "file"),
        ("logs/audit-00000000000000000000.jsonl", "file"),
        ("workspace", "file"),
        ("workspace/link", "symlink"),
        ("workspace/link", "hardlink"),
    ] {
        forged(&file, name, kind);
        let ran = restore(&ours, &file, &[]);
        assert_eq!(ran.code, BAD_DATA, "{name}: {}{}", ran.out, ran.err);
    }
    assert!(!Path::new("/tmp/clawdbot-outside").exists());
    // The same forgery with a name that is ours is taken: the forger can write an archive.
    forged(&file, "workspace/inside", "file");
    let _ = restore(&ours, &file, &[]).ok("restore");
    assert_eq!(
        fs::read_to_string(ours.workspace().join("inside")).unwrap(),
        "owned"
    );
}

#[test]
fn nothing_is_restored_under_a_running_gateway() {
    let home = lived_in();
    let dir = tempfile::tempdir().unwrap();
    let file = backup_of(&home, dir.path());
    // Whatever listens there: the check does not ask who it is.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    home.set("gateway.port", &port.to_string());
    assert_eq!(restore(&home, &file, &["--replace"]).code, TRY_AGAIN);
}
