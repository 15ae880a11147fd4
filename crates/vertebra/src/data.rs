//! Batches of views as tensors on the device of the run.

use pixels::loader::Batch;
use tch::{Device, Tensor};

/// One tensor `[N, C, S, S]` per view, on `device`; channels last in memory when asked, which convolutions prefer.
pub fn views_on(
    batch: &Batch,
    channels: usize,
    device: Device,
    channels_last: bool,
) -> Vec<Tensor> {
    let n = batch.samples.len();
    batch
        .views
        .iter()
        .map(|view| images_on(&view.data, n, channels, device, channels_last))
        .collect()
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
