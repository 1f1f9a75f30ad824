//! NUMA: where the pages of a map are to lie, and where they do.
//!
//! Sets of nodes are 1,024 bits, the most that Linux can be configured for, node 0 in the lowest
//! bit of the first word.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use super::outcome;

/// Bits of a set of nodes.
pub(crate) const MOST_NODES: usize = 1024;

/// A set of nodes as the kernel reads it.
pub(crate) type NodeBits = [u64; MOST_NODES / 64];

/// The kernel reads one bit less than it is told.
const MAX_NODE: usize = MOST_NODES + 1;

/// Sets the policy of the `len` bytes at `start`: a mode with its flags, and nodes, which some
/// modes have none of.
///
/// # Errors
/// The error number of `mbind`: `ENOSYS` in a kernel without NUMA, `EINVAL` where it does not know
/// the mode (see [`knows_mode`]), where the nodes are none that it has and this process may use, or
/// where mode and nodes do not go together.
///
/// # Safety
/// The range consists of whole pages that are the caller's.
pub(crate) unsafe fn bind(start: NonNull<u8>, len: usize, mode: usize, nodes: &NodeBits) -> Result<(), i32> {
    let (bits, max_node) =
        if *nodes == [0; MOST_NODES / 64] { (ptr::null(), 0) } else { (nodes.as_ptr(), MAX_NODE) };
    // SAFETY: The kernel reads the set, which is as long as it is told; a policy changes no
    // contents.
    outcome(|| unsafe {
        libc::syscall(libc::SYS_mbind, start.as_ptr().cast::<c_void>(), len, mode, bits, max_node, 0_usize)
    })
    .map(|_| ())
}

/// Whether the kernel knows a policy's mode with its flags.
///
/// A policy for no bytes is checked as far as the mode, and then does nothing.
pub(crate) fn knows_mode(mode: usize) -> bool {
    let (nowhere, none) = (ptr::null::<c_void>(), ptr::null::<u64>());
    // SAFETY: No memory is passed.
    outcome(|| unsafe { libc::syscall(libc::SYS_mbind, nowhere, 0_usize, mode, none, 0_usize, 0_usize) })
        .is_ok()
}

/// The node of the processor that the calling thread runs on, for now.
///
/// # Errors
/// The error number of `getcpu`.
pub(crate) fn current_node() -> Result<u32, i32> {
    let mut node = 0_u32;
    let no_cpu = ptr::null_mut::<u32>();
    // SAFETY: `node` is writable, and the other places are none.
    outcome(|| unsafe { libc::syscall(libc::SYS_getcpu, no_cpu, &raw mut node, no_cpu) }).map(|_| node)
}

/// The nodes that this thread's memory may come from.
///
/// # Errors
/// The error number of `get_mempolicy`, `ENOSYS` in a kernel without NUMA.
pub(crate) fn allowed_nodes() -> Result<NodeBits, i32> {
    const MPOL_F_MEMS_ALLOWED: usize = 1 << 2;
    let mut bits = [0; MOST_NODES / 64];
    let (no_mode, nowhere) = (ptr::null_mut::<i32>(), ptr::null::<c_void>());
    // SAFETY: `bits` is writable and as long as the kernel is told.
    outcome(|| unsafe {
        libc::syscall(
            libc::SYS_get_mempolicy,
            no_mode,
            bits.as_mut_ptr(),
            MAX_NODE,
            nowhere,
            MPOL_F_MEMS_ALLOWED,
        )
    })
    .map(|_| bits)
}

/// Writes for each page the number of its node, or a negative error number: `-ENOENT` or `-EFAULT`
/// where there is no page yet.
///
/// # Errors
/// The error number of `move_pages`.
pub(crate) fn nodes_of_pages(pages: &[*const u8], status: &mut [i32]) -> Result<(), i32> {
    let count = pages.len().min(status.len());
    let no_nodes = ptr::null::<i32>();
    // SAFETY: The kernel reads `count` addresses, writes `count` numbers, and moves nothing, since
    // it is given no nodes.
    outcome(|| unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            0_usize,
            count,
            pages.as_ptr(),
            no_nodes,
            status.as_mut_ptr(),
            0_usize,
        )
    })
    .map(|_| ())
}
