//! Which frames the kernel shows us: a classic BPF program made for the addresses we answer for. Pure.
//!
//! ```text
//! addresses --covering--> at most 64 ranges --arp, ndp--> program: direction, type, then a search tree over the ranges
//!
//!                 >= 10.0.0.64 ?          about 7 comparisons for 64 ranges, in the kernel, compiled to machine code:
//!                no /       \ yes         what is not about our addresses never wakes this process
//!       >= 10.0.0.8 ?       >= 10.0.0.80 ?
//! ```
//! A program holds few ranges, so with many scattered addresses the smallest gaps between them are let through too; whoever
//! reads the frames looks into the table anyway. Frames too short to say what they are about are let through, to be counted.

/// Most ranges in a program. Kernels before 6.6 give the options of a socket 20 KiB, and 64 ranges take up to 10 KiB.
pub const MOST_RANGES: usize = 64;

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_LENGTH: u16 = 0x80;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Pseudo offset at which the kernel shows the direction of the frame.
const PACKET_TYPE: u32 = 0xffff_f004;
/// Directions from here on are copies for other hosts (also frames of foreign VLANs) and our own frames.
const OTHER_HOST: u32 = 3;

const PASS: Step = Step::new(RETURN, 0, 0, 0xffff);
const DROP: Step = Step::new(RETURN, 0, 0, 0);

/// One instruction of classic BPF, see the kernel's documentation of socket filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The operation.
    pub code: u16,
    /// How many instructions a jump skips when its condition holds.
    pub if_true: u8,
    /// How many it skips when it does not.
    pub if_false: u8,
    /// The operand.
    pub operand: u32,
}

impl Step {
    const fn new(code: u16, if_true: u8, if_false: u8, operand: u32) -> Self {
        Self { code, if_true, if_false, operand }
    }
}

/// Ranges of 32-bit numbers, ascending, apart from one another, both ends included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// Everything.
    pub fn everything() -> Self {
        Self(vec![(0, u32::MAX)])
    }

    /// At most [`MOST_RANGES`] ranges that hold all `numbers` and as little else as possible.
    pub fn covering(numbers: impl IntoIterator<Item = u32>) -> Self {
        let mut numbers: Vec<u32> = numbers.into_iter().collect();
        numbers.sort_unstable();
        numbers.dedup();
        let gap = |pair: &[u32]| pair.last().unwrap_or(&0) - pair.first().unwrap_or(&0);
        let mut gaps: Vec<u32> = numbers.windows(2).map(gap).filter(|gap| *gap > 1).collect();
        gaps.sort_unstable_by(|one, other| other.cmp(one));
        // The widest gaps stay. Of gaps as wide as the last that stays, the first ones do.
        let widest = gaps.get(..MOST_RANGES - 1).unwrap_or(&gaps);
        let narrowest = widest.last().copied().unwrap_or(u32::MAX);
        let mut equal = widest.iter().filter(|gap| **gap == narrowest).count();
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for number in numbers {
            if let Some((_, end)) = ranges.last_mut() {
                let gap = number - *end;
                let apart = gap > narrowest || (gap == narrowest && equal > 0 && gap > 1);
                if !apart {
                    *end = number;
                    continue;
                }
                equal -= usize::from(gap == narrowest);
            }
            ranges.push((number, number));
        }
        Self(ranges)
    }

    /// The numbers at which one gets into a range or out of it, ascending.
    fn boundaries(&self) -> Vec<u32> {
        self.0.iter().flat_map(|(start, end)| [Some(*start), end.checked_add(1)]).flatten().collect()
    }
}

/// Lets through ARP requests and replies, to this host or to everybody, about an address in `ranges` or from one.
pub fn arp(ranges: &Ranges) -> Vec<Step> {
    if ranges.0.is_empty() {
        return vec![DROP];
    }
    let mut program = vec![
        Step::new(LOAD_WORD, 0, 0, PACKET_TYPE),
        Step::new(JUMP_IF_AT_LEAST, 7, 0, OTHER_HOST),
        Step::new(LOAD_HALF, 0, 0, 12), // EtherType
        Step::new(JUMP_IF_EQUAL, 0, 5, 0x0806),
        Step::new(LOAD_LENGTH, 0, 0, 0),
        Step::new(JUMP_IF_AT_LEAST, 0, 4, 42),
        Step::new(LOAD_HALF, 0, 0, 20), // operation
        Step::new(JUMP_IF_EQUAL, 3, 0, 1),
        Step::new(JUMP_IF_EQUAL, 2, 0, 2),
        DROP,
        PASS,
    ];
    search(&mut program, 38, ranges); // target
    search(&mut program, 28, ranges); // sender
    program.push(DROP);
    program
}

/// Lets through neighbour solicitations and advertisements, to this host or to a group, about an address whose last four bytes
/// are in `ranges`.
pub fn ndp(ranges: &Ranges) -> Vec<Step> {
    if ranges.0.is_empty() {
        return vec![DROP];
    }
    let mut program = vec![
        Step::new(LOAD_WORD, 0, 0, PACKET_TYPE),
        Step::new(JUMP_IF_AT_LEAST, 9, 0, OTHER_HOST),
        Step::new(LOAD_HALF, 0, 0, 12), // EtherType
        Step::new(JUMP_IF_EQUAL, 0, 7, 0x86dd),
        Step::new(LOAD_BYTE, 0, 0, 20), // next header
        Step::new(JUMP_IF_EQUAL, 0, 5, 58),
        Step::new(LOAD_LENGTH, 0, 0, 0),
        Step::new(JUMP_IF_AT_LEAST, 0, 4, 55),
        Step::new(LOAD_BYTE, 0, 0, 54), // ICMPv6 type
        Step::new(JUMP_IF_EQUAL, 3, 0, 135),
        Step::new(JUMP_IF_EQUAL, 2, 0, 136),
        DROP,
        PASS,
        Step::new(LOAD_LENGTH, 0, 0, 0),
        Step::new(JUMP_IF_AT_LEAST, 1, 0, 78),
        PASS,
    ];
    search(&mut program, 74, ranges); // end of the target
    program.push(DROP);
    program
}

/// Adds steps that pass the frame if the word at `offset` is in `ranges`, and otherwise go on behind them.
fn search(program: &mut Vec<Step>, offset: u32, ranges: &Ranges) {
    program.push(Step::new(LOAD_WORD, 0, 0, offset));
    let mut tree = tree(&ranges.boundaries(), false);
    let length = tree.len();
    for (position, step) in tree.iter_mut().enumerate() {
        if *step == DROP {
            *step = Step::new(JUMP, 0, 0, u32::try_from(length - position - 1).unwrap_or_default());
        }
    }
    program.append(&mut tree);
}

/// A binary search: passes or drops. `inside` tells whether numbers below the first boundary are in a range.
fn tree(boundaries: &[u32], inside: bool) -> Vec<Step> {
    let middle = boundaries.len() / 2;
    let Some(boundary) = boundaries.get(middle) else { return vec![if inside { PASS } else { DROP }] };
    let left = tree(boundaries.get(..middle).unwrap_or_default(), inside);
    let right = tree(boundaries.get(middle + 1..).unwrap_or_default(), inside ^ middle.is_multiple_of(2));
    // A conditional jump reaches 255 steps, an unconditional one any number.
    let mut steps = match u8::try_from(left.len()) {
        Ok(skipped) => vec![Step::new(JUMP_IF_AT_LEAST, skipped, 0, *boundary)],
        Err(_) => vec![
            Step::new(JUMP_IF_AT_LEAST, 0, 1, *boundary),
            Step::new(JUMP, 0, 0, u32::try_from(left.len()).unwrap_or_default()),
        ],
    };
    steps.extend(left);
    steps.extend(right);
    steps
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
