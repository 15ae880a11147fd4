//! Batches of views as tensors on the device of the run.

mod action;
mod canvas;
mod finish;

use half::slice::HalfBitsSliceExt;
use pixels::image::Image;
use pixels::loader::{Batch, Numbers, Prepared, View};
use pixels::numbers::{self, Form};
use pixels::plan::{Normalize, Preprocess, ViewPlan, ViewSpec};
use pixels::record::ViewRecord;
use tch::{Device, Kind, Tensor};

pub use action::{ACTIONS, action, actions_on};
pub use canvas::{Canvas, Strengths};
use finish::finish;

/// What the loader is to write for a network on `device` that computes in `autocast`.
///
/// A GPU gets the samples themselves, a quarter of the bytes, and normalises them. On the CPU, where a network computes in
/// bfloat16, its first layer would round the numbers to it; the loader does it before, and half the memory is moved.
pub fn form(
    channels: usize,
    device: Device,
    autocast: Option<Kind>,
    channels_last: bool,
    geometry_only: bool,
) -> Form {
    let kind = match (device, autocast) {
        // What is unfinished has to be bytes; so has what is moved to a card.
        _ if geometry_only => numbers::Kind::U8,
        (Device::Cuda(_), _) if channels == 3 => numbers::Kind::U8,
        (Device::Cpu, Some(Kind::BFloat16)) => numbers::Kind::Bf16,
        _ => numbers::Kind::F32,
    };
    Form { kind, channels_last, geometry_only }
}

/// One normalised tensor `[N, C, S, S]` per view, on `device`; its memory lies as the batch's numbers do. `form` and `plan`
/// are those of the loader.
pub fn views_on(batch: &Batch, form: Form, plan: &ViewPlan, device: Device) -> Vec<Tensor> {
    let normalize = &plan.normalize;
    let (n, c) = (batch.samples.len() as i64, normalize.mean.len() as i64);
    let tensor = |((view, records), spec): ((&View, &Vec<ViewRecord>), &ViewSpec)| {
        let images = numbers_on(&view.data, form, [n, c, view.size as i64], device);
        match view.data {
            Numbers::U8(_) if form.geometry_only => {
                normalised(&finish(&images, spec, records), normalize)
            }
            Numbers::U8(_) => normalised(&images, normalize),
            _ => images,
        }
    };
    batch.views.iter().zip(&batch.records).zip(plan.unfolded()).map(tensor).collect()
}

/// Prepared images as a normalised tensor `[n, C, S, S]` on `device`; its memory lies as the batch's numbers do. `form`
/// and `preprocess` are those that the batch was made with.
pub fn prepared_on(
    batch: &Prepared,
    form: Form,
    preprocess: &Preprocess,
    device: Device,
) -> Tensor {
    let normalize = &preprocess.normalize;
    let channels = normalize.mean.len() as i64;
    let shape = [batch.samples.len() as i64, channels, preprocess.crop as i64];
    let images = numbers_on(&batch.data, form, shape, device);
    if form.kind == numbers::Kind::U8 { normalised(&images, normalize) } else { images }
}

/// Square images of 8 bits, all of one size and with as many channels as `normalize` has, as a normalised tensor `[n, C, S, S]` on
/// `device`.
pub fn images_on(images: &[Image], normalize: &Normalize, device: Device) -> Tensor {
    let (n, c) = (images.len() as i64, normalize.mean.len() as i64);
    let side = images.first().map_or(0, |image| image.width as i64);
    let samples: Vec<u8> =
        images.iter().filter_map(Image::as_u8).flat_map(|it| it.iter().copied()).collect();
    let samples = Tensor::from_slice(&samples).reshape([n, side, side, c]).to_device(device);
    normalised(&samples.permute([0, 3, 1, 2]), normalize).contiguous()
}

/// Numbers of n square images of c channels as a tensor `[n, c, side, side]`.
fn numbers_on(numbers: &Numbers, form: Form, [n, c, side]: [i64; 3], device: Device) -> Tensor {
    let numbers = match numbers {
        Numbers::F32(numbers) => Tensor::from_slice(numbers),
        // `tch` takes these bits for IEEE half precision.
        Numbers::Bf16(bits) => {
            Tensor::from_slice::<half::bf16>(bits.reinterpret_cast()).view_dtype(Kind::BFloat16)
        }
        Numbers::U8(samples) => Tensor::from_slice(samples),
    };
    // Pinned memory is copied by the card itself, while the processor goes on.
    let numbers = match device {
        Device::Cuda(_) => {
            numbers.pin_memory(device).to_device_(device, numbers.kind(), true, false)
        }
        _ => numbers,
    };
    if form.channels_last {
        numbers.reshape([n, side, side, c]).permute([0, 3, 1, 2])
    } else {
        numbers.reshape([n, c, side, side])
    }
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

/// The same images, stored with channels innermost.
pub fn with_channels_last(images: &Tensor) -> Tensor {
    images.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use pixels::loader::{Loader, LoaderOptions, Share};

    use super::*;

    /// The first batch of a loader as tensors.
    fn views(form: Form) -> Vec<Tensor> {
        let plan = ViewPlan {
            views: vec![ViewSpec { count: 2, size: 24, ..ViewSpec::default() }],
            normalize: Normalize::imagenet(),
        };
        let options = LoaderOptions {
            seed: 3,
            batch: 32,
            share: Share::ALL,
            workers: 1,
            channels: 3,
            strict: true,
            exact: false,
            form,
        };
        let source = pixels::source::open("world:?size=32&count=32").unwrap();
        let loader = Loader::new(source, plan.clone(), options).unwrap();
        let batch = loader.batches(0..1).unwrap().next().unwrap().unwrap();
        views_on(&batch, form, &plan, Device::Cpu)
    }

    #[test]
    fn every_form_and_place_of_computing_gives_the_same_views() {
        use numbers::Kind::{Bf16, F32, U8};
        let expected = views(Form::default());
        for (kind, geometry_only) in [(F32, false), (U8, false), (U8, true), (Bf16, false)] {
            for channels_last in [false, true] {
                let form = Form { kind, channels_last, geometry_only };
                for (view, expected) in views(form).iter().zip(&expected) {
                    assert_eq!(view.size(), expected.size());
                    let apart = (view.to_kind(Kind::Float) - expected).abs().max();
                    // bfloat16 has 8 bits, and the numbers are below 4; single precision loses a bit or two.
                    let limit = if kind == Bf16 { 0.008 } else { 1e-6 };
                    assert!(apart.double_value(&[]) <= limit, "{form:?} {apart:?}");
                }
            }
        }
    }
}
