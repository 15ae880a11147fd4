//! One backward pass of a batch, whole or in micro-batches with the same result.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::error::Result;
use crate::methods::{Context, Loss, Method};

/// Computes the loss of a batch and adds its gradient to the parameters. `views[v]`: `[N, C, S, S]`.
///
/// With `micro_batches` > 1, the gradient is that of the whole batch, also for losses that compare samples with each
/// other (Gao 2021, GradCache): embed piece by piece without a graph, take the loss of all embeddings together and its
/// gradient with respect to them, then embed each piece again and send its part of that gradient back. Batch norm inside
/// `embed` sees one piece at a time; its running statistics move once, as they would without pieces.
pub fn backward(
    method: &mut dyn Method,
    views: &[Tensor],
    micro_batches: usize,
    context: &Context,
) -> Result<Loss> {
    if micro_batches == 1 {
        let embedded = method.embed(views, context);
        let loss = method.loss(&embedded, context)?;
        loss.total.backward();
        return Ok(loss);
    }
    let size = views[0].size()[0] / micro_batches as i64;
    let piece = |i: usize| -> Vec<Tensor> {
        views.iter().map(|view| view.narrow(0, i as i64 * size, size)).collect()
    };
    let statistics = running_statistics(method);
    let pieces: Vec<Vec<Tensor>> =
        tch::no_grad(|| (0..micro_batches).map(|i| method.embed(&piece(i), context)).collect());
    tch::no_grad(|| statistics.into_iter().for_each(|(mut live, saved)| live.copy_(&saved)));

    let leaves: Vec<Tensor> = (0..pieces[0].len())
        .map(|part| {
            let rows: Vec<&Tensor> = pieces.iter().map(|piece| &piece[part]).collect();
            Tensor::cat(&rows, 0).set_requires_grad(true)
        })
        .collect();
    drop(pieces);
    let loss = method.loss(&leaves, context)?;
    loss.total.backward();

    for i in 0..micro_batches {
        let embedded = method.embed(&piece(i), context);
        let start = i as i64 * size;
        // Σ z · ∂L/∂z has the gradient ∂L/∂z with respect to z: a scalar to call backward on.
        let surrogate = embedded
            .iter()
            .zip(&leaves)
            .filter(|(z, leaf)| z.requires_grad() && leaf.grad().defined())
            .map(|(z, leaf)| (z * leaf.grad().narrow(0, start, size)).sum(tch::Kind::Float))
            .reduce(|a, b| a + b);
        if let Some(surrogate) = surrogate {
            surrogate.backward();
        }
    }
    Ok(loss)
}

/// Variables that are not parameters, with copies of their values.
fn running_statistics(method: &dyn Method) -> Vec<(Tensor, Tensor)> {
    let parameters: BTreeMap<String, Tensor> = method.parameters();
    method
        .variables()
        .into_iter()
        .filter(|(name, _)| !parameters.contains_key(name))
        .map(|(_, live)| {
            let saved = live.copy();
            (live, saved)
        })
        .collect()
}
