//! The photometric part of views on the device of the network: the same records, the same bytes as on the CPU.
//!
//! Worth it where there is a GPU and the making of views is what training waits for; `doctor` measures which.

use pixels::ops::BoxKernel;
use pixels::plan::ViewSpec;
use pixels::record::{JitterRecord, ViewRecord};
use tch::{Kind, Tensor};

/// Colour jitter, grey, blur and solarize after the records, on views that have been cropped, resized and flipped:
/// `[N, 3, S, S]` of 8-bit samples, in any layout (as the loader leaves them with `geometry_only`). The result has the same kind, and equals what
/// [`pixels::view::Renderer`] makes on the CPU sample by sample.
pub fn finish(views: &Tensor, spec: &ViewSpec, records: &[ViewRecord]) -> Tensor {
    let mut views = views.to_kind(Kind::Float);
    for place in 0..4 {
        for op in 0..4 {
            let chosen = |jitter: &JitterRecord| jitter.order[place] == op;
            views = with_jitter(&views, records, chosen, |views, jitters| {
                jittered(views, spec, op, jitters)
            });
        }
    }
    views = where_recorded(
        &views,
        records,
        |record| record.grayscale,
        |views, _| luma(views).expand_as(views),
    );
    views = where_recorded(
        &views,
        records,
        |record| record.blur.is_some(),
        |views, records| {
            blurred(views, &records.iter().filter_map(|record| record.blur).collect::<Vec<_>>())
        },
    );
    views = where_recorded(
        &views,
        records,
        |record| record.solarized,
        |views, _| views.minimum(&(255.0 - views)),
    );
    views.to_kind(Kind::Uint8)
}

/// Changes the views whose records are chosen.
fn where_recorded(
    views: &Tensor,
    records: &[ViewRecord],
    chosen: impl Fn(&ViewRecord) -> bool,
    change: impl FnOnce(&Tensor, &[&ViewRecord]) -> Tensor,
) -> Tensor {
    let places = (0..).zip(records).filter(|(_, record)| chosen(record));
    let (places, records): (Vec<i64>, Vec<&ViewRecord>) = places.unzip();
    if places.is_empty() {
        return views.shallow_clone();
    }
    let places = Tensor::from_slice(&places).to_device(views.device());
    let changed = change(&views.index_select(0, &places), &records);
    views.index_copy(0, &places, &changed)
}

fn with_jitter(
    views: &Tensor,
    records: &[ViewRecord],
    chosen: impl Fn(&JitterRecord) -> bool,
    change: impl FnOnce(&Tensor, &[JitterRecord]) -> Tensor,
) -> Tensor {
    let jittered = |record: &ViewRecord| record.jitter.as_ref().is_some_and(&chosen);
    where_recorded(views, records, jittered, |views, records| {
        change(views, &records.iter().filter_map(|record| record.jitter).collect::<Vec<_>>())
    })
}

/// One operation of a jitter on all views, each with its own factor.
fn jittered(views: &Tensor, spec: &ViewSpec, op: u8, jitters: &[JitterRecord]) -> Tensor {
    let each = |value: fn(&JitterRecord) -> f32| {
        let values: Vec<f32> = jitters.iter().map(value).collect();
        Tensor::from_slice(&values).reshape([-1, 1, 1, 1]).to_device(views.device())
    };
    match op {
        0 => blended(&views.zeros_like(), views, &each(|jitter| jitter.brightness)),
        1 => {
            let mean = luma(views).mean_dim([1i64, 2, 3].as_slice(), true, Kind::Double);
            let mean = (mean + 0.5).floor().to_kind(Kind::Float);
            blended(&mean, views, &each(|jitter| jitter.contrast))
        }
        2 => blended(&luma(views), views, &each(|jitter| jitter.saturation)),
        _ if spec.jitter.hue > 0.0 => {
            let steps = jitters.iter().map(|jitter| (f64::from(jitter.hue) * 255.0) as i64 & 255);
            let steps = Tensor::from_slice(&steps.collect::<Vec<_>>()).reshape([-1, 1, 1]);
            turned(views, &steps.to_device(views.device()))
        }
        _ => views.shallow_clone(),
    }
}

/// `from` at factor 0, `to` at 1, and beyond; truncated and clipped.
fn blended(from: &Tensor, to: &Tensor, factor: &Tensor) -> Tensor {
    (from + factor * (to - from)).clamp(0.0, 255.0).trunc()
}

/// Luminance after ITU-R BT.601, in fixed point with 16 bits: `[N, 1, S, S]`.
fn luma(views: &Tensor) -> Tensor {
    let [r, g, b] = channels(&views.to_kind(Kind::Int));
    let sum: Tensor = r * 19_595 + g * 38_470 + b * 7_471 + 32_768;
    sum.bitwise_right_shift_tensor_scalar(16).to_kind(Kind::Float).unsqueeze(1)
}

fn channels(views: &Tensor) -> [Tensor; 3] {
    [0, 1, 2].map(|channel| views.select(1, channel))
}

/// The hue turned by whole 255ths, through Pillow's HSV of 8 bits (see `pixels::ops::hue`).
fn turned(views: &Tensor, steps: &Tensor) -> Tensor {
    let [r, g, b] = channels(views);
    let max = r.maximum(&g).maximum(&b);
    let min = r.minimum(&g).minimum(&b);
    let range = &max - &min;
    let saturation = (&range * 255.0 / max.clamp_min(1.0)).floor();
    let middle = (&max * 2.0 + &min - &r - &g - &b) / range.clamp_min(1.0);
    let red_side = (&middle - 1.0f64).where_self(&g.less_tensor(&b), &(1.0f64 - &middle));
    let green_side = (&middle + 1.0f64).where_self(&b.less_tensor(&r), &(3.0f64 - &middle));
    let blue_side = (&middle + 3.0f64).where_self(&r.less_tensor(&g), &(5.0f64 - &middle));
    let other = green_side.where_self(&g.eq_tensor(&max), &blue_side);
    let turns = red_side.where_self(&r.eq_tensor(&max), &other) / 6.0;
    let turns = (&turns + 1.0f64).where_self(&turns.less(0.0), &turns);
    // In double precision the product is exact, so its whole part is that of the exact product.
    let hue = (turns.to_kind(Kind::Double) * 255.0).floor().to_kind(Kind::Int64);
    let hue = hue * range.greater(0.0) + steps;
    let sixths: Tensor = hue.bitwise_and(255) * 6;
    let side = sixths.divide_scalar_mode(255, "floor");
    let along = &sixths - &side * 255;
    let side = side.remainder(6);
    let [s, v] = [saturation, max].map(|it| it.to_kind(Kind::Int64));
    let rounded = |n: Tensor| (n + 32_512).divide_scalar_mode(65_025, "floor");
    let p = rounded(&v * (65_025 - &s * 255));
    let q = rounded(&v * (65_025 - &s * &along));
    let t = rounded(&v * (65_025 - &s * (255 - along)));
    let pick = |six: [&Tensor; 6]| {
        let all = Tensor::stack(&six, 0);
        all.gather(0, &side.unsqueeze(0), false).squeeze_dim(0)
    };
    let rgb = [
        pick([&v, &q, &p, &p, &t, &v]),
        pick([&t, &v, &v, &q, &p, &p]),
        pick([&p, &p, &t, &v, &v, &q]),
    ];
    Tensor::stack(&rgb, 1).to_kind(Kind::Float)
}

/// Three extended boxes along each axis, each view with its own σ; whole numbers of 64 bits.
fn blurred(views: &Tensor, sigmas: &[f32]) -> Tensor {
    let kernels: Vec<BoxKernel> = sigmas.iter().map(|&sigma| BoxKernel::new(sigma)).collect();
    let reach = kernels.iter().map(|kernel| kernel.radius + 1).max().unwrap_or(1) as i64;
    let weight = |distance: i64| {
        let of = |kernel: &BoxKernel| match distance - kernel.radius as i64 {
            ..=0 => i64::from(kernel.inner),
            1 => i64::from(kernel.edge),
            _ => 0,
        };
        let weights: Vec<i64> = kernels.iter().map(of).collect();
        Tensor::from_slice(&weights).reshape([-1, 1, 1, 1]).to_device(views.device())
    };
    let weights: Vec<Tensor> = (-reach..=reach).map(|by| weight(by.abs())).collect();
    let mut views = views.to_kind(Kind::Int64);
    for axis in [3, 2] {
        let side = views.size()[axis as usize];
        // Positions beyond the edges are those of the edges.
        let index = |by: i64| {
            let at: Vec<i64> = (0..side).map(|i| (i + by).clamp(0, side - 1)).collect();
            Tensor::from_slice(&at).to_device(views.device())
        };
        let shifts: Vec<Tensor> = (-reach..=reach).map(index).collect();
        for _ in 0..BoxKernel::PASSES {
            let mut sum = views.full_like(1i64 << (BoxKernel::PRECISION - 1));
            for (weight, shift) in weights.iter().zip(&shifts) {
                sum += views.index_select(axis, shift) * weight;
            }
            views = sum.bitwise_right_shift_tensor_scalar(i64::from(BoxKernel::PRECISION));
        }
    }
    views.to_kind(Kind::Float)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use pixels::draw::Draw;
    use pixels::plan::{Blur, Jitter};
    use pixels::source::open;
    use pixels::view::{choose, replay};

    use super::*;

    /// `[S, S, 3]` bytes as `[3, S, S]`.
    fn tensor(image: &pixels::image::Image) -> Tensor {
        let shape = [image.height as i64, image.width as i64, 3];
        Tensor::from_slice(image.as_u8().unwrap()).reshape(shape).permute([2, 0, 1])
    }

    #[test]
    fn views_finished_on_the_device_equal_those_of_the_cpu() {
        let source = open("world:?size=64&count=48").unwrap();
        let spec = ViewSpec {
            size: 40,
            jitter: Jitter { probability: 0.9, hue: 0.5, saturation: 0.9, ..Jitter::default() },
            grayscale: 0.2,
            blur: Blur { probability: 0.6, sigma: [0.1, 4.0] },
            solarize: 0.3,
            ..ViewSpec::default()
        };
        let (mut begun, mut expected, mut records) = (Vec::new(), Vec::new(), Vec::new());
        for sample in 0..48 {
            let image = source.get(sample).unwrap().image;
            let draw = Draw { sample: sample as u64, ..Draw::of_seed(2) };
            let record = choose([64, 64], 3, &spec, draw);
            begun.push(tensor(&replay(&image, &spec, &record.geometry())));
            expected.push(tensor(&replay(&image, &spec, &record)));
            records.push(record);
        }
        let found = finish(&Tensor::stack(&begun, 0), &spec, &records);
        let apart =
            (found.to_kind(Kind::Int) - Tensor::stack(&expected, 0).to_kind(Kind::Int)).abs();
        assert_eq!(apart.max().int64_value(&[]), 0, "{}", apart.to_kind(Kind::Float).mean(None));
    }
}
