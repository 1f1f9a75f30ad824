//! Values with several owners, in any allocator.
//!
//! ```text
//!   Counted ---\      +--------+------+-------+
//!   Counted ----+---> | strong | weak | value |   one block
//!   WeakCounted-/     +--------+------+-------+
//! ```
//! All strong owners together count as one weak owner. The last strong owner drops the value, the
//! last weak owner frees the block.

use core::alloc::Layout;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::pin::Pin;
use core::ptr::NonNull;
use core::{fmt, ptr};

use super::count::{Atomic, Count, Unshared};
use crate::alloc::Allocator;
use crate::error::AllocError;
use crate::layout::NonZeroLayout;

/// A value in an allocator, with several owners on one thread: the `Rc` of an [`Allocator`].
pub type Rc<T, A> = Counted<T, A, Unshared>;
/// An owner of the block of an [`Rc`], which does not keep its value.
pub type RcWeak<T, A> = WeakCounted<T, A, Unshared>;
/// A value in an allocator, with several owners on any threads: the `Arc` of an [`Allocator`].
pub type Arc<T, A> = Counted<T, A, Atomic>;
/// An owner of the block of an [`Arc`], which does not keep its value.
pub type ArcWeak<T, A> = WeakCounted<T, A, Atomic>;

/// What the block holds.
#[repr(C)]
struct Inner<T: ?Sized, C> {
    strong: C,
    weak: C,
    value: T,
}

/// One of the owners of a value in an allocator; named [`Rc`] or [`Arc`].
///
/// Each owner has a clone of the allocator, which with a borrowed one is a reference. A panic in
/// the value's drop leaks nothing but what that value kept.
///
/// # Examples
/// ```
/// use context_allocator::collections::{Arc, Rc};
/// use context_allocator::{BumpAllocator, MmapSource};
///
/// let bump = BumpAllocator::new(MmapSource::new());
/// let one = Rc::new_in(String::from("shared"), &bump);
/// let other = one.clone();
/// assert_eq!((&**other, Rc::strong_count(&one)), ("shared", 2));
///
/// let text: Arc<str, _> = Arc::from_str_in("of any length", &bump);
/// assert_eq!(text.len(), 13);
/// ```
pub struct Counted<T: ?Sized, A: Allocator, C: Count> {
    inner: NonNull<Inner<T, C>>,
    allocator: A,
    owns: PhantomData<Inner<T, C>>,
}

/// An owner of a value's block, which does not keep the value; named [`RcWeak`] or [`ArcWeak`].
pub struct WeakCounted<T: ?Sized, A: Allocator, C: Count> {
    inner: NonNull<Inner<T, C>>,
    allocator: A,
}

// SAFETY: Owners on several threads reach the value by shared reference, and the last of them, on
// any thread, drops it; the counts are atomic; the allocator frees the block on the thread of the
// last.
unsafe impl<T: ?Sized + Send + Sync, A: Allocator + Send> Send for Counted<T, A, Atomic> {}
// SAFETY: A shared owner can be cloned on another thread, with its allocator, and then be the last
// there.
unsafe impl<T: ?Sized + Send + Sync, A: Allocator + Sync> Sync for Counted<T, A, Atomic> {}
// SAFETY: It becomes an owner on its thread; else as above.
unsafe impl<T: ?Sized + Send + Sync, A: Allocator + Send> Send for WeakCounted<T, A, Atomic> {}
// SAFETY: As above.
unsafe impl<T: ?Sized + Send + Sync, A: Allocator + Sync> Sync for WeakCounted<T, A, Atomic> {}

impl<T: ?Sized + Unpin, A: Allocator, C: Count> Unpin for Counted<T, A, C> {}

/// Where the value lies in a block that lives. No reference is made, so that the pointer may be
/// used for the counts again.
fn value_of<T: ?Sized, C>(inner: NonNull<Inner<T, C>>) -> NonNull<T> {
    // SAFETY: The block lives, so the place lies in it.
    let value = unsafe { &raw mut (*inner.as_ptr()).value };
    // SAFETY: It lies in a block, whose address is not null.
    unsafe { NonNull::new_unchecked(value) }
}

/// The layout of the block for a value with this layout, and where the value lies in it.
fn block_for<C>(value: Layout) -> Result<(NonZeroLayout, usize), AllocError> {
    let counts = Layout::new::<Inner<(), C>>();
    let (block, offset) = counts.extend(value).map_err(|_| AllocError::TooLarge)?;
    Ok((NonZeroLayout::new(block.pad_to_align()).ok_or(AllocError::TooLarge)?, offset))
}

impl<T, A: Allocator, C: Count> Counted<T, A, C> {
    /// Moves `value` into a block of `allocator`.
    ///
    /// # Panics
    /// As a `Box` does where there is no memory; see [`try_new_in`](Self::try_new_in).
    pub fn new_in(value: T, allocator: A) -> Self {
        match Self::try_new_in(value, allocator) {
            Ok(new) => new,
            Err(_) => out_of_memory(Layout::new::<Inner<T, C>>()),
        }
    }

    /// Moves `value` into a block of `allocator`.
    ///
    /// # Errors
    /// The reason why there is no block; the value is dropped.
    pub fn try_new_in(value: T, allocator: A) -> Result<Self, AllocError> {
        let (layout, _) = block_for::<C>(Layout::new::<T>())?;
        let inner = allocator.allocate(layout)?.cast::<Inner<T, C>>();
        // SAFETY: The block was just allocated with the layout of this type.
        unsafe { inner.write(Inner { strong: C::one(), weak: C::one(), value }) };
        Ok(Self { inner, allocator, owns: PhantomData })
    }

    /// The value, if this is its only strong owner; the owner itself otherwise.
    ///
    /// # Errors
    /// This owner, as it was.
    pub fn try_unwrap(this: Self) -> Result<T, Self> {
        if !this.inner().strong.down_if_one() {
            return Err(this);
        }
        let this = ManuallyDrop::new(this);
        // SAFETY: No strong owner is left, so nobody reaches the value but this thread, and nobody
        // drops it.
        let value = unsafe { value_of(this.inner).read() };
        // SAFETY: `this` is not used again, and is not dropped.
        let allocator = unsafe { ptr::read(&raw const this.allocator) };
        drop(WeakCounted { inner: this.inner, allocator });
        Ok(value)
    }
}

impl<T: Clone, A: Allocator + Clone, C: Count> Counted<T, A, C> {
    /// The value, to be changed: the one in place if this is its only owner, and otherwise a clone,
    /// which this then owns.
    ///
    /// # Panics
    /// As [`new_in`](Self::new_in), or as the value's `clone` does; this owner is then as it was.
    pub fn make_mut(this: &mut Self) -> &mut T {
        if Self::get_mut(this).is_none() {
            *this = Self::new_in(T::clone(this), this.allocator.clone());
        }
        // SAFETY: The value was just found, or made, to have one owner, which is borrowed mutably.
        unsafe { value_of(this.inner).as_mut() }
    }
}

impl<T: Copy, A: Allocator, C: Count> Counted<[T], A, C> {
    /// Copies `values` into a block of `allocator`.
    ///
    /// # Panics
    /// As a `Vec` does where there is no memory; see
    /// [`try_from_slice_in`](Self::try_from_slice_in).
    pub fn from_slice_in(values: &[T], allocator: A) -> Self {
        match Self::try_from_slice_in(values, allocator) {
            Ok(new) => new,
            Err(_) => out_of_memory(Layout::for_value(values)),
        }
    }

    /// Copies `values` into a block of `allocator`.
    ///
    /// # Errors
    /// The reason why there is no block.
    pub fn try_from_slice_in(values: &[T], allocator: A) -> Result<Self, AllocError> {
        let (layout, offset) = block_for::<C>(Layout::for_value(values))?;
        let block = allocator.allocate(layout)?.cast::<u8>();
        let counts = block.cast::<Inner<(), C>>();
        // SAFETY: The block begins with the counts, whose layout `block_for` extended.
        unsafe { counts.write(Inner { strong: C::one(), weak: C::one(), value: () }) };
        // SAFETY: The block has room for the values behind the counts, at that offset.
        let start = unsafe { block.add(offset) }.cast::<T>();
        // SAFETY: As above; the block was just allocated, so it does not overlap `values`.
        unsafe { start.copy_from_nonoverlapping(NonNull::from(values).cast(), values.len()) };
        let inner = ptr::slice_from_raw_parts_mut(block.as_ptr(), values.len()) as *mut Inner<[T], C>;
        // SAFETY: The address is that of the block.
        let inner = unsafe { NonNull::new_unchecked(inner) };
        Ok(Self { inner, allocator, owns: PhantomData })
    }
}

impl<A: Allocator, C: Count> Counted<str, A, C> {
    /// Copies `text` into a block of `allocator`.
    ///
    /// # Panics
    /// As a `String` does where there is no memory; see [`try_from_str_in`](Self::try_from_str_in).
    pub fn from_str_in(text: &str, allocator: A) -> Self {
        match Self::try_from_str_in(text, allocator) {
            Ok(new) => new,
            Err(_) => out_of_memory(Layout::for_value(text)),
        }
    }

    /// Copies `text` into a block of `allocator`.
    ///
    /// # Errors
    /// The reason why there is no block.
    pub fn try_from_str_in(text: &str, allocator: A) -> Result<Self, AllocError> {
        let bytes = ManuallyDrop::new(Counted::<[u8], A, C>::try_from_slice_in(text.as_bytes(), allocator)?);
        let inner = bytes.inner.as_ptr() as *mut Inner<str, C>;
        // SAFETY: The address is that of the block, whose value is the bytes of a `str`.
        let inner = unsafe { NonNull::new_unchecked(inner) };
        // SAFETY: `bytes` is not used again, and is not dropped.
        let allocator = unsafe { ptr::read(&raw const bytes.allocator) };
        Ok(Self { inner, allocator, owns: PhantomData })
    }
}

impl<T: ?Sized, A: Allocator, C: Count> Counted<T, A, C> {
    fn inner(&self) -> &Inner<T, C> {
        // SAFETY: The block lives and is initialised for as long as it has an owner, and is changed
        // only through the counts or while this is the only owner and borrowed mutably.
        unsafe { self.inner.as_ref() }
    }

    /// How many strong owners there are.
    pub fn strong_count(this: &Self) -> usize {
        this.inner().strong.get()
    }

    /// How many weak owners there are.
    pub fn weak_count(this: &Self) -> usize {
        this.inner().weak.get() - 1
    }

    /// The allocator of this owner.
    pub fn allocator(this: &Self) -> &A {
        &this.allocator
    }

    /// Whether two owners own the same value.
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        ptr::addr_eq(this.inner.as_ptr(), other.inner.as_ptr())
    }

    /// The value, to be changed, if this is its only owner, strong or weak.
    pub fn get_mut(this: &mut Self) -> Option<&mut T> {
        if !this.inner().weak.lock_if_one() {
            return None;
        }
        // While no weak owner can be made, one strong owner stays one.
        let alone = this.inner().strong.is_one();
        this.inner().weak.unlock();
        // SAFETY: This is the only owner, borrowed mutably, so nobody else reaches the value.
        alone.then(|| unsafe { value_of(this.inner).as_mut() })
    }

    /// Another owner of the block, which does not keep the value.
    pub fn downgrade(this: &Self) -> WeakCounted<T, A, C>
    where
        A: Clone,
    {
        let allocator = this.allocator.clone();
        this.inner().weak.up_when_unlocked();
        WeakCounted { inner: this.inner, allocator }
    }

    /// A pointer to the value, and the allocator, without giving the value up:
    /// [`from_raw_in`](Self::from_raw_in) makes an owner of them again. In between the pointer may
    /// be unsized, to a `*const dyn Trait` for instance.
    pub fn into_raw_with_allocator(this: Self) -> (*const T, A) {
        let this = ManuallyDrop::new(this);
        // SAFETY: `this` is not used again, and is not dropped.
        let allocator = unsafe { ptr::read(&raw const this.allocator) };
        (value_of(this.inner).as_ptr().cast_const(), allocator)
    }

    /// The owner that [`into_raw_with_allocator`](Self::into_raw_with_allocator) took apart.
    ///
    /// # Safety
    /// Both came out of one call of it, of the same kind of owner, for the same type or one that it
    /// was unsized from with the pointer, and are used once.
    pub unsafe fn from_raw_in(value: *const T, allocator: A) -> Self {
        // SAFETY: The value is alive, as the caller promises.
        let align = align_of_val(unsafe { &*value });
        let counts = Layout::new::<Inner<(), C>>().size();
        let offset = counts + crate::ptr::padding(counts, align);
        // SAFETY: The counts lie before the value in the same block, `block_for` having put it at
        // this offset.
        let inner = unsafe { value.byte_sub(offset) }.cast_mut() as *mut Inner<T, C>;
        // SAFETY: The address is that of a block.
        let inner = unsafe { NonNull::new_unchecked(inner) };
        Self { inner, allocator, owns: PhantomData }
    }

    /// As `this`, pinned: the value stays in its block until it is dropped.
    ///
    /// # Errors
    /// This owner, as it was, where it is not the only one, strong or weak: another could take the
    /// value out once the pinned ones are gone. Clones of the pinned owner are pinned too.
    pub fn into_pin(mut this: Self) -> Result<Pin<Self>, Self>
    where
        A: 'static,
    {
        if Self::get_mut(&mut this).is_none() {
            return Err(this);
        }
        // SAFETY: The value is moved out of its block by an owner that is not pinned only
        // (`try_unwrap`, `get_mut`, `make_mut`). This was the only owner, and of a pinned one none
        // is made but pinned ones. The allocator lives as long as the pin may be leaked, so that
        // the block is not used again before the value is dropped.
        Ok(unsafe { Pin::new_unchecked(this) })
    }
}

impl<T: ?Sized, A: Allocator, C: Count> WeakCounted<T, A, C> {
    /// The counts, which live as long as the block, even where the value does not.
    fn counts(&self) -> (&C, &C) {
        let inner = self.inner.as_ptr();
        // SAFETY: The block lives while it has a weak owner; no reference to the value is made.
        let strong = unsafe { &(*inner).strong };
        // SAFETY: As above.
        let weak = unsafe { &(*inner).weak };
        (strong, weak)
    }

    /// An owner that keeps the value, if it is still there.
    pub fn upgrade(&self) -> Option<Counted<T, A, C>>
    where
        A: Clone,
    {
        let allocator = self.allocator.clone();
        let inner = self.inner;
        self.counts().0.up_unless_zero().then(|| Counted { inner, allocator, owns: PhantomData })
    }

    /// How many strong owners there are.
    pub fn strong_count(&self) -> usize {
        self.counts().0.get()
    }
}

impl<T: ?Sized, A: Allocator + Clone, C: Count> Clone for Counted<T, A, C> {
    fn clone(&self) -> Self {
        // First, since it may panic.
        let allocator = self.allocator.clone();
        self.inner().strong.up();
        Self { inner: self.inner, allocator, owns: PhantomData }
    }
}

impl<T: ?Sized, A: Allocator + Clone, C: Count> Clone for WeakCounted<T, A, C> {
    fn clone(&self) -> Self {
        let allocator = self.allocator.clone();
        self.counts().1.up();
        Self { inner: self.inner, allocator }
    }
}

/// Gives up one weak owner when it goes, also while a panic unwinds.
struct LastWeak<'a, T: ?Sized, A: Allocator, C: Count> {
    inner: NonNull<Inner<T, C>>,
    allocator: &'a A,
}

impl<T: ?Sized, A: Allocator, C: Count> Drop for LastWeak<'_, T, A, C> {
    fn drop(&mut self) {
        let inner = self.inner.as_ptr();
        // SAFETY: The block has this weak owner at least.
        if !unsafe { &(*inner).weak }.down() {
            return;
        }
        // SAFETY: The block is there still; what the value was is not looked at, only its length or
        // vtable in the pointer.
        let layout = Layout::for_value(unsafe { &*inner });
        if let Some(layout) = NonZeroLayout::new(layout) {
            // SAFETY: The block was allocated by this allocator, or one that it is a clone of, with
            // the layout of what it holds, and the last owner was just counted down.
            unsafe { self.allocator.deallocate(self.inner.cast(), layout) };
        }
    }
}

impl<T: ?Sized, A: Allocator, C: Count> Drop for Counted<T, A, C> {
    fn drop(&mut self) {
        if !self.inner().strong.down() {
            return;
        }
        let _weak = LastWeak { inner: self.inner, allocator: &self.allocator };
        // SAFETY: The last strong owner was just counted down, so nobody reaches the value any
        // more.
        unsafe { value_of(self.inner).drop_in_place() };
    }
}

impl<T: ?Sized, A: Allocator, C: Count> Drop for WeakCounted<T, A, C> {
    fn drop(&mut self) {
        drop(LastWeak { inner: self.inner, allocator: &self.allocator });
    }
}

impl<T: ?Sized, A: Allocator, C: Count> Deref for Counted<T, A, C> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T: ?Sized, A: Allocator, C: Count> AsRef<T> for Counted<T, A, C> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ?Sized, A: Allocator, C: Count> Borrow<T> for Counted<T, A, C> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: ?Sized + fmt::Debug, A: Allocator, C: Count> fmt::Debug for Counted<T, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display, A: Allocator, C: Count> fmt::Display for Counted<T, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized, A: Allocator, C: Count> fmt::Debug for WeakCounted<T, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(Weak)")
    }
}

impl<T: ?Sized + PartialEq, A: Allocator, C: Count> PartialEq for Counted<T, A, C> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: ?Sized + Eq, A: Allocator, C: Count> Eq for Counted<T, A, C> {}

impl<T: ?Sized + PartialOrd, A: Allocator, C: Count> PartialOrd for Counted<T, A, C> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: ?Sized + Ord, A: Allocator, C: Count> Ord for Counted<T, A, C> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: ?Sized + Hash, A: Allocator, C: Count> Hash for Counted<T, A, C> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

#[cold]
#[inline(never)]
pub(super) fn out_of_memory(layout: Layout) -> ! {
    std_alloc::alloc::handle_alloc_error(layout)
}
