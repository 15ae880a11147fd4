//! A stand-in for `pixels::loader::prepared` with its signature, until the two meet: one thread, no resizing.

use std::sync::Arc;

use pixels::plan::Preprocess;
use pixels::source::{Source, SourceError};

pub(super) struct Prepared {
    pub samples: Vec<usize>,
    /// `[n, C, S, S]`
    pub data: Vec<f32>,
    pub labels: Vec<Option<u32>>,
    pub skipped: Vec<Skipped>,
}

pub(super) struct Skipped {
    pub name: String,
    pub problem: String,
}

pub(super) fn prepared(
    source: Arc<dyn Source>,
    indices: Option<Vec<usize>>,
    preprocess: &Preprocess,
    channels: usize,
    batch: usize,
    _workers: usize,
) -> impl Iterator<Item = Result<Prepared, SourceError>> + use<> {
    let indices = indices.unwrap_or_else(|| (0..source.len()).collect());
    let preprocess = preprocess.clone();
    let chunks: Vec<Vec<usize>> = indices.chunks(batch.max(1)).map(<[usize]>::to_vec).collect();
    chunks.into_iter().map(move |chunk| {
        let mut out = Prepared { samples: vec![], data: vec![], labels: vec![], skipped: vec![] };
        for index in chunk {
            let sample = source.get(index).map_err(|error| error.problem).and_then(|sample| {
                let fits = sample.image.width == preprocess.crop
                    && sample.image.height == preprocess.crop
                    && sample.image.channels == channels;
                if fits { Ok(sample) } else { Err("this stand-in cannot resize".to_string()) }
            });
            match sample {
                Err(problem) => {
                    out.skipped.push(Skipped { name: source.name(index), problem });
                }
                Ok(sample) => {
                    out.samples.push(index);
                    out.labels.push(sample.label);
                    let image = sample.image.into_u8();
                    let samples = image.as_u8().unwrap_or_default();
                    for channel in 0..channels {
                        let (mean, std) =
                            (preprocess.normalize.mean[channel], preprocess.normalize.std[channel]);
                        out.data.extend(
                            samples[channel..]
                                .iter()
                                .step_by(channels)
                                .map(|&value| (f32::from(value) / 255.0 - mean) / std),
                        );
                    }
                }
            }
        }
        Ok(out)
    })
}
