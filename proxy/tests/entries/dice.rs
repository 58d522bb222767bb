//! Random numbers that are the same for the same seed.

/// A generator (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below this one.
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.next() % most.max(1)
    }

    /// From 0 to 1.
    pub(crate) fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn chance(&mut self, part: f64) -> bool {
        self.part() < part
    }

    /// A lognormal weight with a sigma of 1: a few carry most.
    pub(crate) fn heavy(&mut self) -> f64 {
        let (a, b) = (self.part().max(1e-12), self.part());
        ((-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()).exp().min(8.0)
    }
}
