//! How a heap stands to its account and its limits.

#![forbid(unsafe_code)]

/// Which account a heap is charged to, and how it stands to its limits: a word, zero for a heap
/// without an account that is within its limit.
///
/// ```text
///   bit 31         30                24 23                                0
///   +-------------+--------------------+----------------------------------+
///   | reserve open| limit passed, of.. | account, or 0                    |
///   +-------------+--------------------+----------------------------------+
///                  0 none, 1 the heap, 2 its account, 3 the one above, ...
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing(u32);

impl Standing {
    /// Without an account, within all limits.
    pub(crate) const PLAIN: Self = Self(0);
    const RESERVE: u32 = 1 << 31;
    const LEVEL: u32 = 24;
    /// No index of an account is larger.
    pub(crate) const LAST_ACCOUNT: u32 = (1 << Self::LEVEL) - 1;
    /// A level beyond this is noted as this one.
    pub(crate) const LAST_LEVEL: u32 = 127;

    #[inline(always)]
    pub(super) fn from_word(word: u32) -> Self {
        Self(word)
    }

    pub(super) fn word(self) -> u32 {
        self.0
    }

    #[inline(always)]
    pub(crate) fn is_plain(self) -> bool {
        self.0 == 0
    }

    /// That of a heap which is charged to an account, or to none: 0.
    pub(crate) const fn of_account(account: u32) -> Self {
        Self(account & Self::LAST_ACCOUNT)
    }

    pub(crate) fn account(self) -> u32 {
        self.0 & Self::LAST_ACCOUNT
    }

    /// The level whose limit the heap passed, if it did: 1 for the heap's own.
    #[inline(always)]
    pub(crate) fn passed(self) -> Option<u32> {
        Some((self.0 & !Self::RESERVE) >> Self::LEVEL).filter(|level| *level != 0)
    }

    /// Whether the heap passed a limit.
    #[inline(always)]
    pub(crate) fn is_over(self) -> bool {
        self.passed().is_some()
    }

    pub(crate) fn with_passed(self, level: u32) -> Self {
        let rest = self.0 & (Self::RESERVE | Self::LAST_ACCOUNT);
        Self(rest | level.min(Self::LAST_LEVEL) << Self::LEVEL)
    }

    /// Whether a request may be served beyond the limits, by as many bytes as the heap's user
    /// [noted](super::control::Link).
    pub(crate) fn reserve_is_open(self) -> bool {
        self.0 & Self::RESERVE != 0
    }

    pub(crate) fn with_reserve(self, open: bool) -> Self {
        if open { Self(self.0 | Self::RESERVE) } else { Self(self.0 & !Self::RESERVE) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_word_do_not_touch() {
        let standing = Standing::of_account(Standing::LAST_ACCOUNT).with_passed(3).with_reserve(true);
        assert_eq!((standing.account(), standing.passed()), (Standing::LAST_ACCOUNT, Some(3)));
        assert!(standing.is_over() && !Standing::of_account(7).with_reserve(true).is_over());
        assert!(standing.reserve_is_open() && !standing.is_plain());
        let closed = standing.with_reserve(false).with_passed(1000);
        assert_eq!((closed.account(), closed.passed()), (Standing::LAST_ACCOUNT, Some(127)));
        assert!(!closed.reserve_is_open());
        assert_eq!(closed.with_passed(0), Standing::of_account(Standing::LAST_ACCOUNT));
        assert!(Standing::of_account(0).is_plain());
    }
}
