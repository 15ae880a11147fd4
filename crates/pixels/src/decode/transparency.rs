//! Transparent pixels become opaque.

/// Drops the last of `channels` channels, alpha, after composing the others over white: what a transparent picture
/// looks like on paper.
pub fn over_white<T: Sample>(samples: &[T], channels: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(samples.len() / channels * (channels - 1));
    for pixel in samples.chunks_exact(channels) {
        let alpha = pixel[channels - 1];
        out.extend(pixel[..channels - 1].iter().map(|&sample| T::over_white(sample, alpha)));
    }
    out
}

pub trait Sample: Copy {
    fn over_white(self, alpha: Self) -> Self;
}

impl Sample for u8 {
    fn over_white(self, alpha: Self) -> Self {
        let [sample, alpha] = [self, alpha].map(u32::from);
        ((sample * alpha + 255 * (255 - alpha) + 127) / 255) as Self
    }
}

impl Sample for u16 {
    fn over_white(self, alpha: Self) -> Self {
        let [sample, alpha] = [self, alpha].map(u64::from);
        ((sample * alpha + 65_535 * (65_535 - alpha) + 32_767) / 65_535) as Self
    }
}
