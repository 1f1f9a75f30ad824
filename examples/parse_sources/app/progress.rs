//! Progress on standard error.
//!
//! The workers do nothing for it: a thread of its own looks at their queue now and then. So it
//! costs them no lock and no block, and nothing at all where nobody looks.

use super::tier::Tier;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

const REFRESH: Duration = Duration::from_millis(100);

/// Whether to show progress.
pub enum Progress {
    /// On standard error, if that is a terminal.
    Shown,
    /// Never.
    Hidden,
}

impl Progress {
    /// A bar for a run over `files` files.
    pub fn bar(&self, tier: Tier, files: usize) -> Bar {
        let target = match self {
            Self::Shown => ProgressDrawTarget::stderr(),
            Self::Hidden => ProgressDrawTarget::hidden(),
        };
        let style = ProgressStyle::with_template("{prefix:9} {wide_bar} {human_pos}/{human_len} files")
            .expect("the template is well-formed");
        let bar = ProgressBar::with_draw_target(Some(files as u64), target);
        Bar(bar.with_style(style).with_prefix(tier.to_string()))
    }
}

/// The progress of one run.
pub struct Bar(ProgressBar);

impl Bar {
    /// Does `work`, showing how far `position` is meanwhile.
    pub fn watch<R>(self, position: &AtomicUsize, work: impl FnOnce() -> R) -> R {
        if self.0.is_hidden() {
            return work();
        }
        thread::scope(|scope| {
            // Dropped when the work ends or unwinds, which ends the watcher too.
            let (_working, ended) = mpsc::channel::<()>();
            scope.spawn(move || {
                while ended.recv_timeout(REFRESH) == Err(RecvTimeoutError::Timeout) {
                    self.0.set_position(position.load(Ordering::Relaxed) as u64);
                }
                self.0.finish_and_clear();
            });
            work()
        })
    }
}
