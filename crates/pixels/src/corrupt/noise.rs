//! Noise that is drawn for every sample on its own, plane after plane.

use crate::draw::Stream;
use crate::planes::Planes;

use super::{sample, share};

/// Adds a normal number of standard deviation `sigma`.
pub(super) fn gaussian(image: &mut Planes<u8>, sigma: f64, stream: &mut Stream) {
    each(image, |x| x + sigma * stream.normal());
}

/// Photons are counted, on average `photons` of them for a full sample.
pub(super) fn shot(image: &mut Planes<u8>, photons: f64, stream: &mut Stream) {
    each(image, |x| f64::from(poisson(x * photons, stream)) / photons);
}

/// A sample becomes nothing or full with the chance `amount`.
pub(super) fn impulse(image: &mut Planes<u8>, amount: f64, stream: &mut Stream) {
    each(image, |x| match stream.chance(amount) {
        false => x,
        true if stream.chance(0.5) => 1.0,
        true => 0.0,
    });
}

/// Adds a normal number of standard deviation `sigma` times the sample.
pub(super) fn speckle(image: &mut Planes<u8>, sigma: f64, stream: &mut Stream) {
    each(image, |x| x + x * sigma * stream.normal());
}

fn each(image: &mut Planes<u8>, mut change: impl FnMut(f64) -> f64) {
    for it in &mut image.samples {
        *it = sample(change(share(*it)));
    }
}

/// A Poisson number by inversion of its distribution. `mean` is below 700, where exp(−mean) is still a number.
fn poisson(mean: f64, stream: &mut Stream) -> u32 {
    let mut left = stream.uniform();
    let (mut count, mut chance) = (0, (-mean).exp());
    // Rounding may leave a little at the far end, where the chances vanish.
    while left >= chance && chance > 0.0 {
        left -= chance;
        count += 1;
        chance *= mean / f64::from(count);
    }
    count
}
