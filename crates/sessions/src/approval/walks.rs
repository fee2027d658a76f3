//! Random walks over the store beside a model of what may be: whatever is asked, decided, presented, cut
//! short and started anew, in whatever order, a call is let through once for each yes, and only that call.

use super::tests::{at, request};
use super::*;
use clawdbot_domain::ToolName;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Step {
    Ask(usize),
    Decide(usize, bool),
    /// Which approval is presented with which call; `None`: with its own.
    Spend(usize, Option<usize>),
    End(usize),
    Pass(u64),
    Back(u64),
    Restart,
}

/// Calls that differ in one thing each: arguments, token, session, tool.
fn calls() -> Vec<Request> {
    let mut calls = vec![
        request("x"),
        request("y"),
        request("x"),
        request("x"),
        request("x"),
    ];
    calls[2].token = TokenId::new("t2");
    calls[3].session = None;
    calls[4].call.name = ToolName::parse("edit_file").unwrap();
    calls
}

fn step() -> impl Strategy<Value = Step> {
    // Most steps are about approvals that may still count; what ends them all is rare.
    prop_oneof![
        8 => (0..5usize).prop_map(Step::Ask),
        16 => (any::<usize>(), proptest::bool::weighted(0.8)).prop_map(|(nth, yes)| Step::Decide(nth, yes)),
        16 => any::<usize>().prop_map(|nth| Step::Spend(nth, None)),
        16 => (any::<usize>(), 0..5usize).prop_map(|(nth, call)| Step::Spend(nth, Some(call))),
        1 => (0..2usize).prop_map(Step::End),
        4 => (1..150u64).prop_map(Step::Pass),
        2 => (1..20u64).prop_map(Step::Back),
        2 => Just(Step::Restart),
    ]
}

/// What may be, in the plainest terms.
#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "the plainest terms there are"
)]
struct Known {
    call: usize,
    asked: u64,
    /// Seen to be over, or void: that stays, whatever the clock says later.
    over: bool,
    given: bool,
    decided: bool,
    spent: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_call_is_let_through_once_for_each_yes_whatever_happens_in_between(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("secrets")).unwrap();
        let open = || SessionStore::open(&dir.path().join("state"), &dir.path().join("secrets")).unwrap();
        let (calls, mut store, mut second) = (calls(), open(), 1_000_u64);
        let mut ids: Vec<ApprovalId> = Vec::new();
        let mut known: BTreeMap<usize, Known> = BTreeMap::new();
        for step in steps {
            let now = at(second);
            // Every look at the store marks what is over, for good.
            let look = |known: &mut BTreeMap<usize, Known>| {
                for one in known.values_mut() {
                    one.over |= second >= one.asked + 300 || one.asked > second + 5;
                }
            };
            match step {
                Step::Ask(call) => {
                    let asked = store.draft(calls[call].clone(), now).unwrap();
                    store.ask(&asked, None, now).unwrap();
                    look(&mut known);
                    known.insert(ids.len(), Known {
                        call, asked: second, over: false, given: false, decided: false, spent: false,
                    });
                    ids.push(asked.id);
                }
                Step::Decide(nth, yes) => {
                    let Some(nth) = nth.checked_rem(ids.len()) else { continue };
                    let id = &ids[nth];
                    let did = store.decide(id, yes, "me", now).is_ok();
                    look(&mut known);
                    let one = known.get_mut(&nth).unwrap();
                    prop_assert_eq!(did, !one.decided && !one.over);
                    if did {
                        (one.decided, one.given) = (true, yes);
                    }
                }
                Step::Spend(nth, call) => {
                    let Some(nth) = nth.checked_rem(ids.len()) else { continue };
                    let id = &ids[nth];
                    let call = call.unwrap_or(known[&nth].call);
                    let did = store.spend(id, &calls[call], now);
                    look(&mut known);
                    let one = known.get_mut(&nth).unwrap();
                    let may = one.given && !one.spent && !one.over && one.call == call;
                    prop_assert_eq!(did.is_ok(), may, "{:?} {:?}", did, one);
                    one.spent |= may;
                }
                Step::End(which) => {
                    // Sessions come from elsewhere; what hangs on their name is void all the same.
                    let name = ["ses_1", "ses_2"][which];
                    store.database().write(Durability::Full, |tx| crate::session::forget(tx, name)).unwrap();
                    for one in known.values_mut() {
                        let here = calls[one.call].session.as_ref().is_some_and(|s| s.as_str() == name);
                        one.over |= here;
                    }
                }
                Step::Pass(seconds) => second += seconds,
                Step::Back(seconds) => second -= seconds.min(second - 1),
                Step::Restart => store = open(),
            }
        }
    }
}
