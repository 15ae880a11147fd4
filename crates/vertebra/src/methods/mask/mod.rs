//! What a student does not see: masks over the patches of an image, and what the methods that fill them in share.
//!
//! A mask is a function of (seed, step, place of the image in the whole batch, view): micro-batches and ranks hide what one process
//! hides. For the same reason errors are embedded as sums over the hidden patches of each image, and divided by what the whole batch
//! hides.

pub mod blocks;
pub mod blockwise;
pub mod cells;
pub mod random;

use pixels::draw::Draw;
use tch::{Kind, Tensor};

use super::{Batch, Inputs, Loss, Progress};
use crate::error::{Error, Result};
use crate::models::vit::{Pool, Shape, VitConfig};
use crate::models::{Backbone, Features};

/// Where the mask of an image's view is drawn; `place` counts the images of the whole batch.
pub fn address(progress: Progress, place: usize, view: usize) -> Draw {
    Draw { seed: progress.seed, epoch: progress.step, sample: place as u64, view: view as u64 }
}

/// A mask for each image of a view, `[N, T]`, true where hidden; `of` makes the T of one image.
pub fn of_batch(
    batch: &Batch,
    view: usize,
    progress: Progress,
    of: impl Fn(Draw) -> Vec<bool>,
) -> Tensor {
    let places = batch.first..batch.first + batch.size();
    let masks: Vec<bool> = places.flat_map(|place| of(address(progress, place, view))).collect();
    let masks = Tensor::from_slice(&masks).view([batch.size() as i64, -1]);
    masks.to_device(batch.views[view].device())
}

/// Rows and columns of the patches of `images`, `[N, C, H, W]`.
pub fn grid(images: &Tensor, patch: i64) -> [usize; 2] {
    let size = images.size();
    [size[2], size[3]].map(|side| (side / patch) as usize)
}

/// The tokens of the patches, `[N, T, D]`, of a backbone that has some.
pub fn patches(backbone: &dyn Backbone, features: &Features) -> Tensor {
    let tokens = features.tokens.as_ref().expect("a checked backbone has tokens");
    let prefix = backbone.prefix_tokens();
    tokens.narrow(1, prefix, tokens.size()[1] - prefix)
}

/// Refuses a backbone without patches, or one of whose parts patch tokens know nothing: these would not learn. Gives its size and
/// options. `title` is the method's.
pub fn transformer(title: &str, inputs: &Inputs) -> Result<(Shape, VitConfig)> {
    if let Some((shape, vit)) = inputs.backbone.transformer()
        && matches!(vit.pool, Pool::Class | Pool::Mean)
        && vit.projection.is_none()
    {
        return Ok((shape, vit));
    }
    Err(Error::Recipe {
        field: "backbone".into(),
        problem: format!(
            "{title} hides patches and reads tokens, which {} as configured does not offer",
            inputs.backbone.title()
        ),
        hint: Some("a ViT with `pool = \"class\"` or \"mean\" and no `projection`".into()),
    })
}

/// What was filled in of a view of some images.
#[derive(Debug)]
pub struct Filled {
    /// The sum of the errors over the hidden patches of each image, and how many these are, `[N]`.
    pub errors: Tensor,
    pub hidden: Tensor,
    /// For the health of the run, `[N, D]`.
    pub representation: Tensor,
    pub embedding: Tensor,
}

impl Filled {
    /// From the errors of all patches, `[N, T]`, and which of them are hidden.
    pub fn masked(
        errors: &Tensor,
        mask: &Tensor,
        representation: &Tensor,
        embedding: &Tensor,
    ) -> Self {
        let mask = mask.to_kind(errors.kind());
        let over_patches =
            |rows: &Tensor| rows.sum_dim_intlist([1i64].as_slice(), false, None::<Kind>);
        Self {
            errors: over_patches(&(errors * &mask)),
            hidden: over_patches(&mask),
            representation: representation.detach(),
            embedding: embedding.detach(),
        }
    }
}

/// What is embedded: errors and counts, summed over the views, of which each is an image of its own; representation and embedding of
/// the first.
pub fn embedded(batch: &Batch, fill: impl Fn(usize) -> Filled) -> Vec<Tensor> {
    let mut all = fill(0);
    for view in 1..batch.views.len() {
        let other = fill(view);
        all.errors += other.errors;
        all.hidden += other.hidden;
    }
    vec![all.errors, all.hidden, all.representation, all.embedding]
}

/// The sum of the errors of the whole batch and the number of hidden patches, both scalars, of what was embedded.
pub fn totals(embedded: &[Tensor]) -> [Tensor; 2] {
    [0, 1].map(|part: usize| embedded[part].sum(None::<Kind>))
}

/// The loss of what was embedded, with itself as its one part, under `name`.
pub fn loss(name: &'static str, total: Tensor, embedded: &[Tensor]) -> Loss {
    let parts = vec![(name, total.detach())];
    let [representation, embedding] = [2, 3].map(|part: usize| embedded[part].detach());
    Loss { total, parts, representation, embedding }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn errors_where_nothing_is_hidden_do_not_count() {
        let errors = Tensor::from_slice(&[1f32, 2., 4., 8.]).view([2, 2]).set_requires_grad(true);
        let mask = Tensor::from_slice(&[true, false, true, true]).view([2, 2]);
        let rows = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        let filled = Filled::masked(&errors, &mask, &rows, &rows);
        assert_eq!(Vec::<f32>::try_from(&filled.errors).unwrap(), [1.0, 12.0]);
        assert_eq!(Vec::<f32>::try_from(&filled.hidden).unwrap(), [1.0, 2.0]);
        filled.errors.sum(None::<Kind>).backward();
        assert_eq!(Vec::<f32>::try_from(errors.grad().flatten(0, 1)).unwrap(), [1., 0., 1., 1.]);
    }
}
