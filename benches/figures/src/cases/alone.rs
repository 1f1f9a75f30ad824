//! One bump allocation in a function of its own, whose instructions are counted and nothing else's.

use std::alloc::Layout;
use std::hint::black_box;
use std::ptr::NonNull;

use context_allocator::{BumpAllocator, MmapSource};

use super::Case;
use super::bump::{BLOCKS, Bump};
use crate::block::layout;

#[inline(never)]
fn alone_constant<B: Bump>(bump: &B) -> Option<NonNull<u8>> {
    bump.allocate(const { layout::<64>() })
}

#[inline(never)]
fn alone_unknown<B: Bump>(bump: &B, layout: Layout) -> Option<NonNull<u8>> {
    bump.allocate(layout)
}

#[inline(always)]
fn blocks<B: Bump>(iterations: u64, allocate: impl Fn(&B) -> Option<NonNull<u8>>) {
    let mut bump = <B as Bump>::new();
    for iteration in 0..iterations {
        if iteration % BLOCKS == 0 {
            bump.reset();
        }
        black_box(allocate(&bump));
    }
}

fn constant<B: Bump>(iterations: u64) {
    blocks(iterations, alone_constant::<B>);
}

fn unknown<B: Bump>(iterations: u64) {
    let layout = black_box(layout::<64>());
    blocks(iterations, |bump: &B| alone_unknown(bump, layout));
}

fn of<B: Bump>() -> Vec<Case> {
    vec![
        Case::new("bump, function, constant layout", B::NAME, B::ROLE, constant::<B>).alone("alone_constant"),
        Case::new("bump, function, unknown layout", B::NAME, B::ROLE, unknown::<B>).alone("alone_unknown"),
    ]
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = of::<BumpAllocator<MmapSource>>();
    cases.extend(of::<bumpalo::Bump>());
    cases.extend(of::<bump_scope::Bump>());
    cases.extend(of::<blink_alloc::BlinkAlloc>());
    cases
}
