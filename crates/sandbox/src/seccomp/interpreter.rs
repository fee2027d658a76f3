//! Runs a seccomp program as the kernel would, for the tests.

use libc::sock_filter;

/// What the kernel shows a filter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) architecture: u32,
    pub(super) arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            8 | 12 => 0,
            _ => {
                let argument = self.arguments[((offset - 16) / 8) as usize];
                let half = if offset.is_multiple_of(8) {
                    argument
                } else {
                    argument >> 32
                };
                half as u32
            }
        }
    }
}

/// The answer: the value of the first `RETURN` that is reached.
pub(super) fn run(program: &[sock_filter], call: &Call) -> u32 {
    let (mut at, mut word) = (0, 0);
    loop {
        let step = program[at];
        let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
        at += 1 + match step.code {
            0x20 => {
                word = call.word(step.k);
                0
            }
            0x05 => step.k as usize,
            0x15 => jump(word == step.k),
            0x25 => jump(word > step.k),
            0x35 => jump(word >= step.k),
            0x45 => jump(word & step.k != 0),
            0x54 => {
                word &= step.k;
                0
            }
            0x06 => return step.k,
            code => panic!("step {code:#x} is not one that filters here use"),
        };
    }
}
