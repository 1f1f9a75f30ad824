//! The tiers by name.

use serde::Serialize;
use std::fmt;

/// Where the blocks of a request come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// One allocator that all threads share.
    Global,
    /// A heap for each thread.
    Thread,
    /// A heap for each request.
    Coroutine,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Global => "global",
            Self::Thread => "thread",
            Self::Coroutine => "coroutine",
        })
    }
}
