//! Reproducible chance.

/// SplitMix64: a small generator that passes the usual tests; nothing here is secret.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, but without, 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
        let numerator = (self.next() >> 11) as f64;
        numerator / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_fractions_and_they_are_spread_evenly() {
        let (mut one, mut two) = (Random::new(7), Random::new(7));
        let mut below_a_tenth = 0;
        for _ in 0..10_000 {
            let fraction = one.fraction();
            assert_eq!(fraction.to_bits(), two.fraction().to_bits());
            assert!((0.0..1.0).contains(&fraction));
            below_a_tenth += u32::from(fraction < 0.1);
        }
        assert!((900..1100).contains(&below_a_tenth), "{below_a_tenth}");
    }
}
