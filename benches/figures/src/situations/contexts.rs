//! Many contexts: heaps of the switch, an arena each, or nothing where an allocator has none.

use std::alloc::{Layout, System};
use std::marker::PhantomData;
use std::ptr::NonNull;

use context_allocator::source::PooledSource;
use context_allocator::switch::NoTier;
use context_allocator::{Builder, Heap, SlabAllocator, Tiers};

use super::{
    CONTEXTS_OF_10, CONTEXTS_OF_100, ORPHANS, REQUESTS, SLABS, Values, case, context_layout, list, mebibytes,
    print, resident_since, warm_up,
};
use crate::block::{check, give, layout_of, mark, take};
use crate::cases::region::Installed;
use crate::cases::{Case, Role, Tier};
use crate::resident;

/// What the blocks of a request, task or document belong to.
trait Context {
    fn new() -> Self;
    /// Runs `f` in the context, and gives it what allocates there.
    fn within<R>(&self, f: impl FnOnce(&dyn Fn(Layout) -> NonNull<u8>) -> R) -> R;
    /// Frees a block; where the context frees it, only reads it.
    ///
    /// # Safety
    /// The context allocated the block with this layout, and nobody uses it again.
    unsafe fn free(&self, block: NonNull<u8>, layout: Layout);
}

impl<D: Installed> Context for Heap<D> {
    fn new() -> Self {
        D::heap()
    }

    fn within<R>(&self, f: impl FnOnce(&dyn Fn(Layout) -> NonNull<u8>) -> R) -> R {
        self.enter(|| f(&take))
    }

    unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: `take` gave it with this layout, and the caller gives it up.
        unsafe { give(block, layout) };
    }
}

impl Context for bumpalo::Bump {
    fn new() -> Self {
        Self::new()
    }

    fn within<R>(&self, f: impl FnOnce(&dyn Fn(Layout) -> NonNull<u8>) -> R) -> R {
        // SAFETY: The block was just allocated, and has the layout's size.
        f(&|layout| unsafe { mark(self.alloc_layout(layout), layout.size()) })
    }

    unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: `within` marked it.
        unsafe { check(block, layout.size()) };
    }
}

/// Where there is none: the blocks are the global allocator's.
struct None<T>(PhantomData<T>);

impl<T: Tier> Context for None<T> {
    fn new() -> Self {
        Self(PhantomData)
    }

    fn within<R>(&self, f: impl FnOnce(&dyn Fn(Layout) -> NonNull<u8>) -> R) -> R {
        T::within(|| f(&take))
    }

    unsafe fn free(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: `take` gave it with this layout, and the caller gives it up.
        T::within(|| unsafe { give(block, layout) });
    }
}

/// Contexts at once of so many blocks each; gives what is resident for each context while all are
/// alive, and in all when they ended.
fn contexts<C: Context>(count: usize, blocks: usize, layout: fn(usize) -> Layout) -> (f64, f64) {
    let (mut contexts, mut allocated) = (list(count), list(count * blocks));
    let before = resident::now();
    for _ in 0..count {
        let context = C::new();
        context.within(|allocate| allocated.extend((0..blocks).map(|index| allocate(layout(index)))));
        contexts.push(context);
    }
    let alive = resident_since(before) / count as f64;
    for (context, blocks) in contexts.iter().zip(allocated.chunks(blocks)) {
        for (index, block) in blocks.iter().enumerate() {
            // SAFETY: The context allocated it with this layout; the list is not used again.
            unsafe { context.free(*block, layout(index)) };
        }
    }
    contexts.clear();
    (alive, resident_since(before))
}

fn requests<C: Context>() -> Values {
    let (_, ended) = contexts::<C>(2_000, 600, |_| layout_of(1_000, 8));
    vec![Some(mebibytes(ended))]
}

fn alive<C: Context>(blocks: usize) -> Values {
    let (alive, _) = contexts::<C>(100_000, blocks, context_layout);
    vec![Some(alive)]
}

/// The rows that any context can have.
fn rows<C: Context>(allocator: &str, role: Role) -> Vec<Case> {
    vec![
        case(REQUESTS, allocator, role, |_| print(&requests::<C>())),
        case(CONTEXTS_OF_10, allocator, role, |_| print(&alive::<C>(10))),
        case(CONTEXTS_OF_100, allocator, role, |_| print(&alive::<C>(100))),
    ]
}

/// A hundred strings, of which the shortest stays.
fn strings(number: usize) -> String {
    let kept = format!("user-{number:05}");
    let others: Vec<String> = (0..100).map(|other| format!("{kept}-{other}")).collect();
    assert_eq!(others.len(), 100);
    kept
}

/// Contexts that end while a string of each stays; `context` runs what it gets in one.
fn orphans(context: impl Fn(&dyn Fn() -> String) -> String, held: impl Fn() -> Option<f64>) -> Values {
    const CONTEXTS: usize = 10_000;
    let mut kept = list(CONTEXTS);
    let before = resident::now();
    kept.extend((0..CONTEXTS).map(|number| context(&|| strings(number))));
    let resident = resident_since(before);
    assert!(kept.iter().all(|text| text.len() == 10));
    vec![held(), Some(mebibytes(resident))]
}

fn orphaned_heaps<D: Installed>() -> Values {
    orphans(|f| D::heap().enter(f), || Some(mebibytes(D::allocator().statistics().heap_bytes as f64)))
}

context_allocator::switchable_allocator!(
    static SLAB_HEAPS: Tiers<SlabAllocator<PooledSource>, NoTier, System> = Builder::new()
        .coroutine_tier(SlabAllocator::new(PooledSource::new()))
        .without_thread_tier()
        .global_tier(System)
        .build()
);

/// What a heap of slabs holds when all that was allocated in it is free.
fn slabs() -> Values {
    use context_allocator::{Allocator, NonZeroLayout};
    let heap = SLAB_HEAPS.heap().expect("memory for a heap");
    heap.enter(|| {
        for power in 4..12 {
            let layout = NonZeroLayout::new(layout_of(1 << power, 8)).expect("a size");
            let block = SLAB_HEAPS.allocate(layout).expect("memory for a block");
            // SAFETY: It was just allocated with this layout, and is not used.
            unsafe { SLAB_HEAPS.deallocate(block.cast(), layout) };
        }
    });
    std::thread::sleep(super::WAIT);
    vec![Some(heap.statistics().held_bytes as f64 / 1024.0)]
}

/// The rows of the switch's heaps.
pub fn heaps<D: Installed, T: Tier>() -> Vec<Case> {
    let mut cases = rows::<Heap<D>>(T::NAME, T::ROLE);
    cases.push(case(ORPHANS, T::NAME, T::ROLE, |_| print(&orphaned_heaps::<D>())));
    cases.push(case(SLABS, T::NAME, T::ROLE, |_| print(&slabs())));
    cases
}

/// The rows of an allocator without contexts.
pub fn without<T: Tier>() -> Vec<Case> {
    let mut cases = rows::<None<T>>(T::NAME, T::ROLE);
    cases.push(case(ORPHANS, T::NAME, T::ROLE, |_| {
        warm_up::<T>();
        print(&orphans(|f| T::within(f), || Option::None));
    }));
    cases
}

/// The rows of an arena for each context.
pub fn arena() -> Vec<Case> {
    rows::<bumpalo::Bump>("bumpalo", Role::Peer)
}
