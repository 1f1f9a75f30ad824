//! Values in a bump allocator: references to them in place of blocks.
//!
//! Nothing here is dropped: a bump allocator frees bytes, and does not know what lies in them. The
//! public methods are those of [`BumpAllocator`] and of a [`Scope`](super::Scope), which differ in
//! how long a reference may live.

use core::alloc::Layout;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use super::{BumpAllocator, Scope};
use crate::alloc::Allocator;
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::source::MemorySource;

/// Writes `value` into a block of its own.
#[inline(always)]
fn write<S: MemorySource, T>(bump: &BumpAllocator<S>, value: T) -> Result<NonNull<T>, AllocError> {
    let place = room(bump, Layout::new::<T>())?.cast::<T>();
    // SAFETY: The block has the layout of a `T`, and nobody else knows of it.
    unsafe { place.write(value) };
    Ok(place)
}

/// Copies `values` into a block of their own.
#[inline]
fn copy<S: MemorySource, T: Copy>(bump: &BumpAllocator<S>, values: &[T]) -> Result<NonNull<[T]>, AllocError> {
    let place = room(bump, Layout::for_value(values))?.cast::<T>();
    // SAFETY: The block has the layout of the slice, and is new, so it does not overlap it.
    unsafe { place.copy_from_nonoverlapping(NonNull::from(values).cast(), values.len()) };
    Ok(NonNull::slice_from_raw_parts(place, values.len()))
}

/// Writes what `values` yields into a block that grows, and is shrunk at the end.
fn collect<S: MemorySource, T>(
    bump: &BumpAllocator<S>,
    values: impl Iterator<Item = T>,
) -> Result<NonNull<[T]>, AllocError> {
    let mut values = values;
    let mut growing = Growing { bump, start: NonNull::dangling(), len: 0, capacity: 0 };
    while let Some(value) = values.next() {
        growing.reserve(values.size_hint().0)?;
        // SAFETY: There is room for one more, and its place lies in the block.
        let place = unsafe { growing.start.add(growing.len) };
        // SAFETY: As above.
        unsafe { place.write(value) };
        growing.len += 1;
    }
    Ok(growing.finish())
}

/// A block for `layout`, or a dangling one for no bytes.
#[inline(always)]
fn room<S: MemorySource>(bump: &BumpAllocator<S>, layout: Layout) -> Result<NonNull<u8>, AllocError> {
    match NonZeroLayout::new(layout) {
        Some(layout) => Ok(bump.allocate(layout)?.cast()),
        // SAFETY: An alignment is not zero.
        None => Ok(unsafe { NonNull::new_unchecked(ptr::dangling(layout.align())) }),
    }
}

/// The block of [`collect`]: room for `capacity` values, of which the first `len` are written.
struct Growing<'a, S: MemorySource, T> {
    bump: &'a BumpAllocator<S>,
    start: NonNull<T>,
    len: usize,
    capacity: usize,
}

impl<S: MemorySource, T> Growing<'_, S, T> {
    fn layout(count: usize) -> Result<Option<NonZeroLayout>, AllocError> {
        Ok(NonZeroLayout::new(Layout::array::<T>(count).map_err(|_| AllocError::TooLarge)?))
    }

    /// Makes room for one value more, and for `more` after that if it has to grow.
    fn reserve(&mut self, more: usize) -> Result<(), AllocError> {
        if self.len < self.capacity || size_of::<T>() == 0 {
            return Ok(());
        }
        let capacity = self.len.saturating_add(more).saturating_add(1).max(2 * self.len).max(4);
        let (old, new) = (Self::layout(self.capacity)?, Self::layout(capacity)?);
        let block = match (old, new) {
            // SAFETY: The block was allocated here, for as many values as `capacity`, and the new
            // layout is that of more.
            (Some(old), Some(new)) => unsafe { self.bump.grow(self.start.cast(), old, new) }?,
            (None, Some(new)) => self.bump.allocate(new)?,
            (_, None) => return Ok(()),
        };
        (self.start, self.capacity) = (block.cast(), capacity);
        Ok(())
    }

    /// The values, in a block that is no longer than they are, where it could be shrunk.
    fn finish(self) -> NonNull<[T]> {
        let mut this = ManuallyDrop::new(self);
        if let (Ok(Some(old)), Ok(Some(new))) = (Self::layout(this.capacity), Self::layout(this.len))
            // SAFETY: As in `reserve`, with the layout of fewer.
            && let Ok(block) = unsafe { this.bump.shrink(this.start.cast(), old, new) }
        {
            this.start = block.cast();
        }
        NonNull::slice_from_raw_parts(this.start, this.len)
    }
}

/// If the values or their memory run out with an error or a panic, those that there are go.
impl<S: MemorySource, T> Drop for Growing<'_, S, T> {
    fn drop(&mut self) {
        let values = NonNull::slice_from_raw_parts(self.start, self.len);
        // SAFETY: So many values were written, and nobody else knows of them.
        unsafe { values.drop_in_place() };
        if let Ok(Some(layout)) = Self::layout(self.capacity) {
            // SAFETY: The block was allocated here, and is not used again.
            unsafe { self.bump.deallocate(self.start.cast(), layout) };
        }
    }
}

/// Ends a method that promises memory.
#[cold]
#[inline(never)]
#[track_caller]
fn refuse(method: &str, error: AllocError) -> ! {
    panic!("{method}: {error}")
}

/// The methods, with references that live for `$life`, or as long as the borrow of `self`.
macro_rules! value_methods {
    ($($life:lifetime)?, |$this:ident| $bump:expr) => {
        /// Moves `value` into the allocator. It is never dropped.
        ///
        /// # Panics
        /// If the source has no memory; [`try_alloc`](Self::try_alloc) returns an error instead.
        #[inline(always)]
        #[track_caller]
        #[allow(clippy::mut_from_ref, reason = "each block is handed out once")]
        pub fn alloc<T>(&$this, value: T) -> &$($life)? mut T {
            match $this.try_alloc(value) {
                Ok(value) => value,
                Err(error) => refuse("alloc", error),
            }
        }

        /// As [`alloc`](Self::alloc), without the panic.
        ///
        /// # Errors
        /// The source's; `value` is dropped then.
        #[inline(always)]
        #[allow(clippy::mut_from_ref, reason = "each block is handed out once")]
        pub fn try_alloc<T>(&$this, value: T) -> Result<&$($life)? mut T, AllocError> {
            let mut place = write($bump, value)?;
            // SAFETY: The value was just written, into a block that nobody else knows of, and that
            // stays as long as the lifetime says.
            Ok(unsafe { place.as_mut() })
        }

        /// Copies `text` into the allocator.
        ///
        /// # Panics
        /// If the source has no memory; [`try_alloc_str`](Self::try_alloc_str) returns an error
        /// instead.
        #[inline]
        #[track_caller]
        #[allow(clippy::mut_from_ref, reason = "each block is handed out once")]
        pub fn alloc_str(&$this, text: &str) -> &$($life)? mut str {
            match $this.try_alloc_str(text) {
                Ok(text) => text,
                Err(error) => refuse("alloc_str", error),
            }
        }

        /// As [`alloc_str`](Self::alloc_str), without the panic.
        ///
        /// # Errors
        /// The source's.
        #[inline]
        #[allow(clippy::mut_from_ref, reason = "each block is handed out once")]
        pub fn try_alloc_str(&$this, text: &str) -> Result<&$($life)? mut str, AllocError> {
            let bytes = $this.try_alloc_slice_copy(text.as_bytes())?;
            // SAFETY: They are a copy of a string.
            Ok(unsafe { core::str::from_utf8_unchecked_mut(bytes) })
        }

        /// Copies `items` into the allocator.
        ///
        /// # Panics
        /// If the source has no memory; [`try_alloc_slice_copy`](Self::try_alloc_slice_copy)
        /// returns an error instead.
        #[inline]
        #[track_caller]
        #[allow(clippy::mut_from_ref, reason = "each block is handed out once")]
        pub fn alloc_slice_copy<T: Copy>(&$this, items: &[T]) -> &$($life)? mut [T] {
            match $this.try_alloc_slice_copy(items) {
                Ok(items) => items,
                Err(error) => refuse("alloc_slice_copy", error),
            }
        }

        /// As [`alloc_slice_copy`](Self::alloc_slice_copy), without the panic.
        ///
        /// # Errors
        /// The source's.
        #[inline]
        #[allow(clippy::mut_from_ref, reason = "each block is handed out once")]
        pub fn try_alloc_slice_copy<T: Copy>(
            &$this,
            items: &[T],
        ) -> Result<&$($life)? mut [T], AllocError> {
            let mut place = copy($bump, items)?;
            // SAFETY: As in `try_alloc`.
            Ok(unsafe { place.as_mut() })
        }

        /// Moves what `items` yields into the allocator, as one slice. The iterator may use the
        /// allocator too. The items are never dropped.
        ///
        /// # Panics
        /// If the source has no memory; [`try_alloc_iter`](Self::try_alloc_iter) returns an error
        /// instead. If the iterator panics, the items that it yielded before are dropped.
        #[track_caller]
        #[allow(clippy::mut_from_ref, reason = "each block is handed out once")]
        pub fn alloc_iter<T>(&$this, items: impl IntoIterator<Item = T>) -> &$($life)? mut [T] {
            match $this.try_alloc_iter(items) {
                Ok(items) => items,
                Err(error) => refuse("alloc_iter", error),
            }
        }

        /// As [`alloc_iter`](Self::alloc_iter), without the panic.
        ///
        /// # Errors
        /// The source's; the items that were yielded so far are dropped then.
        #[allow(clippy::mut_from_ref, reason = "each block is handed out once")]
        pub fn try_alloc_iter<T>(
            &$this,
            items: impl IntoIterator<Item = T>,
        ) -> Result<&$($life)? mut [T], AllocError> {
            let mut place = collect($bump, items.into_iter())?;
            // SAFETY: As in `try_alloc`.
            Ok(unsafe { place.as_mut() })
        }
    };
}

impl<S: MemorySource> BumpAllocator<S> {
    value_methods!(, |self| self);
}

impl<'scope, S: MemorySource> Scope<'scope, '_, S> {
    value_methods!('scope, |self| self);
}
