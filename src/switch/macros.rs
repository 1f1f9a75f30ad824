//! The macros that declare a switchable allocator.
//!
//! A generic thread-local static does not exist in stable Rust, so a macro makes one for each
//! declaration, and a type of the same name as the static that ties the two together.

/// Declares a [`SwitchableAllocator`](crate::SwitchableAllocator) and installs it as the
/// `#[global_allocator]`.
///
/// The short form installs the [recommended tiers](crate::switch::RecommendedTiers): bump heaps for
/// contexts, slabs for threads, the system's allocator behind them. `static ALLOC from POOL:
/// RunSource` installs them over a pool of your own, a static that is named once
/// ([`TiersFrom`](crate::switch::TiersFrom)). The full form takes
/// the type and the value that the [`Builder`](crate::Builder) gives. Documentation and visibility
/// are passed on, and so are attributes: `#[cfg(..)]` to all that is declared, others to the
/// static. A type of the same name as the static is declared too, so that types can name the
/// allocator: `Heap<ALLOC>`.
///
/// # Examples
/// ```
/// context_allocator::global_thread_and_coroutine_switchable_allocator!(
///     /// Everything this program allocates.
///     pub static ALLOC
/// );
///
/// fn handle(request: &str, heap: &context_allocator::Heap<ALLOC>) -> usize {
///     heap.enter(|| request.split(' ').map(String::from).collect::<Vec<_>>().len())
/// }
///
/// let heap = ALLOC.heap().expect("memory for a heap");
/// assert_eq!(handle("GET / HTTP/1.1", &heap), 3);
/// ```
///
/// Over a pool that gives free memory back at once:
/// ```
/// use context_allocator::MmapSource;
/// use context_allocator::source::{Purge, RunSource};
///
/// static POOL: RunSource = RunSource::for_static(&POOL, MmapSource::new(), Purge::at_once());
///
/// context_allocator::global_thread_and_coroutine_switchable_allocator!(
///     static ALLOC from POOL: RunSource
/// );
///
/// let heap = ALLOC.heap().expect("memory for a heap");
/// let large = heap.enter(|| vec![1_u8; 1 << 20]);
/// assert!(POOL.usage().obtained - POOL.usage().unused > large.len());
/// ```
#[macro_export]
macro_rules! global_thread_and_coroutine_switchable_allocator {
    ($(#[$($meta:tt)*])* $vis:vis static $name:ident $(;)?) => {
        $crate::switchable_allocator!($(#[$($meta)*])* #[global_allocator] $vis static $name);
    };
    ($(#[$($meta:tt)*])* $vis:vis static $name:ident from $pool:ident: $source:ty $(;)?) => {
        $crate::switchable_allocator!($(#[$($meta)*])* #[global_allocator] $vis static $name from $pool: $source);
    };
    ($(#[$($meta:tt)*])* $vis:vis static $name:ident: $tiers:ty = $value:expr $(;)?) => {
        $crate::switchable_allocator!($(#[$($meta)*])* #[global_allocator] $vis static $name: $tiers = $value);
    };
}

/// Declares a [`SwitchableAllocator`](crate::SwitchableAllocator) that is not the global one: to be
/// used through its [`Allocator`](crate::Allocator) trait.
///
/// The forms are those of
/// [`global_thread_and_coroutine_switchable_allocator!`](crate::global_thread_and_coroutine_switchable_allocator).
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, NonZeroLayout};
///
/// context_allocator::switchable_allocator!(static ALLOC);
///
/// let heap = ALLOC.heap()?;
/// let layout = NonZeroLayout::of::<u64>().unwrap();
/// let block = heap.enter(|| ALLOC.allocate(layout))?;
/// assert_eq!(heap.statistics().live_blocks, 1);
/// // SAFETY: Just allocated with this layout, and not used again.
/// unsafe { ALLOC.deallocate(block.cast(), layout) };
/// assert_eq!(heap.statistics().remote_frees, 1);
/// # Ok::<(), context_allocator::AllocError>(())
/// ```
#[macro_export]
macro_rules! switchable_allocator {
    ($(#[$($meta:tt)*])* $vis:vis static $name:ident $(;)?) => {
        $crate::switchable_allocator!(
            $(#[$($meta)*])* $vis static $name: $crate::switch::RecommendedTiers = $crate::switch::RECOMMENDED_TIERS
        );
    };
    ($(#[$($meta:tt)*])* $vis:vis static $name:ident from $pool:ident: $source:ty $(;)?) => {
        $crate::switchable_allocator!(@pool [] [$(#[$($meta)*])*] $name $pool: $source);
        $crate::switchable_allocator!(
            $(#[$($meta)*])* $vis static $name: $crate::switch::TiersFrom<$source, $name> =
                $crate::switch::tiers_from::<$name>()
        );
    };
    // Of the attributes only `#[cfg(..)]` goes to the pool's implementation.
    (@pool [$($cfg:tt)*] [#[cfg($($when:tt)*)] $($rest:tt)*] $($item:tt)*) => {
        $crate::switchable_allocator!(@pool [$($cfg)* #[cfg($($when)*)]] [$($rest)*] $($item)*);
    };
    (@pool [$($cfg:tt)*] [#[$($other:tt)*] $($rest:tt)*] $($item:tt)*) => {
        $crate::switchable_allocator!(@pool [$($cfg)*] [$($rest)*] $($item)*);
    };
    (@pool [$(#[$cfg:meta])*] [] $name:ident $pool:ident: $source:ty) => {
        $(#[$cfg])*
        impl $crate::switch::HasPool for $name {
            type Pool = $source;
            const POOL: &'static $source = &$pool;
        }
    };
    ($(#[$($meta:tt)*])* $vis:vis static $name:ident: $tiers:ty = $value:expr $(;)?) => {
        $crate::switchable_allocator!(@sort [] [] [$(#[$($meta)*])*] $vis static $name: $tiers = $value);
    };
    // `#[cfg(..)]` goes to everything that is declared, every other attribute to the static.
    (@sort [$($cfg:tt)*] [$($other:tt)*] [#[cfg($($when:tt)*)] $($rest:tt)*] $($item:tt)*) => {
        $crate::switchable_allocator!(@sort [$($cfg)* #[cfg($($when)*)]] [$($other)*] [$($rest)*] $($item)*);
    };
    (@sort [$($cfg:tt)*] [$($other:tt)*] [#[$($meta:tt)*] $($rest:tt)*] $($item:tt)*) => {
        $crate::switchable_allocator!(@sort [$($cfg)*] [$($other)* #[$($meta)*]] [$($rest)*] $($item)*);
    };
    (
        @sort [$(#[$cfg:meta])*] [$(#[$meta:meta])*] []
        $vis:vis static $name:ident: $tiers:ty = $value:expr
    ) => {
        $(#[$cfg])*
        /// Stands for the switchable allocator of the same name in types.
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, dead_code)]
        $vis enum $name {}

        $(#[$cfg])*
        $(#[$meta])*
        $vis static $name: $crate::SwitchableAllocator<$name> = {
            let tiers: $tiers = $value.into_tiers();
            // SAFETY: This is the static that the declaration's `allocator` gives.
            unsafe { $crate::SwitchableAllocator::declare(tiers) }
        };

        $(#[$cfg])*
        // SAFETY: The statics and the thread-local are this declaration's own; the latter is
        // const-initialised and has no destructor.
        unsafe impl $crate::switch::Declaration for $name {
            type Tiers = $tiers;

            #[inline(always)]
            fn allocator() -> &'static $crate::SwitchableAllocator<Self> {
                &$name
            }

            #[inline(always)]
            fn page_map() -> &'static $crate::switch::PageMap {
                static PAGE_MAP: $crate::switch::PageMap = $crate::switch::PageMap::new();
                &PAGE_MAP
            }

            #[inline(always)]
            fn thread_state() -> *const $crate::switch::ThreadState<$crate::switch::ThreadCacheOf<Self>> {
                ::std::thread_local! {
                    static STATE: $crate::switch::ThreadState<$crate::switch::ThreadCacheOf<$name>> =
                        const { $crate::switch::ThreadState::new() };
                }
                STATE.with(|state| ::core::ptr::from_ref(state))
            }
        }
    };
}

/// Registers the fork handlers of this library before all constructors of the program and of its
/// shared libraries; for programs, once, beside `main`.
///
/// The handlers take the allocators' locks before a fork and give them back after it. They are
/// registered early without this macro, but not before the constructors of shared libraries that
/// the program is linked to. A library that registers fork handlers in a constructor, and in them
/// waits for another thread that allocates, needs the handlers of this library registered before.
///
/// A library cannot use this: the linker refuses `.preinit_array` in shared objects.
///
/// # Examples
/// ```
/// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
/// context_allocator::fork_handlers_first!();
/// ```
#[macro_export]
macro_rules! fork_handlers_first {
    () => {
        const _: () = {
            #[used]
            // The section holds pointers to functions of this type, which the loader calls once, on
            // one thread.
            #[unsafe(link_section = ".preinit_array")]
            static FIRST: extern "C" fn() = $crate::switch::register_fork_handlers;
        };
    };
}
