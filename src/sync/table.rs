//! A table of atomic pointers, all null at first.
//!
//! As a static it lies in `.bss`; made by `new_mapped` it is memory of its own, never given back,
//! zeroed by the kernel. Either way, no page of it is touched before an entry is written.

use super::atomic::AtomicPtr;
#[cfg(not(all(test, loom)))]
use super::const_fn;

/// `N` atomic pointers to `T`.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct PointerTable<T, const N: usize> {
    entries: [AtomicPtr<T>; N],
}

#[cfg(not(all(test, loom)))]
impl<T, const N: usize> PointerTable<T, N> {
    const_fn! {
        /// All null.
        pub(crate) fn new() -> Self {
            Self { entries: [const { AtomicPtr::new(core::ptr::null_mut()) }; N] }
        }
    }
}

#[cfg(not(all(test, loom)))]
impl<T, const N: usize> PointerTable<T, N> {
    /// A table in memory of its own, left out of core dumps.
    ///
    /// # Errors
    /// The error number of the system call.
    pub(crate) fn new_mapped() -> Result<core::ptr::NonNull<Self>, i32> {
        let memory = crate::sys::map(size_of::<Self>())?;
        // SAFETY: The pages were just mapped.
        unsafe { crate::sys::exclude_from_core_dump(memory, size_of::<Self>()) };
        // All-zero bytes are null pointers, so the table is initialised.
        Ok(memory.cast())
    }

    /// Unmaps a table that nobody else has seen.
    ///
    /// # Safety
    /// `new_mapped` made it, and nobody uses it any more.
    pub(crate) unsafe fn unmap(table: core::ptr::NonNull<Self>) {
        // SAFETY: The mapping is this table's, and unused, as the caller promises.
        unsafe { crate::sys::unmap(table.cast(), size_of::<Self>()) };
    }
}

#[cfg(all(test, loom))]
impl<T, const N: usize> PointerTable<T, N> {
    pub(crate) fn new() -> Self {
        Self { entries: core::array::from_fn(|_| AtomicPtr::new(core::ptr::null_mut())) }
    }

    pub(crate) fn new_mapped() -> Result<core::ptr::NonNull<Self>, i32> {
        Ok(core::ptr::NonNull::from(std::boxed::Box::leak(std::boxed::Box::new(Self::new()))))
    }

    pub(crate) unsafe fn unmap(table: core::ptr::NonNull<Self>) {
        // SAFETY: `new_mapped` leaked the box, and nobody else has seen it, as the caller promises.
        drop(unsafe { std::boxed::Box::from_raw(table.as_ptr()) });
    }
}

impl<T, const N: usize> PointerTable<T, N> {
    /// The entry at `index`, or none beyond the end.
    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> Option<&AtomicPtr<T>> {
        self.entries.get(index)
    }

    /// The entry at `index` modulo `N`, which must be a power of two.
    #[inline(always)]
    pub(crate) fn wrapping_get(&self, index: usize) -> &AtomicPtr<T> {
        const { assert!(N.is_power_of_two()) };
        &self.entries[index & (N - 1)]
    }
}
