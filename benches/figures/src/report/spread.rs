//! The middle of several measurements.

use serde::{Deserialize, Serialize};

/// The median, and how far the measurements lie apart.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Spread {
    pub lower_quartile: f64,
    pub median: f64,
    pub upper_quartile: f64,
}

impl Spread {
    /// That of `values`, each quantile the nearest of them; none where there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |quarters: usize| values[(last * quarters + 2) / 4];
        Some(Self { lower_quartile: at(1), median: at(2), upper_quartile: at(3) })
    }
}
