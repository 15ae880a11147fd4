//! One backward pass of a batch: whole, in micro-batches, over ranks, with the same result.

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::methods::{Batch, Context, Loss, Method};
use crate::training::collective::Collective;

/// Computes the loss of a step's whole batch, of which `batch` is this rank's part, and adds its gradient to the parameters,
/// the same on every rank.
///
/// The loss sees the rows of all micro-batches and ranks, so losses that compare samples with each other are exact (Gao 2021,
/// GradCache): embed piece by piece, gather, take the loss of all embeddings together and its gradient with respect to them, then
/// send each piece its part of that gradient. With more than one micro-batch the pieces are embedded twice, first without a
/// graph. Every rank computes the heads and the loss of the whole batch; only embedding is divided. Batch norm inside
/// `embed` sees one piece at a time; its running statistics move once, by the mean over the pieces of all ranks.
pub fn backward(
    method: &mut dyn Method,
    batch: &Batch,
    micro_batches: usize,
    collective: &dyn Collective,
    context: &Context,
) -> Result<Loss> {
    if micro_batches == 1 && collective.ranks() == 1 {
        let embedded = method.embed(batch, context);
        let loss = method.loss(&embedded, context)?;
        loss.total.backward();
        return Ok(loss);
    }
    let before = Statistics::of(method);
    let size = batch.size() / micro_batches;
    let pieces: Vec<Batch> = (0..micro_batches).map(|i| batch.narrow(i * size, size)).collect();
    let place = |piece: usize| ((collective.rank() * micro_batches + piece) * size) as i64;
    let loss = if let [whole] = pieces.as_slice() {
        let embedded = method.embed(whole, context);
        let leaves = gathered(&[&embedded], collective)?;
        let loss = loss_of_all(method, &leaves, collective, context)?;
        send_back(&embedded, &leaves, place(0));
        loss
    } else {
        let embedded: Vec<Vec<Tensor>> =
            tch::no_grad(|| pieces.iter().map(|piece| method.embed(piece, context)).collect());
        before.restore();
        let leaves = gathered(&embedded.iter().collect::<Vec<_>>(), collective)?;
        drop(embedded);
        let loss = loss_of_all(method, &leaves, collective, context)?;
        let mut mean = Statistics::of(method);
        for (i, piece) in pieces.iter().enumerate() {
            send_back(&method.embed(piece, context), &leaves, place(i));
            mean.add();
        }
        mean.settle();
        loss
    };
    if collective.ranks() > 1 {
        collective.sum(&mut gradients(method))?;
        before.agree(collective)?;
    }
    Ok(loss)
}

/// The rows of all pieces of all ranks, as the leaves of a graph of their own.
fn gathered(pieces: &[&Vec<Tensor>], collective: &dyn Collective) -> Result<Vec<Tensor>> {
    (0..pieces[0].len())
        .map(|part| {
            let rows: Vec<Tensor> = pieces.iter().map(|piece| piece[part].detach()).collect();
            let all = collective.gather(&Tensor::cat(&rows, 0))?;
            let learns = all.is_floating_point();
            Ok(all.set_requires_grad(learns))
        })
        .collect()
}

/// The loss and its gradients. Every rank finds the same gradient of the heads, so each keeps its share of it: then the sum over the
/// ranks is right for heads and backbone alike.
fn loss_of_all(
    method: &mut dyn Method,
    leaves: &[Tensor],
    collective: &dyn Collective,
    context: &Context,
) -> Result<Loss> {
    let loss = method.loss(leaves, context)?;
    loss.total.backward();
    if collective.ranks() > 1 {
        let share = 1.0 / collective.ranks() as f64;
        tch::no_grad(|| gradients(method).iter_mut().for_each(|gradient| *gradient *= share));
    }
    Ok(loss)
}

/// From the gradient of the leaves, rows `start` on, to the parameters that made these rows.
fn send_back(embedded: &[Tensor], leaves: &[Tensor], start: i64) {
    // Σ z · ∂L/∂z has the gradient ∂L/∂z with respect to z: a scalar to call backward on.
    let surrogate = embedded
        .iter()
        .zip(leaves)
        .filter(|(z, leaf)| z.requires_grad() && leaf.grad().defined())
        .map(|(z, leaf)| (z * leaf.grad().narrow(0, start, z.size()[0])).sum(Kind::Float))
        .reduce(|a, b| a + b);
    if let Some(surrogate) = surrogate {
        surrogate.backward();
    }
}

/// The gradients that there are, in the order of the parameters' names.
fn gradients(method: &dyn Method) -> Vec<Tensor> {
    let parameters = method.parameters();
    parameters.values().map(Tensor::grad).filter(Tensor::defined).collect()
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
    fn restore(&self) {
        set(&self.live, &self.before);
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
    fn settle(&self) {
        set(&self.live, &self.mean);
    }

    /// Makes the mean move over the ranks the move of each.
    fn agree(&self, collective: &dyn Collective) -> Result<()> {
        let moving =
            || self.live.iter().zip(&self.before).filter(|(live, _)| live.kind() == Kind::Float);
        tch::no_grad(|| {
            let mut moves: Vec<Tensor> = moving().map(|(live, before)| live - before).collect();
            collective.sum(&mut moves)?;
            for ((live, before), step) in moving().zip(&moves) {
                let mut live = live.shallow_clone();
                live.copy_(&(before + step / collective.ranks() as f64));
            }
            Ok(())
        })
    }
}

/// Copies the values of each tensor.
fn set(tensors: &[Tensor], values: &[Tensor]) {
    tch::no_grad(|| {
        for (tensor, value) in tensors.iter().zip(values) {
            tensor.shallow_clone().copy_(value);
        }
    });
}
