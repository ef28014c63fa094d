//! Repeated measurements of one thing.

use std::time::{Duration, Instant};

use anyhow::Result;

/// What a contestant showed in each round, in round order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    figures: Vec<f64>,
}

impl Sample {
    pub(crate) const fn new() -> Self {
        Self {
            figures: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, figure: f64) {
        self.figures.push(figure);
    }

    /// The middle figure; of an even number the mean of the middle two.
    pub(crate) fn median(&self) -> f64 {
        median(self.figures.clone())
    }

    /// The median of the ratios round by round, which a drifting machine moves
    /// less than a ratio of medians.
    pub(crate) fn ratio_to(&self, base: &Self) -> f64 {
        median(
            self.figures
                .iter()
                .zip(&base.figures)
                .map(|(ours, theirs)| ours / theirs)
                .collect(),
        )
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => figures[middle],
        _ => f64::midpoint(figures[middle - 1], figures[middle]),
    }
}

/// Milliseconds that `work` took.
pub(crate) fn milliseconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() / Duration::from_millis(1).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::Sample;

    #[test]
    fn the_median_ratio_is_of_pairs() {
        let (mut ours, mut theirs) = (Sample::default(), Sample::default());
        for (our, their) in [(2.0, 1.0), (30.0, 10.0), (4.0, 2.0)] {
            ours.push(our);
            theirs.push(their);
        }
        assert_eq!(ours.ratio_to(&theirs), 2.0);
        assert_eq!(ours.median(), 4.0);
        assert!(Sample::default().median().is_nan());
    }
}
