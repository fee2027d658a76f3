//! Who may use what: every role on every route with every method, as one reviewed table; and the
//! description of the API, as it is committed.

use serde_json::Value;
use std::fmt::Write as _;
use std::process::Command;
use testkit::{Call, Gateway, Home, Upstream, binary};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A gateway on which no limit is in the way: each request comes, as its proxy says, from another
/// address.
fn gateway() -> Gateway {
    unlimited(Home::new())
}

fn unlimited(home: Home) -> Gateway {
    home.set("gateway.security.rateLimit.enabled", "false");
    home.set("gateway.trustedProxies", r#"["127.0.0.0/8"]"#);
    home.start()
}

fn described(gateway: &Gateway) -> Value {
    let answer = gateway.ask(Call::get("/openapi.json"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Compares a text with the committed one; `UPDATE_REFERENCE=1` writes it.
fn same_as_committed(path: &str, now: &str) {
    let file = binary::checkout().join(path);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&file, now).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == now,
        "{path} is not what the gateway does now; if the change is meant, run the tests with UPDATE_REFERENCE=1 and review it:\n{now}"
    );
}

#[test]
fn every_role_on_every_route_with_every_method() {
    let gateway = gateway();
    let scopes = ["chat", "tools", "read", "audit", "admin"];
    let mut roles = vec![
        ("nobody", String::new()),
        ("made up", "cb-prod-aaaaaaaaaaaa.bbbb".to_owned()),
        ("revoked", gateway.home.token("admin")),
    ];
    let id = roles[2].1.split(['-', '.']).nth(2).unwrap().to_owned();
    let _ = gateway.home.run(&["tokens", "revoke", &id]).ok("revoke");
    roles.extend(scopes.map(|scope| (scope, gateway.home.token(scope))));
    let mut paths = described(&gateway)["paths"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect::<Vec<_>>();
    paths.push("/nowhere".to_owned());
    let mut table = "What becomes of a request, by route, method and the one scope its token has. `in`: the handler runs.\n\n".to_owned();
    let mut asked = 0_u32;
    for path in &paths {
        for method in METHODS {
            let mut row = Vec::new();
            for (role, token) in &roles {
                asked += 1;
                let from = std::net::Ipv4Addr::from_bits(0x0a00_0000 + asked).to_string();
                let target = path.replace("{id}", "aaaaaaaaaaaa");
                let mut call = Call::new(method, &target).header("x-forwarded-for", &from);
                if !token.is_empty() {
                    call = call.bearer(token);
                }
                if method == "POST" {
                    // No body that anything could come of.
                    call = call.header("content-type", "application/json").body(b"[]");
                }
                let answer = call.send(gateway.port);
                let code = answer.json()["error"]["code"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                let word = match (answer.status, code.as_str()) {
                    (401, _) if method == "POST" && path == "/setup" => "in".to_owned(),
                    (401, _) => "401".to_owned(),
                    (403, "scope_missing") => "403".to_owned(),
                    (404, "not_found") => "404".to_owned(),
                    (405, _) => "405".to_owned(),
                    // A HEAD has no body to tell by.
                    (status @ (403 | 404), _) if method == "HEAD" => status.to_string(),
                    _ => "in".to_owned(),
                };
                row.push(format!("{role} {word}"));
            }
            let _ = writeln!(table, "{method:<7} {path:<24} {}", row.join(", "));
        }
    }
    same_as_committed("docs/reference/routes.txt", &table);
}

#[test]
fn the_description_of_the_api_is_the_committed_one() {
    let text = serde_json::to_string_pretty(&described(&gateway())).unwrap();
    same_as_committed("docs/reference/openapi.json", &format!("{text}\n"));
}

/// Every operation, with what its schema allows and with what it does not: no answer that the
/// description does not know, no broken input taken, no 500.
#[test]
fn the_api_behaves_as_it_is_described() {
    // A token that is revoked on the way, its own among them, is no fault; and who has failed to
    // authenticate ten times hears 429, which the table of roles looks at with other addresses.
    let never = "use_after_free,ensure_resource_availability,ignored_auth,missing_required_header";
    probe(&[
        "--include-path-regex",
        "^/tokens",
        "--exclude-checks",
        never,
    ]);
    // No schema can say which models and tools there are. (On another gateway: the first may have
    // been asked to revoke the very token of the tester.)
    let here = format!("{never},positive_data_acceptance");
    probe(&[
        "--exclude-path-regex",
        // To be stopped is what the last of them asks for.
        "^/(tokens|gateway/stop)",
        "--exclude-checks",
        &here,
    ]);
}

/// The same where there is a model: requests reach it, and its answers come back. What a provider
/// would take is for the provider to say: a relay refuses only what cannot be read, or does harm.
#[test]
fn the_model_routes_behave_as_they_are_described_when_a_provider_answers() {
    let upstream = Upstream::saying("yes");
    probe_on(
        &unlimited(Home::with_upstream(&upstream)),
        &[
            "--include-path-regex",
            "^/v1/",
            "--exclude-checks",
            "use_after_free,ensure_resource_availability,ignored_auth,missing_required_header,positive_data_acceptance,negative_data_rejection",
        ],
    );
    assert!(!upstream.seen().is_empty(), "the control: some got through");
}

fn probe(args: &[&str]) {
    probe_on(&gateway(), args);
}

fn probe_on(gateway: &Gateway, args: &[&str]) {
    // It keeps what it found beside itself, and tries it again the next time.
    let scratch = tempfile::tempdir().unwrap();
    let program = binary::checkout().join(".venv/bin/schemathesis");
    let ran = Command::new(program)
        .current_dir(scratch.path())
        .args([
            "run",
            &format!("http://127.0.0.1:{}/openapi.json", gateway.port),
        ])
        .args([
            "--header",
            &format!("Authorization: Bearer {}", gateway.token),
        ])
        .args([
            "--max-examples",
            "20",
            "--seed",
            "1",
            "--no-color",
            "--request-timeout",
            "30",
        ])
        .args(["--generation-database", "none"])
        .args(args)
        .output()
        .expect("schemathesis is installed in .venv; ./test does it");
    assert!(
        ran.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}
