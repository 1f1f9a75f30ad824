#!/usr/bin/env bash
# Prints what the bit-set allocators' work on words compiles to, without and with the bit-manipulation instructions of x86-64.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The functions are inlined everywhere else, so each gets a name here. Their arguments are as in their callers: a word that is taken
# from has a bit, and the length of a run is at least one.
cat >"$work/bits.rs" <<RUST
#![no_std]
#![allow(dead_code)]
#[path = "$PWD/src/alloc/bit_set/word.rs"]
mod word;

/// The block that a single request takes from a word: its number. What is left is written back.
#[unsafe(no_mangle)]
pub fn take_lowest(hand: &mut u64) -> Option<usize> {
    let word = *hand;
    if word == 0 {
        return None;
    }
    *hand = word::without_lowest(word);
    Some(word::lowest(word))
}

/// The first of five adjacent blocks, 64 where there are none.
#[unsafe(no_mangle)]
pub fn find_five(word: u64) -> usize {
    word::lowest(word::run_starts(word, 5))
}

/// The length of the run around a block.
#[unsafe(no_mangle)]
pub fn run_around(word: u64, at: u32) -> usize {
    let (up, down) = word::around(word, (at & 63) as usize);
    up + down - 1
}
RUST

show() {
    echo "$1"
    rustc --edition 2024 --target x86_64-unknown-linux-gnu -O --crate-type lib --emit "obj=$work/bits.o" \
        -C "target-feature=$2" "$work/bits.rs"
    objdump -d --no-show-raw-insn -M intel "$work/bits.o" |
        sed -n -E '/^[0-9a-f]+ <(take_lowest|find_five|run_around)>:/,/^$/p' |
        sed -E 's/^[0-9a-f]+ <(.*)>:$/\1:/; s/^ *[0-9a-f]+:\t/    /; s/ +$//; /^ +(nop|cs nop|data16)/d'
}

show "x86-64 as every processor has it:" ""
show "with BMI1, BMI2 and LZCNT (-C target-feature=+bmi1,+bmi2,+lzcnt):" "+bmi1,+bmi2,+lzcnt"
