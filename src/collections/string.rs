//! A growable string in any allocator.

use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::{AddAssign, Deref, DerefMut};
use core::str::Utf8Error;

use super::{TryReserveError, Vec};
use crate::adapt::AllocatorAdaptor;
use crate::alloc::Allocator;

/// The bytes of a [`String`]: a vector in its allocator.
pub type Bytes<A> = Vec<u8, AllocatorAdaptor<A>>;

/// A growable string in an [`Allocator`]: the `String` of the standard library, which has no
/// allocator of its own on stable Rust.
///
/// What is not here is on [`str`], or on the [`Vec`] that [`into_bytes`](Self::into_bytes) gives.
///
/// # Examples
/// ```
/// use context_allocator::collections::String;
/// use context_allocator::{BumpAllocator, MmapSource};
/// use std::fmt::Write;
///
/// let bump = BumpAllocator::new(MmapSource::new());
/// let mut text = String::from_str_in("one", &bump);
/// text.push_str(" and ");
/// write!(text, "{}", 2)?;
/// assert_eq!(text, "one and 2");
/// # Ok::<(), std::fmt::Error>(())
/// ```
pub struct String<A: Allocator> {
    /// Always UTF-8.
    bytes: Bytes<A>,
}

impl<A: Allocator> String<A> {
    /// An empty string, for which nothing is allocated yet.
    pub const fn new_in(allocator: A) -> Self {
        Self { bytes: Vec::new_in(AllocatorAdaptor::new(allocator)) }
    }

    /// An empty string with room for `capacity` bytes.
    ///
    /// # Panics
    /// As a `Vec` does where there is no memory; so does every method here that may grow the
    /// string.
    pub fn with_capacity_in(capacity: usize, allocator: A) -> Self {
        Self { bytes: Vec::with_capacity_in(capacity, allocator.adapt()) }
    }

    /// A copy of `text`.
    pub fn from_str_in(text: &str, allocator: A) -> Self {
        let mut string = Self::with_capacity_in(text.len(), allocator);
        string.push_str(text);
        string
    }

    /// `bytes` as a string.
    ///
    /// # Errors
    /// The bytes, and where they are not UTF-8.
    pub fn from_utf8(bytes: Bytes<A>) -> Result<Self, (Bytes<A>, Utf8Error)> {
        match core::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self { bytes }),
            Err(error) => Err((bytes, error)),
        }
    }

    /// `bytes` as a string, without looking at them.
    ///
    /// # Safety
    /// They are UTF-8.
    pub const unsafe fn from_utf8_unchecked(bytes: Bytes<A>) -> Self {
        Self { bytes }
    }

    /// The bytes of the string.
    pub fn into_bytes(self) -> Bytes<A> {
        self.bytes
    }

    /// The allocator.
    pub fn allocator(&self) -> &A {
        self.bytes.allocator().inner()
    }

    /// The string as a slice.
    pub fn as_str(&self) -> &str {
        self
    }

    /// The bytes that there is room for before the string must grow.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Makes room for `additional` bytes beyond the length.
    pub fn reserve(&mut self, additional: usize) {
        self.bytes.reserve(additional);
    }

    /// Makes room for `additional` bytes beyond the length.
    ///
    /// # Errors
    /// Where there is no memory; the string is as it was.
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), TryReserveError> {
        self.bytes.try_reserve(additional)
    }

    /// Gives back the room beyond the length.
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Puts `text` behind the string.
    pub fn push_str(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Puts a character behind the string.
    pub fn push(&mut self, character: char) {
        self.push_str(character.encode_utf8(&mut [0; 4]));
    }

    /// Takes the last character off.
    pub fn pop(&mut self) -> Option<char> {
        let last = self.chars().next_back()?;
        self.bytes.truncate(self.len() - last.len_utf8());
        Some(last)
    }

    /// Cuts the string to `len` bytes, if it is longer.
    ///
    /// # Panics
    /// Where `len` is not the boundary of a character.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.assert_boundary(len);
            self.bytes.truncate(len);
        }
    }

    /// Cuts the string off at `at` bytes, and gives what was behind in a string of its own.
    ///
    /// # Panics
    /// Where `at` is not the boundary of a character.
    #[must_use = "`truncate` only cuts"]
    pub fn split_off(&mut self, at: usize) -> Self
    where
        A: Clone,
    {
        self.assert_boundary(at);
        Self { bytes: self.bytes.split_off(at) }
    }

    /// Inserts `text` at `at` bytes.
    ///
    /// # Panics
    /// Where `at` is not the boundary of a character.
    pub fn insert_str(&mut self, at: usize, text: &str) {
        self.assert_boundary(at);
        self.bytes.extend_from_slice(text.as_bytes());
        // UTF-8 before and behind; nothing here panics in between.
        if let Some(behind) = self.bytes.get_mut(at..) {
            behind.rotate_right(text.len());
        }
    }

    /// Inserts a character at `at` bytes.
    ///
    /// # Panics
    /// Where `at` is not the boundary of a character.
    pub fn insert(&mut self, at: usize, character: char) {
        self.insert_str(at, character.encode_utf8(&mut [0; 4]));
    }

    /// Takes out the character that begins at `at` bytes.
    ///
    /// # Panics
    /// Where no character begins there.
    pub fn remove(&mut self, at: usize) -> char {
        self.assert_boundary(at);
        let Some(character) = self.get(at..).and_then(|behind| behind.chars().next()) else {
            panic!("no character begins at the end of a string");
        };
        self.bytes.drain(at..at + character.len_utf8());
        character
    }

    /// Keeps the characters for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(char) -> bool) {
        let mut sieve = Sieve { bytes: &mut self.bytes, kept: 0, at: 0 };
        while let Some(character) = sieve.next() {
            let len = character.len_utf8();
            if keep(character) {
                sieve.bytes.copy_within(sieve.at..sieve.at + len, sieve.kept);
                sieve.kept += len;
            }
            sieve.at += len;
        }
    }

    /// Empties the string, and keeps its room.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    #[track_caller]
    fn assert_boundary(&self, at: usize) {
        assert!(self.is_char_boundary(at), "{at} is not the boundary of a character");
    }
}

/// What `retain` works on: the characters kept, bytes that mean nothing, and from `at` on the
/// characters not yet looked at. Where it ends, also by a panic, the string is what was kept.
struct Sieve<'a, A: Allocator> {
    bytes: &'a mut Bytes<A>,
    kept: usize,
    at: usize,
}

impl<A: Allocator> Sieve<'_, A> {
    /// The character at `at`.
    fn next(&self) -> Option<char> {
        let rest = self.bytes.get(self.at..)?;
        // SAFETY: The bytes from `at` on are those of the string, which is UTF-8, and `at` is the
        // boundary of a character.
        unsafe { core::str::from_utf8_unchecked(rest) }.chars().next()
    }
}

impl<A: Allocator> Drop for Sieve<'_, A> {
    fn drop(&mut self) {
        self.bytes.truncate(self.kept);
    }
}

impl<A: Allocator> Deref for String<A> {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        // SAFETY: The bytes are always UTF-8.
        unsafe { core::str::from_utf8_unchecked(&self.bytes) }
    }
}

impl<A: Allocator> DerefMut for String<A> {
    #[inline]
    fn deref_mut(&mut self) -> &mut str {
        // SAFETY: The bytes are always UTF-8, and a `str` stays so.
        unsafe { core::str::from_utf8_unchecked_mut(&mut self.bytes) }
    }
}

impl<A: Allocator + Clone> Clone for String<A> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone() }
    }
}

impl<A: Allocator> AsRef<str> for String<A> {
    fn as_ref(&self) -> &str {
        self
    }
}

impl<A: Allocator> AsRef<[u8]> for String<A> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<A: Allocator> Borrow<str> for String<A> {
    fn borrow(&self) -> &str {
        self
    }
}

impl<A: Allocator> fmt::Debug for String<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<A: Allocator> fmt::Display for String<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<A: Allocator> fmt::Write for String<A> {
    /// # Errors
    /// Where there is no memory.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.try_reserve(text.len()).map_err(|_| fmt::Error)?;
        self.push_str(text);
        Ok(())
    }
}

impl<A: Allocator> Extend<char> for String<A> {
    fn extend<I: IntoIterator<Item = char>>(&mut self, characters: I) {
        characters.into_iter().for_each(|character| self.push(character));
    }
}

impl<'a, A: Allocator> Extend<&'a str> for String<A> {
    fn extend<I: IntoIterator<Item = &'a str>>(&mut self, texts: I) {
        texts.into_iter().for_each(|text| self.push_str(text));
    }
}

impl<A: Allocator> AddAssign<&str> for String<A> {
    fn add_assign(&mut self, text: &str) {
        self.push_str(text);
    }
}

impl<A: Allocator, B: Allocator> PartialEq<String<B>> for String<A> {
    fn eq(&self, other: &String<B>) -> bool {
        **self == **other
    }
}

impl<A: Allocator> Eq for String<A> {}

impl<A: Allocator> PartialEq<str> for String<A> {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl<A: Allocator> PartialEq<&str> for String<A> {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl<A: Allocator, B: Allocator> PartialOrd<String<B>> for String<A> {
    fn partial_cmp(&self, other: &String<B>) -> Option<Ordering> {
        Some((**self).cmp(&**other))
    }
}

impl<A: Allocator> Ord for String<A> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl<A: Allocator> Hash for String<A> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}
