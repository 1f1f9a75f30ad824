//! The allocators that are compared.

/// A global allocator, and what is known of it.
#[derive(Debug)]
pub struct Entry {
    /// As the command line calls it, and the feature that chooses it; ours has none.
    pub name: &'static str,
    /// The package whose version is told.
    pub package: &'static str,
    /// When it gives memory back to the system, as it ships: what its documentation or source says.
    pub purge: &'static str,
}

/// This library's.
pub const OURS: &str = "ours";

/// All of them.
pub const FIELD: &[Entry] = &[
    Entry {
        name: OURS,
        package: "context-allocator",
        purge: "both tiers: slices of 64 KiB that were free for half a second (512 KiB stay, 64 MiB wait at most), and in the thread tier pages without \
                a block in slabs that have others, by a thread of its own, without further traffic",
    },
    Entry {
        name: "glibc",
        package: "",
        purge: "the top of the heap when 128 KiB or more are free there; maps of 128 KiB or more (a border that rises) at once",
    },
    Entry {
        name: "jemalloc",
        package: "tikv-jemallocator",
        purge: "unused pages decay over 10 s (`dirty_decay_ms`), only when a thread allocates or frees",
    },
    Entry {
        name: "mimalloc-2",
        package: "mimalloc",
        purge: "10 ms after they become unused (`purge_delay`, times 10 in arenas), only when a thread allocates or frees",
    },
    Entry {
        name: "mimalloc-3",
        package: "mimalloc",
        purge: "1 s after they become unused (`purge_delay`), only when a thread allocates or frees",
    },
    Entry {
        name: "numalloc",
        package: "numalloc",
        purge: "maps of objects beyond 256 KiB that a thread keeps (512 MiB at most) lose their memory when they are freed if they have 512 KiB or more; \
                what blocks of up to 256 KiB are cut from, 128 MiB for each NUMA node, never",
    },
    Entry { name: "rallocator", package: "rallocator", purge: "not documented" },
    Entry {
        name: "rpmalloc",
        package: "rpmalloc",
        purge: "spans beyond what its caches hold are unmapped when they are freed",
    },
    Entry {
        name: "snmalloc",
        package: "snmalloc-rs",
        purge: "ranges beyond what its caches keep, by `MADV_FREE`: they stay resident until the kernel needs them",
    },
    Entry {
        name: "tcmalloc",
        package: "tcmalloc-better",
        purge: "only by a thread that the program itself starts for it; none does here",
    },
];
