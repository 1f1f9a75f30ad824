//! The only address arithmetic of the library.
//!
//! Strict provenance throughout: a pointer is always made from a pointer to the same region, never
//! from a bare integer. All of these are safe because none of them reads or writes through its
//! argument; where the result is dereferenced, the caller says why it may be.

#![forbid(unsafe_code)]

use core::ptr::NonNull;

/// The pointer `bytes` further up, wrapping as an address does.
#[inline(always)]
pub(crate) const fn up<T>(pointer: *mut T, bytes: usize) -> *mut T {
    pointer.wrapping_byte_add(bytes)
}

/// The pointer `bytes` further down, wrapping as an address does.
#[inline(always)]
pub(crate) const fn down<T>(pointer: *mut T, bytes: usize) -> *mut T {
    pointer.wrapping_byte_sub(bytes)
}

/// Bytes to add to `address` to make it a multiple of `align`, a power of two.
#[inline(always)]
pub(crate) const fn padding(address: usize, align: usize) -> usize {
    address.wrapping_neg() & (align - 1)
}

/// A pointer that nothing may be read through, at the lowest address that is a multiple of `align`.
#[inline(always)]
pub(crate) const fn dangling(align: usize) -> *mut u8 {
    core::ptr::without_provenance_mut(align)
}

/// `base` moved to `address`; both must lie in the region that `base` may access.
#[inline(always)]
pub(crate) fn at<T>(base: *mut T, address: usize) -> *mut T {
    base.with_addr(address)
}

/// The pointer with `bits` set in its address, which must be clear there.
#[inline(always)]
pub(crate) fn tagged<T>(pointer: *mut T, bits: usize) -> *mut T {
    debug_assert!(pointer.addr() & bits == 0);
    pointer.wrapping_byte_add(bits)
}

/// The pointer with the address bits of `mask` cleared.
#[inline(always)]
pub(crate) fn untagged<T>(pointer: *mut T, mask: usize) -> *mut T {
    pointer.map_addr(|address| address & !mask)
}

/// `len` bytes at `start`, as the slice pointer that sources and allocators return.
#[inline(always)]
pub(crate) const fn bytes(start: NonNull<u8>, len: usize) -> NonNull<[u8]> {
    NonNull::slice_from_raw_parts(start, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_reaches_the_next_multiple() {
        assert_eq!(padding(0, 8), 0);
        assert_eq!(padding(1, 8), 7);
        assert_eq!(padding(16, 8), 0);
        assert_eq!(padding(usize::MAX, 2), 1);
    }
}
