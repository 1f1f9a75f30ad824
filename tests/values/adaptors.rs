//! To and from the other allocator traits: conformance, and requests for no bytes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

use crate::support::CheckingSource;
use crate::support::conformance;
use crate::support::model::{self, Profile};
use crate::support::pattern::{Pattern, bytes};
use context_allocator::adapt::{AllocatorAdaptor, GlobalAllocToAllocatorAdaptor};
use context_allocator::alloc::SizeClassAllocator;
use context_allocator::{Allocator, BumpAllocator, Locked, MmapSource};

fn system() -> GlobalAllocToAllocatorAdaptor<'static, System> {
    GlobalAllocToAllocatorAdaptor::new(&System)
}

#[test]
fn a_global_alloc_conforms() {
    conformance::allocator(system);
    conformance::forwarded_allocator(system);
    conformance::cloned_allocator(system);
}

#[test]
fn a_global_alloc_against_the_model() {
    model::run(&system(), Profile::SMALL);
    model::run(&system(), Profile::LARGE);
}

/// As a static is: the adaptor borrows what it adapts.
fn leaked<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// There and back: a `GlobalAlloc` made of one of our allocators, as one of our allocators.
#[test]
fn an_adapted_allocator_adapted_back_conforms() {
    conformance::allocator(|| {
        GlobalAllocToAllocatorAdaptor::new(leaked(BumpAllocator::new(MmapSource::new()).adapt()))
    });
    let locked = || Locked::new(SizeClassAllocator::new(MmapSource::new())).adapt();
    conformance::allocator(|| GlobalAllocToAllocatorAdaptor::new(leaked(locked())));
}

/// A block got through `GlobalAlloc`, filled with a pattern.
struct Global<'a, G: GlobalAlloc> {
    global: &'a G,
    start: *mut u8,
    layout: Layout,
}

impl<'a, G: GlobalAlloc> Global<'a, G> {
    fn new(global: &'a G, layout: Layout, zeroed: bool) -> Option<Self> {
        let start = if zeroed {
            // SAFETY: The adaptor serves requests for no bytes as well, which is what this tests.
            unsafe { global.alloc_zeroed(layout) }
        } else {
            // SAFETY: As above.
            unsafe { global.alloc(layout) }
        };
        if black_box(start).is_null() {
            return None;
        }
        let block = Self { global, start, layout };
        assert!(block.start.addr().is_multiple_of(layout.align()));
        assert!(!zeroed || block.contents().iter().all(|&byte| byte == 0));
        block.fill();
        Some(block)
    }

    /// The block's bytes, which were zeroed or filled.
    fn contents(&self) -> &[u8] {
        let start = std::ptr::NonNull::new(self.start).expect("a block");
        // SAFETY: The block has these bytes, initialised.
        unsafe { bytes(start, self.layout.size()) }
    }

    fn fill(&self) {
        let start = std::ptr::NonNull::new(self.start).expect("a block");
        // SAFETY: The block has these bytes, and nobody else uses them.
        unsafe { Pattern::of(3).fill(start, self.layout.size()) };
    }

    /// Whether it could be resized; the contents were checked either way.
    fn resize(&mut self, size: usize) -> bool {
        // SAFETY: The block is the adaptor's, and this is its layout.
        let moved = unsafe { self.global.realloc(self.start, self.layout, size) };
        if !black_box(moved).is_null() {
            let kept = self.layout.size().min(size);
            self.start = moved;
            self.layout = Layout::from_size_align(kept, self.layout.align()).expect("a smaller layout");
            assert!(Pattern::of(3).matches(self.contents()));
            self.layout = Layout::from_size_align(size, self.layout.align()).expect("it was granted");
            self.fill();
        }
        assert!(Pattern::of(3).matches(self.contents()));
        !moved.is_null()
    }
}

impl<G: GlobalAlloc> Drop for Global<'_, G> {
    fn drop(&mut self) {
        // SAFETY: The block is the adaptor's, and this is its layout.
        unsafe { self.global.dealloc(self.start, self.layout) };
    }
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a layout that exists")
}

fn global_alloc_serves<G: GlobalAlloc>(global: &G) {
    for align in [1, 2, 8, 64, 4096] {
        for zeroed in [false, true] {
            for from in [0, 1, 7, 100, 3000] {
                for to in [0, 1, 8, 100, 5000, 30_000, 0] {
                    let mut block = Global::new(global, layout(from, align), zeroed).expect("memory");
                    let other = Global::new(global, layout(from, align), zeroed).expect("memory");
                    assert_ne!(block.start, other.start, "each block of no bytes is a block of one");
                    assert!(block.resize(to) && block.resize(from) && block.resize(0) && block.resize(64));
                    assert!(Pattern::of(3).matches(other.contents()));
                }
            }
        }
    }
}

fn global_alloc_refuses<G: GlobalAlloc>(global: &G) {
    let mut block = Global::new(global, layout(100, 8), false).expect("memory");
    let most = isize::MAX as usize;
    for size in [most - 7, most - 4096, most / 2] {
        assert!(!block.resize(black_box(size)));
        assert!(Global::new(global, layout(size, 8), false).is_none());
        assert!(Global::new(global, layout(size, 8), true).is_none());
    }
    assert!(Global::new(global, layout(most, 1), false).is_none());
    // Sizes that no layout has; `realloc` must not be asked for these, and does no harm if it is.
    for size in [most, most + 1, usize::MAX] {
        assert!(!block.resize(black_box(size)));
    }
}

#[test]
fn global_alloc_of_each_allocator() {
    let source = CheckingSource::new(MmapSource::new());
    let bump = BumpAllocator::new(&source).adapt();
    let size_class = SizeClassAllocator::new(&source).adapt();
    let locked = Locked::new(SizeClassAllocator::new(&source)).adapt();
    global_alloc_serves(&bump);
    global_alloc_refuses(&bump);
    global_alloc_serves(&size_class);
    global_alloc_refuses(&size_class);
    global_alloc_serves(&locked);
    global_alloc_refuses(&locked);
    global_alloc_serves(&system().adapt());
    global_alloc_refuses(&system().adapt());
    drop((bump, size_class, locked));
    source.assert_all_released();
}

/// Nothing reachable through `GlobalAlloc` panics: no bytes at the largest alignment are not one
/// byte of a layout.
#[test]
fn no_bytes_at_the_largest_alignment_are_refused() {
    let adaptor = BumpAllocator::new(MmapSource::new()).adapt();
    let nothing = black_box(layout(0, 1 << (usize::BITS - 1)));
    assert!(Global::new(&adaptor, nothing, false).is_none());
    assert!(Global::new(&adaptor, nothing, true).is_none());
    let one = Global::new(&adaptor, layout(1, 1), false).expect("memory");
    // SAFETY: There is no such block; the adaptor gives up before it looks at it.
    let moved = unsafe { adaptor.realloc(one.start, nothing, 1) };
    assert!(moved.is_null());
}

#[test]
fn an_adaptor_gives_its_allocator_back() {
    let adaptor = AllocatorAdaptor::new(system());
    let _: &GlobalAllocToAllocatorAdaptor<'static, System> = adaptor.inner();
    let _: &System = adaptor.into_inner().inner();
}

/// The trait of one version of allocator-api2, in both directions.
macro_rules! through_the_trait {
    ($module:ident, $feature:literal, $source:ident, $marker:ident) => {
        #[cfg(feature = $feature)]
        mod $module {

            use super::{conformance, layout, system};
            use crate::support::CheckingSource;
            use crate::support::model::{self, Profile};
            use context_allocator::adapt::AllocToAllocatorAdaptor;
            use context_allocator::alloc::SizeClassAllocator;
            use context_allocator::{Allocator, BumpAllocator, Locked, MmapSource, NonZeroLayout};
            use std::alloc::Layout;
            use std::hint::black_box;
            use std::os::unix::process::ExitStatusExt;
            use std::panic::catch_unwind;
            use std::process::Command;
            use std::ptr::NonNull;
            use $source::alloc::{Allocator as ForeignAllocator, Global as ForeignGlobal};

            type Adaptor<A> = AllocToAllocatorAdaptor<A, context_allocator::adapt::$marker>;

            fn global() -> Adaptor<ForeignGlobal> {
                Adaptor::through(ForeignGlobal)
            }

            #[test]
            fn a_foreign_allocator_conforms() {
                conformance::allocator(global);
                conformance::forwarded_allocator(global);
                conformance::cloned_allocator(global);
                model::run(&global(), Profile::SMALL);
            }

            #[test]
            fn an_adapted_allocator_adapted_back_conforms() {
                conformance::allocator(|| Adaptor::through(BumpAllocator::new(MmapSource::new()).adapt()));
                let size_class = SizeClassAllocator::new(MmapSource::new());
                conformance::cloned_allocator(|| Adaptor::through((&size_class).adapt()));
                let tally = model::run(&Adaptor::through((&size_class).adapt()), Profile::SMALL);
                assert!(tally.allocated > 100_000);
            }

            /// Panics whatever is asked of it.
            struct Panics;

            // SAFETY: It never gives a block.
            unsafe impl ForeignAllocator for Panics {
                fn allocate(&self, _: Layout) -> Result<NonNull<[u8]>, $source::alloc::AllocError> {
                    panic!("on purpose")
                }

                unsafe fn deallocate(&self, _: NonNull<u8>, _: Layout) {
                    panic!("on purpose")
                }
            }

            /// What is behind our trait does not unwind: a global allocator that did would be
            /// undefined behaviour.
            #[test]
            fn a_panic_of_a_foreign_allocator_ends_the_process() {
                const CHILD: &str = "PANICS_IN_AN_ALLOCATOR";
                if std::env::var_os(CHILD).is_some() {
                    let one = layout(1, 1);
                    let _ =
                        catch_unwind(|| Adaptor::through(Panics).allocate(NonZeroLayout::new(one).unwrap()));
                    return;
                }
                let name = crate::support::test_path(
                    module_path!(),
                    "a_panic_of_a_foreign_allocator_ends_the_process",
                );
                let child = Command::new(std::env::current_exe().unwrap())
                    .args([name.as_str(), "--exact", "--test-threads=1"])
                    .env(CHILD, "1")
                    .output()
                    .unwrap();
                assert_eq!(child.status.signal(), Some(libc::SIGABRT));
            }

            /// Requests for no bytes cost nothing, whatever they were before or become.
            fn no_bytes<A: ForeignAllocator>(allocator: &A) {
                for align in [1, 8, 4096, 1 << 63] {
                    let nothing = layout(0, align);
                    let block = allocator.allocate(nothing).expect("nothing is always there");
                    assert!(block.is_empty() && block.cast::<u8>().addr().get().is_multiple_of(align));
                    let zeroed = allocator.allocate_zeroed(nothing).expect("nothing is always there");
                    assert!(zeroed.is_empty());
                    // SAFETY: The block of no bytes was allocated here, with this layout.
                    let block = unsafe { allocator.grow(block.cast(), nothing, nothing) }.expect("nothing");
                    assert!(block.is_empty());
                    // SAFETY: As above.
                    let block = unsafe { allocator.shrink(block.cast(), nothing, nothing) }.expect("nothing");
                    // SAFETY: As above.
                    unsafe { allocator.deallocate(block.cast(), nothing) };
                    // SAFETY: As above.
                    unsafe { allocator.deallocate(zeroed.cast(), nothing) };
                }
                for (small, large) in [(layout(0, 1), layout(100, 64)), (layout(0, 4096), layout(1, 1))] {
                    for zeroed in [false, true] {
                        let block = allocator.allocate(small).expect("nothing is always there").cast();
                        let grown = if zeroed {
                            // SAFETY: The block of no bytes was allocated here; the new layout is
                            // larger.
                            unsafe { allocator.grow_zeroed(block, small, large) }
                        } else {
                            // SAFETY: As above.
                            unsafe { allocator.grow(block, small, large) }
                        };
                        let grown = grown.expect("memory");
                        assert!(grown.len() >= large.size());
                        assert!(grown.cast::<u8>().addr().get().is_multiple_of(large.align()));
                        if zeroed {
                            // SAFETY: The block was zeroed, as is tested.
                            assert!(unsafe { grown.as_ref() }.iter().all(|&byte| byte == 0));
                        }
                        let block = grown.cast();
                        // SAFETY: The block is allocated with this layout; the new one is smaller.
                        let shrunk = unsafe { allocator.shrink(block, large, small) }.expect("nothing");
                        assert!(shrunk.is_empty());
                        assert!(shrunk.cast::<u8>().addr().get().is_multiple_of(small.align()));
                        // SAFETY: The block of no bytes has this layout.
                        unsafe { allocator.deallocate(shrunk.cast(), small) };
                    }
                }
                let huge = black_box(layout(isize::MAX as usize - 7, 8));
                // What comes out must be looked at by nobody the optimiser knows, or it removes the
                // calls.
                assert!(black_box(allocator.allocate(huge)).is_err());
                assert!(black_box(allocator.allocate_zeroed(huge)).is_err());
                let nothing = allocator.allocate(layout(0, 8)).expect("nothing is always there").cast();
                // SAFETY: The block of no bytes was allocated here with this layout.
                let grown = unsafe { allocator.grow(nothing, layout(0, 8), huge) };
                assert!(black_box(grown).is_err());
            }

            #[test]
            fn no_bytes_of_each_allocator() {
                let source = CheckingSource::new(MmapSource::new());
                no_bytes(&BumpAllocator::new(&source).adapt());
                no_bytes(&SizeClassAllocator::new(&source).adapt());
                no_bytes(&Locked::new(BumpAllocator::new(&source)).adapt());
                source.assert_all_released();
                no_bytes(&system().adapt());
                no_bytes(&global().adapt());
            }

            #[test]
            fn blocks_of_no_bytes_need_no_region() {
                let source = CheckingSource::new(MmapSource::new());
                let adaptor = BumpAllocator::new(&source).adapt();
                for align in [1, 4096] {
                    let block = ForeignAllocator::allocate(&adaptor, layout(0, align)).expect("nothing");
                    // SAFETY: The block of no bytes was allocated here, with this layout.
                    unsafe { ForeignAllocator::deallocate(&adaptor, block.cast(), layout(0, align)) };
                }
                assert_eq!(source.counts().obtained, 0);
            }
        }
    };
}

through_the_trait!(api02, "allocator-api2-02", allocator_api2_02, Api02);
through_the_trait!(api03, "allocator-api2-03", allocator_api2_03, Api03);
through_the_trait!(api04, "allocator-api2-04", allocator_api2_04, Api04);
