//! Batches of views as tensors on the device of the run.

use half::slice::HalfBitsSliceExt;
use pixels::loader::{Batch, Numbers};
use pixels::numbers::{self, Form};
use pixels::plan::Normalize;
use tch::{Device, Kind, Tensor};

/// What the loader is to write for a network on `device` that computes in `autocast`.
///
/// A GPU gets the samples themselves, a quarter of the bytes, and normalises them. On the CPU, where a network computes in
/// bfloat16, its first layer would round the numbers to it; the loader does it before, and half the memory is moved.
pub fn form(channels: usize, device: Device, autocast: Option<Kind>, channels_last: bool) -> Form {
    let kind = match (device, autocast) {
        (Device::Cuda(_), _) if channels == 3 => numbers::Kind::U8,
        (Device::Cpu, Some(Kind::BFloat16)) => numbers::Kind::Bf16,
        _ => numbers::Kind::F32,
    };
    Form { kind, channels_last }
}

/// One normalised tensor `[N, C, S, S]` per view, on `device`; its memory lies as the batch's numbers do.
pub fn views_on(batch: &Batch, form: Form, normalize: &Normalize, device: Device) -> Vec<Tensor> {
    let (n, c) = (batch.samples.len() as i64, normalize.mean.len() as i64);
    let tensor = |view: &pixels::loader::View| {
        let side = view.size as i64;
        let numbers = match &view.data {
            Numbers::F32(numbers) => Tensor::from_slice(numbers),
            Numbers::Bf16(bits) => Tensor::from_slice::<half::bf16>(bits.reinterpret_cast()),
            Numbers::U8(samples) => Tensor::from_slice(samples),
        };
        // Pinned memory is copied by the card itself, while the processor goes on.
        let numbers = match device {
            Device::Cuda(_) => {
                numbers.pin_memory(device).to_device_(device, numbers.kind(), true, false)
            }
            _ => numbers,
        };
        let images = if form.channels_last {
            numbers.reshape([n, side, side, c]).permute([0, 3, 1, 2])
        } else {
            numbers.reshape([n, c, side, side])
        };
        if matches!(view.data, Numbers::U8(_)) { normalised(&images, normalize) } else { images }
    };
    batch.views.iter().map(tensor).collect()
}

/// Samples of 8 bits as the numbers that a network reads.
fn normalised(samples: &Tensor, normalize: &Normalize) -> Tensor {
    let channels = |numbers: Vec<f32>| {
        Tensor::from_slice(&numbers).reshape([1, -1, 1, 1]).to_device(samples.device())
    };
    let std = normalize.std.iter();
    let factor = channels(std.map(|std| 1.0 / (255.0 * std)).collect());
    let pairs = normalize.mean.iter().zip(&normalize.std);
    let shift = channels(pairs.map(|(mean, std)| -mean / std).collect());
    samples.to_kind(Kind::Float) * factor + shift
}

/// `data` is `[n, C, S, S]`, square images.
pub fn images_on(
    data: &[f32],
    n: usize,
    channels: usize,
    device: Device,
    channels_last: bool,
) -> Tensor {
    let side = ((data.len() / (n * channels).max(1)) as f64).sqrt().round() as i64;
    let shape = [n as i64, channels as i64, side, side];
    let images = Tensor::from_slice(data).reshape(shape).to_device(device);
    if channels_last { with_channels_last(&images) } else { images }
}

/// The same images, stored with channels innermost.
pub fn with_channels_last(images: &Tensor) -> Tensor {
    images.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}
