//! The random numbers of the transforms that know nothing of colour.

use crate::draw::{Draw, Purpose};
use crate::plan::Channels;
use crate::record::ChannelsRecord;

/// Draws what happens to each of `channels` channels, `None` where nothing does.
///
/// Every number is drawn whether its transform is on or not, and those of the whole view before those of the channels:
/// a strength that is changed, or a channel that is added, leaves the other draws as they were.
pub(super) fn choose(spec: &Channels, channels: usize, draw: Draw) -> Option<ChannelsRecord> {
    let mut stream = draw.stream(Purpose::Channels);
    if !stream.chance(spec.probability) || spec.is_off() {
        return None;
    }
    let noise = stream.range(spec.noise[0], spec.noise[1]) as f32;
    let noise_seed = stream.bits() >> 11;
    let dropped = (stream.chance(spec.drop), stream.uniform());
    let mut record = ChannelsRecord {
        gain: Vec::with_capacity(channels),
        offset: Vec::with_capacity(channels),
        gamma: Vec::with_capacity(channels),
        noise,
        noise_seed,
        dropped: dropped.0.then_some((dropped.1 * channels as f64) as usize),
    };
    for _ in 0..channels {
        record.gain.push(stream.range((1.0 - spec.gain).max(0.0), 1.0 + spec.gain) as f32);
        record.offset.push(stream.range(-spec.offset, spec.offset) as f32);
        let widest = spec.gamma.ln();
        record.gamma.push(stream.range(-widest, widest).exp() as f32);
    }
    Some(record)
}
