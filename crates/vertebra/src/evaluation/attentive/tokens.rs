//! The tokens of a source's images: kept in memory, or made anew each time they are asked for.

use std::collections::BTreeMap;

use pixels::loader::prepared;
use tch::{Device, Kind, Tensor};

use super::usage;
use crate::error::{Error, Result};
use crate::evaluation::{Encoder, LabelledImages, label_tensor};
use crate::hardware;

/// What a token's number is rounded to, kept or not, so that both give the same score: the range of f32, three
/// digits, half the memory. Encoders on hardware that has it compute in it.
const KIND: Kind = Kind::BFloat16;

/// Images per forward pass of the encoder where the consumer does not say.
const BATCH: usize = 64;

const GIB: f64 = (1u64 << 30) as f64;

pub(super) struct Tokens<'a> {
    encoder: &'a Encoder,
    images: LabelledImages,
    width: i64,
    /// `[N, T, D]` on the CPU, a row for each of the images.
    kept: Option<Tensor>,
}

impl<'a> Tokens<'a> {
    /// Those of images that are looked at more than once. Kept if they need at most `memory` GiB; images that cannot
    /// be read are then left out of [`images`](Self::images).
    pub(super) fn of(encoder: &'a Encoder, images: LabelledImages, memory: f64) -> Result<Self> {
        let mut tokens = Self::once(encoder, images);
        let all: Vec<usize> = (0..tokens.images.samples.len()).collect();
        let (mut width, mut kept, mut readable) = (0, None, Vec::new());
        tokens.make(&all, BATCH, &mut |made, rows| {
            let (n, t, d) = made.size3()?;
            width = d;
            let shape = [all.len() as i64, t, d];
            let bytes = shape.iter().product::<i64>() as usize * KIND.elt_size_in_bytes();
            if bytes as f64 > memory * GIB {
                return Ok(false);
            }
            let kept = kept.get_or_insert_with(|| Tensor::zeros(shape, (KIND, Device::Cpu)));
            kept.narrow(0, readable.len() as i64, n).copy_(made);
            readable.extend_from_slice(rows);
            Ok(true)
        })?;
        if let Some(kept) = kept {
            tokens.images = tokens.images.pick(&readable);
            tokens.kept = Some(kept.narrow(0, 0, readable.len() as i64));
        }
        Ok(Self { width, ..tokens })
    }

    /// Those of images that are looked at once: nothing is kept.
    pub(super) fn once(encoder: &'a Encoder, images: LabelledImages) -> Self {
        Self { encoder, images, width: 0, kept: None }
    }

    pub(super) fn images(&self) -> &LabelledImages {
        &self.images
    }

    pub(super) fn are_kept(&self) -> bool {
        self.kept.is_some()
    }

    pub(super) fn device(&self) -> Device {
        self.encoder.device
    }

    /// D; 0 of tokens that are made once, which have not been seen yet.
    pub(super) fn width(&self) -> i64 {
        self.width
    }

    /// Calls `look` with the tokens `[n, T, D]` in f32 and the labels `[n]` of the images `rows`, in that order, at
    /// most `batch` at a time, on the encoder's device.
    pub(super) fn for_each(
        &self,
        rows: &[usize],
        batch: usize,
        look: &mut dyn FnMut(&Tensor, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let mut labelled = |tokens: &Tensor, rows: &[usize]| {
            let labels: Vec<u32> = rows.iter().map(|&row| self.images.labels[row]).collect();
            let tokens = tokens.to_device(self.device()).to_kind(Kind::Float);
            look(&tokens, &label_tensor(&labels, self.device()))
        };
        let Some(kept) = &self.kept else {
            return self
                .make(rows, batch, &mut |tokens, rows| labelled(tokens, rows).map(|()| true));
        };
        for rows in rows.chunks(batch) {
            let index: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
            labelled(&kept.index_select(0, &Tensor::from_slice(&index)), rows)?;
        }
        Ok(())
    }

    /// Makes the tokens of the images `rows`, in that order, and hands them on with the rows that could be read,
    /// until `take` has enough. Fails where none can be read.
    fn make(
        &self,
        rows: &[usize],
        batch: usize,
        take: &mut dyn FnMut(&Tensor, &[usize]) -> Result<bool>,
    ) -> Result<()> {
        let Self { encoder, images, .. } = self;
        let samples: Vec<usize> = rows.iter().map(|&row| images.samples[row]).collect();
        let row_of: BTreeMap<usize, usize> =
            samples.iter().copied().zip(rows.iter().copied()).collect();
        let batches = prepared(
            images.source.clone(),
            Some(samples),
            &encoder.preprocess,
            encoder.ways(batch, hardware::cores(), None),
        )?;
        let (mut any, mut problem) = (false, None);
        for made in batches {
            let mut made = made?;
            problem = problem.or(std::mem::take(&mut made.skipped).into_iter().next());
            if made.samples.is_empty() {
                continue;
            }
            any = true;
            let tokens = encoder.tokens_of(&encoder.images_of(&made))?.to_kind(KIND);
            let rows: Vec<usize> = made.samples.iter().map(|sample| row_of[sample]).collect();
            if !take(&tokens, &rows)? {
                break;
            }
        }
        match problem {
            Some(first) if !any => Err(unreadable(&first.name, &first.problem)),
            _ => Ok(()),
        }
    }
}

fn unreadable(name: &str, problem: &str) -> Error {
    usage(
        &format!("none of the labelled images could be read; the first, {name}: {problem}"),
        "check that these are images, and that they may be read",
    )
}
