//! One backward pass of a batch, whole or in micro-batches with the same result.

use tch::Tensor;

use crate::error::Result;
use crate::methods::{Context, Loss, Method};

/// Computes the loss of a batch and adds its gradient to the parameters. `views[v]`: `[N, C, S, S]`.
///
/// With `micro_batches` > 1, the gradient is that of the whole batch, also for losses that compare samples with each
/// other (Gao 2021, GradCache): embed piece by piece without a graph, take the loss of all embeddings together and its
/// gradient with respect to them, then embed each piece again and send its part of that gradient back. Batch norm inside
/// `embed` sees one piece at a time; its running statistics move once, by the mean over the pieces.
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
    let mut statistics = Statistics::of(method);
    let pieces: Vec<Vec<Tensor>> =
        tch::no_grad(|| (0..micro_batches).map(|i| method.embed(&piece(i), context)).collect());
    statistics.restore();

    let leaves: Vec<Tensor> = (0..pieces[0].len())
        .map(|part| {
            let rows: Vec<&Tensor> = pieces.iter().map(|piece| &piece[part]).collect();
            Tensor::cat(&rows, 0).set_requires_grad(true)
        })
        .collect();
    drop(pieces);
    let loss = method.loss(&leaves, context)?;
    loss.total.backward();

    let mut statistics = Statistics::of(method);
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
        statistics.add();
    }
    statistics.settle();
    Ok(loss)
}

/// The variables that are not parameters, as they were, and what the pieces make of them.
struct Statistics {
    live: Vec<Tensor>,
    before: Vec<Tensor>,
    /// The mean over the pieces so far.
    mean: Vec<Tensor>,
    pieces: f64,
}

impl Statistics {
    fn of(method: &dyn Method) -> Self {
        let parameters = method.parameters();
        let live: Vec<Tensor> = method
            .variables()
            .into_iter()
            .filter(|(name, _)| !parameters.contains_key(name))
            .map(|(_, live)| live)
            .collect();
        let copies = || live.iter().map(Tensor::copy).collect();
        Self { before: copies(), mean: copies(), live, pieces: 0.0 }
    }

    /// As if no piece had been seen.
    fn restore(&mut self) {
        tch::no_grad(|| {
            self.live.iter_mut().zip(&self.before).for_each(|(live, before)| live.copy_(before));
        });
    }

    /// Takes what the last piece made of them into the mean; the next piece begins where this one began.
    fn add(&mut self) {
        self.pieces += 1.0;
        tch::no_grad(|| {
            for (mean, live) in self.mean.iter_mut().zip(&self.live) {
                // A variable that no piece moves keeps its bits, which a sum divided again would not.
                let step = (live - &*mean) / self.pieces;
                let _ = mean.g_add_(&step.to_kind(mean.kind()));
            }
        });
        self.restore();
    }

    /// Makes the mean the new value: one move by what all pieces saw, as a whole batch would do.
    fn settle(&mut self) {
        tch::no_grad(|| {
            self.live.iter_mut().zip(&self.mean).for_each(|(live, mean)| live.copy_(mean));
        });
    }
}
