//! Bump allocators, called directly.

use std::alloc::Layout;
use std::hint::black_box;
use std::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator as ApiAllocator};
use context_allocator::{BumpAllocator, MmapSource, NonZeroLayout};

use super::{Case, Role};
use crate::block::{check, layout, mark};

/// Blocks between two resets: they fit in the first region of each allocator.
pub(super) const BLOCKS: u64 = 500;
/// Bytes of that region.
const REGION: usize = 64 * 1024;

/// A bump allocator as each of them is used.
pub trait Bump {
    /// What it is called.
    const NAME: &'static str;
    /// What it is in a comparison.
    const ROLE: Role;

    /// One with a region.
    fn new() -> Self;
    /// One that has nothing yet.
    fn empty() -> Self;
    /// A block.
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>>;
    /// Frees all blocks.
    fn reset(&mut self);
}

impl Bump for BumpAllocator<MmapSource> {
    const NAME: &'static str = "BumpAllocator";
    const ROLE: Role = Role::Ours;

    fn new() -> Self {
        Self::empty()
    }

    fn empty() -> Self {
        Self::new(MmapSource::new())
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: No layout here is of 0 bytes.
        let layout = unsafe { NonZeroLayout::new(layout).unwrap_unchecked() };
        context_allocator::Allocator::allocate(self, layout).ok().map(NonNull::cast)
    }

    #[inline]
    fn reset(&mut self) {
        context_allocator::alloc::Reset::reset(self);
    }
}

impl Bump for bumpalo::Bump {
    const NAME: &'static str = "bumpalo";
    const ROLE: Role = Role::Peer;

    fn new() -> Self {
        Self::with_capacity(REGION)
    }

    fn empty() -> Self {
        Self::new()
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.try_alloc_layout(layout).ok()
    }

    #[inline]
    fn reset(&mut self) {
        self.reset();
    }
}

impl Bump for bump_scope::Bump {
    const NAME: &'static str = "bump-scope";
    const ROLE: Role = Role::Peer;

    fn new() -> Self {
        Self::with_size(REGION)
    }

    fn empty() -> Self {
        Self::new()
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        bump_scope::alloc::Allocator::allocate(self, layout).ok().map(NonNull::cast)
    }

    #[inline]
    fn reset(&mut self) {
        self.reset();
    }
}

impl Bump for blink_alloc::BlinkAlloc {
    const NAME: &'static str = "blink-alloc";
    const ROLE: Role = Role::Peer;

    fn new() -> Self {
        Self::with_chunk_size(REGION)
    }

    fn empty() -> Self {
        Self::new()
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        Self::allocate(self, layout).ok().map(NonNull::cast)
    }

    #[inline]
    fn reset(&mut self) {
        Self::reset(self);
    }
}

#[inline(always)]
fn blocks<B: Bump>(iterations: u64, layout: Layout) {
    let mut bump = <B as Bump>::new();
    let mut left = iterations;
    while left > 0 {
        let now = left.min(BLOCKS);
        for _ in 0..now {
            let block = bump.allocate(layout).expect("memory");
            // SAFETY: It was just allocated.
            let block = unsafe { mark(block, layout.size()) };
            // SAFETY: It was just marked.
            unsafe { check(block, layout.size()) };
        }
        bump.reset();
        left -= now;
    }
}

fn constant<B: Bump, const SIZE: usize>(iterations: u64) {
    blocks::<B>(iterations, const { layout::<SIZE>() });
}

fn unknown<B: Bump, const SIZE: usize>(iterations: u64) {
    blocks::<B>(iterations, black_box(layout::<SIZE>()));
}

/// Blocks of many sizes, which the compiler does not know.
fn mixed<B: Bump>(iterations: u64) {
    let sizes = black_box([16, 40, 8, 100, 24, 64, 200, 32]);
    let layouts = sizes.map(|size| Layout::from_size_align(size, 8).expect("a layout"));
    let mut bump = <B as Bump>::new();
    let mut left = iterations;
    while left > 0 {
        let now = left.min(BLOCKS);
        for layout in layouts.iter().cycle().take(now as usize) {
            let block = bump.allocate(*layout).expect("memory");
            // SAFETY: It was just allocated.
            let block = unsafe { mark(block, layout.size()) };
            // SAFETY: It was just marked.
            unsafe { check(block, layout.size()) };
        }
        bump.reset();
        left -= now;
    }
}

/// A vector of 128 numbers, pushed one by one.
fn vector<B: Bump>(iterations: u64)
where
    for<'a> &'a B: Lend<'a>,
{
    let mut bump = <B as Bump>::new();
    for _ in 0..iterations {
        let mut numbers = allocator_api2::vec::Vec::new_in((&bump).lend());
        for number in 0..128_u64 {
            numbers.push(black_box(number));
        }
        black_box(&numbers);
        drop(numbers);
        bump.reset();
    }
}

/// A bump allocator as vectors take it.
pub trait Lend<'a> {
    /// What vectors take.
    type Lent: ApiAllocator + Copy + 'a;
    /// Lends it.
    fn lend(self) -> Self::Lent;
}

impl<'a> Lend<'a> for &'a BumpAllocator<MmapSource> {
    type Lent = context_allocator::adapt::AllocatorAdaptor<Self>;
    fn lend(self) -> Self::Lent {
        context_allocator::adapt::AllocatorAdaptor::new(self)
    }
}

impl<'a> Lend<'a> for &'a bumpalo::Bump {
    type Lent = Self;
    fn lend(self) -> Self {
        self
    }
}

impl<'a> Lend<'a> for &'a bump_scope::Bump {
    type Lent = Self;
    fn lend(self) -> Self {
        self
    }
}

impl<'a> Lend<'a> for &'a blink_alloc::BlinkAlloc {
    type Lent = Blink<'a>;
    fn lend(self) -> Blink<'a> {
        Blink(self)
    }
}

/// blink-alloc's, for the version of the trait that the others have too.
#[derive(Clone, Copy)]
pub struct Blink<'a>(&'a blink_alloc::BlinkAlloc);

impl Blink<'_> {
    /// # Safety
    /// As [`ApiAllocator::grow`] or `shrink`.
    #[inline(always)]
    unsafe fn resize(
        &self,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The caller's promises.
        unsafe { self.0.resize(block, old, new) }.map_err(|_| AllocError)
    }
}

// SAFETY: Its blocks stay until it is reset, which nobody does who lent it.
unsafe impl ApiAllocator for Blink<'_> {
    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        self.0.allocate(layout).map_err(|_| AllocError)
    }

    #[inline(always)]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: The caller's promises.
        unsafe { self.0.deallocate(block, layout.size()) };
    }

    #[inline(always)]
    unsafe fn grow(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The caller's promises.
        unsafe { self.resize(block, old, new) }
    }

    #[inline(always)]
    unsafe fn shrink(
        &self,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The caller's promises.
        unsafe { self.resize(block, old, new) }
    }
}

fn of<B: Bump>() -> Vec<Case>
where
    for<'a> &'a B: Lend<'a>,
{
    let case = |name: &str, run| Case::new(name, B::NAME, B::ROLE, run);
    vec![
        case("bump, mixed sizes", mixed::<B>),
        case("bump, vector of 128 pushes", vector::<B>),
        case("bump, 16 B, constant layout", constant::<B, 16>),
        case("bump, 64 B, constant layout", constant::<B, 64>),
        case("bump, 64 B, unknown layout", unknown::<B, 64>),
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
