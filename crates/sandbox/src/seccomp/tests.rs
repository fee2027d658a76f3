//! The compiled trees against the tables, against seccompiler as an oracle, and against attacks.

use super::interpreter::{Call, run};
use super::rule::Rule;
use super::tree::THIS_ARCHITECTURE;
use super::{Held, builtin, command, program, rules};
use crate::confinement::Network;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

const ALL: [Held; 4] = [
    Held::Builtin,
    Held::Warden,
    Held::Command(Network::Denied),
    Held::Command(Network::Inherited),
];
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL: u32 = 0x8000_0000;

fn answer(held: Held, number: u32, arguments: [u64; 6]) -> u32 {
    let call = Call {
        number,
        architecture: THIS_ARCHITECTURE,
        arguments,
    };
    run(program(held), &call)
}

/// The same table, compiled by somebody else. Rules with an answer of their own are left to other tests.
fn oracle(held: Held) -> BpfProgram {
    let equal = |argument: u32, value: u32| {
        SeccompCondition::new(argument as u8, Len::Dword, Op::Eq, value.into()).unwrap()
    };
    let clear = |argument: u32, bits: u32| {
        SeccompCondition::new(argument as u8, Len::Dword, Op::MaskedEq(bits.into()), 0).unwrap()
    };
    let rule = |conditions| SeccompRule::new(conditions).unwrap();
    let mut table = BTreeMap::new();
    for (number, said) in rules(held) {
        let judged = match said {
            Rule::Allow => vec![],
            Rule::OneOf(argument, values) => values
                .iter()
                .map(|v| rule(vec![equal(argument, *v)]))
                .collect(),
            Rule::NoBits(argument, bits) => vec![rule(vec![clear(argument, bits)])],
            Rule::Open { flags, mode } => vec![
                rule(vec![clear(flags, 0o100 | 0o2000_0000)]),
                rule(vec![clear(mode, 0o6000)]),
            ],
            Rule::Errno(_) | Rule::OnlyNull(_) => continue,
        };
        table.insert(i64::from(number), judged);
    }
    let (no, yes) = (SeccompAction::Errno(1), SeccompAction::Allow);
    let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let filter = SeccompFilter::new(table, no, yes, arch).unwrap();
    filter.try_into().unwrap()
}

#[test]
fn every_call_number_is_answered_as_seccompiler_answers_it() {
    // Zeros, ones, and every value that a rule of ours looks for.
    let mut words = vec![
        0,
        1,
        2,
        4,
        0o6000,
        0o4000,
        0o100,
        u64::from(u32::MAX),
        0x1000_0000,
    ];
    for held in ALL {
        for rule in rules(held).values() {
            if let Rule::OneOf(_, values) = rule {
                words.extend(values.iter().map(|v| u64::from(*v)));
            }
        }
    }
    words.sort_unstable();
    words.dedup();
    for held in ALL {
        let (ours, table) = (program(held), rules(held));
        let theirs: Vec<libc::sock_filter> = oracle(held)
            .iter()
            .map(|s| libc::sock_filter {
                code: s.code,
                jt: s.jt,
                jf: s.jf,
                k: s.k,
            })
            .collect();
        for number in 0..600 {
            if let Some(Rule::Errno(_) | Rule::OnlyNull(_)) = table.get(&number) {
                continue;
            }
            for word in &words {
                let call = Call {
                    number,
                    architecture: THIS_ARCHITECTURE,
                    arguments: [*word; 6],
                };
                let (ours, theirs) = (run(ours, &call), run(&theirs, &call));
                assert_eq!(ours, theirs, "{held:?}: call {number} with {word:#x}");
            }
        }
    }
}

#[test]
fn calls_in_another_numbering_are_no_way_round() {
    for held in ALL {
        let call = Call {
            number: 1,
            architecture: 0x4000_0003,
            arguments: [0; 6],
        };
        assert_eq!(run(program(held), &call), KILL, "32-bit, {held:?}");
        for number in [0x4000_0000, 0x4000_003b, u32::MAX] {
            assert_eq!(answer(held, number, [0; 6]), ENOSYS, "x32, {held:?}");
        }
    }
}

#[test]
fn calls_that_fail_softly_do_what_callers_expect() {
    let command = Held::Command(Network::Denied);
    assert_eq!(answer(command, libc::SYS_clone3 as u32, [0; 6]), ENOSYS);
    assert_eq!(answer(command, libc::SYS_openat2 as u32, [0; 6]), ENOSYS);
    let chmod = libc::SYS_fchmodat as u32;
    assert_eq!(
        answer(command, chmod, [0; 6]),
        0x0005_0000,
        "looks like success"
    );
    let times = libc::SYS_utimensat as u32;
    assert_eq!(answer(command, times, [0; 6]), ALLOW, "an open file");
    for path in [1, 0x1_0000_0000] {
        let arguments = [0, path, 0, 0, 0, 0];
        assert_eq!(answer(command, times, arguments), 0x0005_0000, "by path");
    }
}

#[test]
fn no_filter_lets_a_namespace_a_socket_or_a_setuid_file_through() {
    for held in ALL {
        for flag in [0x80, 0x2_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000_u64] {
            let said = answer(held, libc::SYS_clone as u32, [flag | 0x11, 0, 0, 0, 0, 0]);
            assert_eq!(said, EPERM, "{held:?} clone {flag:#x}");
        }
        let create = [0, 0, 0o101, 0o4755, 0, 0];
        let said = answer(held, libc::SYS_openat as u32, create);
        assert_eq!(said, EPERM, "{held:?} openat with a setuid bit");
    }
    for held in [Held::Builtin, Held::Warden, Held::Command(Network::Denied)] {
        for family in 0..50 {
            let said = answer(held, libc::SYS_socket as u32, [family, 1, 0, 0, 0, 0]);
            assert_eq!(said, EPERM, "{held:?} socket {family}");
        }
    }
}

#[test]
fn every_rule_says_why() {
    let tables = [
        builtin::GROUPS,
        builtin::WARDEN,
        command::GROUPS,
        command::LEGACY,
    ];
    for group in tables
        .into_iter()
        .chain([command::INHERITED_NETWORK])
        .flatten()
    {
        assert!(!group.why.is_empty(), "{group:?}");
    }
}

#[test]
fn a_filter_stays_small_enough_to_load_in_microseconds() {
    for held in ALL {
        assert!(
            program(held).len() < 500,
            "{held:?}: {}",
            program(held).len()
        );
    }
}
