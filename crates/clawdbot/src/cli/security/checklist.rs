//! `clawdbot security checklist`: the security guide's checklist.

use super::effective::Effective;
use super::upkeep::{self, Upkeep};
use super::{BAD, CheckArgs, DIM, DOUBT, GOOD, HEAD, json_text, permissions};
use crate::cli::{CliResult, Exit};
use crate::home::Home;
use crate::say;
use clawdbot_config::{Cors, KEYS, Settings, show, weakening};
use clawdbot_domain::UnixTime;
use serde::Serialize;
use serde_json::json;

/// One item of the initial setup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Item {
    pub(super) id: &'static str,
    #[serde(rename = "item")]
    pub(super) title: &'static str,
    pub(super) ok: bool,
    /// What is in force.
    pub(super) found: String,
    /// The commands that mend it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) mend: Vec<String>,
}

/// An item and the settings it is about: it fails when one of them is weaker than its default.
struct About {
    id: &'static str,
    item: &'static str,
    keys: &'static [&'static str],
}

const SETTINGS: [About; 7] = [
    About {
        id: "sandbox",
        item: "Sandbox enabled and set to strict mode",
        keys: &["gateway.sandbox.enabled", "gateway.sandbox.mode"],
    },
    About {
        id: "bind",
        item: "Gateway bound to localhost only",
        keys: &["gateway.bind"],
    },
    About {
        id: "cors",
        item: "CORS disabled or strictly configured",
        // On or off, it holds: no origin is taken that is not exact and either https or of this machine, by
        // whatever door it comes.
        keys: &[],
    },
    About {
        id: "rate-limit",
        item: "Rate limiting enabled",
        keys: &[
            "gateway.security.rateLimit.enabled",
            "gateway.security.rateLimit.maxRequests",
            "gateway.security.rateLimit.windowMs",
        ],
    },
    About {
        id: "audit",
        item: "Audit logging enabled",
        keys: &[
            "gateway.audit.enabled",
            "gateway.audit.logLevel",
            "gateway.audit.logRequests",
            "gateway.audit.logTools",
        ],
    },
    About {
        id: "prompt-injection",
        item: "Prompt injection protection enabled",
        keys: &[
            "gateway.security.promptInjection.enabled",
            "gateway.security.promptInjection.strictMode",
        ],
    },
    About {
        id: "tool-policy",
        item: "Tool policy set to restrictive",
        keys: &["gateway.tools.policy"],
    },
];

/// The items that settings decide. `mend` says how a key is set to a value.
pub(super) fn of_settings(settings: &Settings, mend: impl Fn(&str, &str) -> String) -> Vec<Item> {
    let weaker = weakening(&Settings::default(), settings);
    let values = clawdbot_config::Values::from(settings);
    let item = |about: &About| {
        let wrong: Vec<_> = weaker
            .iter()
            .filter(|c| about.keys.contains(&c.key))
            .collect();
        let keys = KEYS.iter().filter(|key| about.keys.contains(&key.name()));
        let mut found: Vec<String> = keys
            .map(|key| {
                let short = key.name().strip_prefix("gateway.").unwrap_or(key.name());
                format!("{short} {}", show(&key.read(&values)))
            })
            .collect();
        if let ("cors", cors) = (about.id, &settings.gateway.cors) {
            found.push(match cors {
                Cors::Disabled => "off".to_owned(),
                Cors::Allow(origins) => {
                    format!("exactly {} origins: {}", origins.len(), origins.join(", "))
                }
            });
        }
        Item {
            id: about.id,
            title: about.item,
            ok: wrong.is_empty(),
            found: found.join(", "),
            mend: wrong
                .iter()
                .map(|change| mend(change.key, &change.from))
                .collect(),
        }
    };
    SETTINGS.iter().map(item).collect()
}

/// Tokens are kept as tags, never as text; what makes and checks them must be the owner's alone.
fn setup_tokens(home: &Home) -> Item {
    let open = permissions::open_secrets(home);
    Item {
        id: "setup-tokens",
        title: "Setup tokens stored securely",
        ok: open.is_empty(),
        found: if open.is_empty() {
            "kept as a tag for 15 minutes and one use; the keys are this user's alone".to_owned()
        } else {
            format!("others may read {}", open.join(", "))
        },
        mend: if open.is_empty() {
            Vec::new()
        } else {
            vec!["clawdbot security audit --fix".to_owned()]
        },
    }
}

pub(super) fn run(args: &CheckArgs, home: &Home) -> CliResult {
    let effective = Effective::of(home, args.port)?;
    let mut items = of_settings(&effective.settings, |key, value| effective.mend(key, value));
    items.push(setup_tokens(home));
    if let Some(part) = failing_parts(&effective) {
        items
            .iter_mut()
            .filter(|item| part.contains(&item.id))
            .for_each(|item| {
                item.ok = false;
                item.found
                    .push_str("; the running gateway says that it does not work");
                item.mend.push("clawdbot doctor".to_owned());
            });
    }
    let upkeep = upkeep::all(home, UnixTime::now())?;
    let failed = items.iter().filter(|item| !item.ok).count();
    let due = upkeep.iter().filter(|item| item.due).count();
    if args.json {
        say!(
            "{}",
            json_text(&json!({
                "source": effective.source_json(), "setup": items, "maintenance": upkeep,
                "failed": failed, "due": due,
            }))?
        );
    } else {
        page(&effective, &items, &upkeep);
        say!("");
        if failed + due == 0 {
            say!("{GOOD}all of it holds{GOOD:#}");
        } else {
            let all = items.len();
            say!("{BAD}{failed} of {all} items fail, {due} are due{BAD:#}");
        }
    }
    Ok(if failed + due == 0 {
        Exit::Done
    } else {
        Exit::Found
    })
}

/// The parts of a running gateway that do not work.
fn failing_parts(effective: &Effective) -> Option<Vec<&'static str>> {
    let parts = effective.running.as_ref()?.get("parts")?.as_object()?;
    let broken = |id: &&str| parts.get(*id).is_some_and(|state| state != "ok");
    Some(["audit", "sandbox"].into_iter().filter(broken).collect())
}

fn page(effective: &Effective, items: &[Item], upkeep: &[Upkeep]) {
    say!("{DIM}checked against {}{DIM:#}", effective.source());
    if effective.running.is_some() {
        for key in effective.waiting() {
            say!("{DOUBT}{key} was changed and waits for a restart{DOUBT:#}");
        }
    }
    say!("\n{HEAD}Initial setup{HEAD:#}");
    for item in items {
        mark(item.ok, BAD, item.title, &item.found);
        for command in &item.mend {
            say!("      mend: {command}");
        }
    }
    say!("\n{HEAD}Regular maintenance{HEAD:#}");
    for item in upkeep {
        let open = item.last.is_none() && !item.due;
        if open {
            say!("  [ ] {}  {DIM}{}{DIM:#}", item.item, item.found);
            continue;
        }
        mark(!item.due, DOUBT, item.item, &item.found);
        if item.due {
            say!("      due: {}", item.mend);
        }
    }
}

fn mark(ok: bool, style: clap::builder::styling::Style, item: &str, found: &str) {
    if ok {
        say!("  [{GOOD}x{GOOD:#}] {item}  {DIM}{found}{DIM:#}");
    } else {
        say!("  [ ] {style}{item}{style:#}  {found}");
    }
}

#[cfg(test)]
mod tests {
    use super::{Item, of_settings};
    use clawdbot_config::{Key, Overrides, Settings, SettingsFile};

    fn taken(sets: &[(&str, &str)]) -> Option<Settings> {
        let pairs = sets
            .iter()
            .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
        let overrides = Overrides {
            env: Vec::new(),
            flags: pairs.collect(),
        };
        let nothing = SettingsFile::new("/proc/self/no-settings");
        nothing.load(&overrides).ok().map(|loaded| loaded.settings)
    }

    fn items(sets: &[(&str, &str)]) -> Vec<Item> {
        of_settings(&taken(sets).unwrap(), |key, value| {
            format!("set {key} {value}")
        })
    }

    #[test]
    fn an_empty_file_passes_all_of_it() {
        assert!(items(&[]).iter().all(|item| item.ok), "{:?}", items(&[]));
        assert_eq!(items(&[]).len(), 7);
    }

    #[test]
    fn every_setting_weakened_fails_its_item_alone_and_names_what_mends_it() {
        let cases: [(&str, &[(&str, &str)]); 16] = [
            ("sandbox", &[("gateway.sandbox.enabled", "false")]),
            ("sandbox", &[("gateway.sandbox.mode", "moderate")]),
            ("sandbox", &[("gateway.sandbox.mode", "permissive")]),
            ("bind", &[("gateway.bind", "lan")]),
            ("bind", &[("gateway.bind", "192.0.2.7")]),
            ("bind", &[("gateway.bind", "0.0.0.0")]),
            (
                "rate-limit",
                &[("gateway.security.rateLimit.enabled", "false")],
            ),
            (
                "rate-limit",
                &[("gateway.security.rateLimit.maxRequests", "101")],
            ),
            (
                "rate-limit",
                &[("gateway.security.rateLimit.windowMs", "59999")],
            ),
            ("audit", &[("gateway.audit.enabled", "false")]),
            ("audit", &[("gateway.audit.logRequests", "false")]),
            ("audit", &[("gateway.audit.logTools", "false")]),
            ("audit", &[("gateway.audit.logLevel", "error")]),
            (
                "prompt-injection",
                &[("gateway.security.promptInjection.enabled", "false")],
            ),
            (
                "prompt-injection",
                &[("gateway.security.promptInjection.strictMode", "false")],
            ),
            ("tool-policy", &[("gateway.tools.policy", "whitelist")]),
        ];
        for (id, sets) in cases {
            let all = items(sets);
            let failed: Vec<_> = all.iter().filter(|item| !item.ok).collect();
            let [item] = failed.as_slice() else {
                panic!("{sets:?}: {failed:?}")
            };
            assert_eq!(item.id, id, "{sets:?}");
            // What mends it, when done, mends it.
            let mut mended = sets.to_vec();
            for command in &item.mend {
                let (key, value) = command
                    .strip_prefix("set ")
                    .unwrap()
                    .split_once(' ')
                    .unwrap();
                assert!(Key::find(key).is_some(), "{command}");
                mended.retain(|(name, _)| *name != key);
                mended.push((key, value));
            }
            assert!(
                items(&mended).iter().all(|item| item.ok),
                "{sets:?}: {:?}",
                item.mend
            );
        }
    }

    #[test]
    fn cors_cannot_be_configured_but_strictly() {
        for origins in [
            r#"["*"]"#,
            r#"["null"]"#,
            r#"["http://a.example"]"#,
            r#"["https://a.example/path"]"#,
            r#"["http://localhost.example"]"#,
        ] {
            assert!(
                taken(&[("gateway.cors.allowedOrigins", origins)]).is_none(),
                "{origins}"
            );
        }
    }

    #[test]
    fn what_the_guide_calls_strict_passes() {
        let on = ("gateway.cors.enabled", "true");
        for sets in [
            &[
                on,
                (
                    "gateway.cors.allowedOrigins",
                    r#"["https://trusted-domain.com"]"#,
                ),
            ][..],
            &[
                on,
                (
                    "gateway.cors.allowedOrigins",
                    r#"["http://localhost:3000"]"#,
                ),
            ],
            &[("gateway.bind", "loopback")],
            &[("gateway.bind", "127.0.0.1")],
            &[("gateway.security.rateLimit.maxRequests", "10")],
            &[("gateway.audit.logLevel", "debug")],
        ] {
            assert!(
                items(sets).iter().all(|item| item.ok),
                "{sets:?}: {:?}",
                items(sets)
            );
        }
    }
}
