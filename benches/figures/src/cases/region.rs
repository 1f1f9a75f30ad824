//! A region for each request: made, filled with blocks of 64 bytes, dropped.

use std::alloc::Layout;
use std::future::poll_fn;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use context_allocator::alloc::LocalAllocator;
use context_allocator::switch::{Declaration, FutureExt, TierSet};
use context_allocator::{BumpAllocator, Heap, MmapSource, SwitchableAllocator};

use super::bump::Bump;
use super::{Case, Role, Tier};
use crate::block::{check, give, layout, mark, take};

const SIZE: usize = 64;

/// Allocates so many blocks, then checks and frees each.
///
/// Not inlined, so that the listing of what is executed tells the heap from what is done in it.
#[inline(never)]
fn freed<const BLOCKS: usize>() {
    let mut blocks = [NonNull::dangling(); BLOCKS];
    for block in &mut blocks {
        *block = take(const { layout::<SIZE>() });
    }
    for block in blocks {
        // SAFETY: `take` gave it with this layout.
        unsafe { give(block, const { layout::<SIZE>() }) };
    }
}

/// Allocates so many blocks with `allocate` and checks each. Not inlined, as [`freed`].
#[inline(never)]
fn kept<const BLOCKS: usize>(allocate: impl Fn() -> NonNull<u8>) {
    let mut blocks = [NonNull::dangling(); BLOCKS];
    for block in &mut blocks {
        *block = allocate();
    }
    for block in blocks {
        // SAFETY: `allocate` marked it.
        unsafe { check(block, SIZE) };
    }
}

/// How many blocks the regions hold.
pub const REGIONS: [usize; 4] = [0, 10, 100, 1_000];

/// The number of blocks as a request's case is called.
pub fn name(blocks: usize) -> String {
    match blocks {
        0 => "region: create, drop".into(),
        _ => format!("region: create, {blocks} x {SIZE} B, drop"),
    }
}

fn without_region<T: Tier, const BLOCKS: usize>(iterations: u64) {
    T::within(|| {
        for _ in 0..iterations {
            freed::<BLOCKS>();
        }
    });
}

/// The same blocks allocated and freed without a region.
pub fn without<T: Tier>() -> Vec<Case> {
    let case = |blocks, run| Case::new(name(blocks), T::NAME, T::ROLE, run).of_blocks(blocks as u64);
    vec![
        case(10, without_region::<T, 10>),
        case(100, without_region::<T, 100>),
        case(1_000, without_region::<T, 1_000>),
    ]
}

fn heap_freed<D: Installed, const BLOCKS: usize>(iterations: u64) {
    for _ in 0..iterations {
        let heap = heap::<D>();
        heap.enter(freed::<BLOCKS>);
    }
}

fn heap_destroyed<D: Installed, const BLOCKS: usize>(iterations: u64) {
    for _ in 0..iterations {
        let heap = heap::<D>();
        heap.enter(|| kept::<BLOCKS>(|| take(const { layout::<SIZE>() })));
        // SAFETY: The blocks are not used again.
        unsafe { heap.destroy() };
    }
}

/// A switchable allocator with a coroutine tier.
pub trait Installed: Declaration {
    /// Makes a heap.
    fn heap() -> Heap<Self>;
}

impl<D: Declaration> Installed for D
where
    <D::Tiers as TierSet>::Coroutine: LocalAllocator,
{
    #[inline(always)]
    fn heap() -> Heap<Self> {
        let allocator: &SwitchableAllocator<D> = D::allocator();
        allocator.heap().expect("memory for a heap")
    }
}

#[inline(always)]
fn heap<D: Installed>() -> Heap<D> {
    D::heap()
}

/// A future that is never ready.
fn waiting() -> impl Future<Output = ()> {
    poll_fn(|_| black_box(Poll::Pending))
}

/// Polls a future so often, each time as an executor does: by a call that is not inlined.
fn polled<F: Future>(mut future: Pin<&mut F>, iterations: u64) {
    let future: &mut dyn Task = black_box(&mut future);
    for _ in 0..iterations {
        assert!(future.waits());
    }
}

/// What an executor knows of a task.
trait Task {
    /// Polls it; whether it waits.
    fn waits(&mut self) -> bool;
}

impl<F: Future> Task for Pin<&mut F> {
    fn waits(&mut self) -> bool {
        self.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

/// The cases of the coroutine tier.
pub fn heaps<D: Installed>() -> Vec<Case> {
    let case = |blocks, allocator, run| {
        Case::new(name(blocks), allocator, Role::Ours, run).of_blocks((blocks as u64).max(1))
    };
    vec![
        case(0, "coroutine heap", |iterations| {
            for _ in 0..iterations {
                drop(std::hint::black_box(heap::<D>()));
            }
        }),
        case(0, "coroutine heap, entered and left", |iterations| {
            for _ in 0..iterations {
                heap::<D>().enter(|| std::hint::black_box(()));
            }
        }),
        case(10, "coroutine heap, each block freed", heap_freed::<D, 10>),
        case(10, "coroutine heap, destroyed", heap_destroyed::<D, 10>),
        case(100, "coroutine heap, each block freed", heap_freed::<D, 100>),
        case(100, "coroutine heap, destroyed", heap_destroyed::<D, 100>),
        case(1_000, "coroutine heap, each block freed", heap_freed::<D, 1_000>),
        Case::new("enter, leave", "coroutine heap", Role::Ours, |iterations| {
            let heap = heap::<D>();
            for _ in 0..iterations {
                heap.enter(|| std::hint::black_box(()));
            }
        }),
        Case::new("poll", "coroutine heap", Role::Ours, |iterations| {
            polled(pin!(waiting().in_heap(heap::<D>())), iterations);
        }),
        Case::new("poll", "coroutine heap, checked", Role::Ours, |iterations| {
            polled(pin!(waiting().in_heap(heap::<D>()).checked()), iterations);
        }),
        Case::new("poll", "no heap", Role::Other, |iterations| polled(pin!(waiting()), iterations)),
    ]
}

/// Allocates so many blocks with `allocate`, which gives them back as a whole.
#[inline(always)]
pub fn in_region<const BLOCKS: usize>(allocate: impl Fn(Layout) -> Option<NonNull<u8>>) {
    kept::<BLOCKS>(|| {
        let block = allocate(const { layout::<SIZE>() }).expect("memory");
        // SAFETY: It was just allocated.
        unsafe { mark(block, SIZE) }
    });
}

fn fresh<B: Bump, const BLOCKS: usize>(iterations: u64) {
    for _ in 0..iterations {
        let bump = std::hint::black_box(B::empty());
        in_region::<BLOCKS>(|layout| bump.allocate(layout));
    }
}

fn reset<B: Bump, const BLOCKS: usize>(iterations: u64) {
    let mut bump = <B as Bump>::new();
    for _ in 0..iterations {
        in_region::<BLOCKS>(|layout| bump.allocate(layout));
        bump.reset();
    }
}

/// The same with arenas that are passed around, do not know who frees what, and count nothing.
pub fn arenas() -> Vec<Case> {
    use bump_scope::Bump as BumpScope;
    use bumpalo::Bump as Bumpalo;
    type Ours = BumpAllocator<MmapSource>;
    let case = |blocks, allocator, run| {
        Case::new(name(blocks), allocator, Role::Other, run).of_blocks((blocks as u64).max(1))
    };
    let mut cases = vec![
        case(0, "bumpalo, fresh", fresh::<Bumpalo, 0>),
        case(0, "bump-scope, fresh", fresh::<BumpScope, 0>),
        case(10, "bumpalo, fresh", fresh::<Bumpalo, 10>),
        case(10, "bumpalo, reset", reset::<Bumpalo, 10>),
        case(10, "bump-scope, reset", reset::<BumpScope, 10>),
        case(10, "blink-alloc, reset", reset::<blink_alloc::BlinkAlloc, 10>),
        case(10, "BumpAllocator, reset", reset::<Ours, 10>),
        case(100, "bumpalo, fresh", fresh::<Bumpalo, 100>),
        case(100, "bumpalo, reset", reset::<Bumpalo, 100>),
        case(100, "bump-scope, reset", reset::<BumpScope, 100>),
        case(100, "blink-alloc, reset", reset::<blink_alloc::BlinkAlloc, 100>),
        case(100, "BumpAllocator, reset", reset::<Ours, 100>),
    ];
    cases.extend(super::request::arenas());
    cases
}
