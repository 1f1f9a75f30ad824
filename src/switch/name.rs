//! Names that are kept without allocating.

#![forbid(unsafe_code)]

use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;

/// A short text of its own, such as the name of a heap or an account: at most 55 bytes, what is
/// longer is cut at a character.
///
/// # Examples
/// ```
/// use context_allocator::switch::Name;
///
/// let name = Name::new("GET /index.html");
/// assert_eq!(name.as_str(), "GET /index.html");
/// assert!(Name::new(&"long".repeat(100)).len() <= 55);
/// ```
#[derive(Clone, Copy)]
pub struct Name {
    /// Valid UTF-8 up to `len`.
    bytes: [u8; Self::MOST],
    len: u8,
}

impl Name {
    const MOST: usize = 55;

    /// No name.
    pub const NONE: Self = Self { bytes: [0; Self::MOST], len: 0 };

    /// Copies a text, or as much of it as a name holds.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut name = Self::NONE;
        let text = &text.as_bytes()[..text.floor_char_boundary(Self::MOST)];
        name.bytes[..text.len()].copy_from_slice(text);
        name.len = u8::try_from(text.len()).unwrap_or(0);
        name
    }

    /// The text; empty if there is no name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl Default for Name {
    fn default() -> Self {
        Self::NONE
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_at_a_character() {
        let text = "ä".repeat(40);
        let name = Name::new(&text);
        assert_eq!(name.as_str(), "ä".repeat(27));
        let odd = Name::new(&std::format!("x{text}"));
        assert_eq!(odd.len(), 55);
        assert_eq!(Name::new(""), Name::NONE);
        assert_eq!(size_of::<Name>(), 56);
    }
}
