//! What a method remembers of earlier batches.

use tch::{Kind, Tensor, nn};

use super::{Progress, expect};
use crate::error::{Error, Result};
use crate::objectives::info_nce::normalized;

/// K rows of unit length, of which each step replaces the oldest by those of its batch. A variable, no parameter: a checkpoint
/// holds it. Where a step writes follows from its number, so nothing else has to be kept.
#[derive(Debug)]
pub struct Queue {
    rows: Tensor,
    /// What this step's batch leaves, until the step is done.
    pending: Option<Tensor>,
}

impl Queue {
    /// Filled with `rows [K, D]`, under `name`.
    pub fn new(path: &nn::Path, name: &str, rows: &Tensor) -> Self {
        let mut own = path.zeros_no_train(name, &rows.size());
        own.copy_(rows);
        Self { rows: own, pending: None }
    }

    /// Directions drawn from torch's generator: what queues begin with, so that the first step has negatives.
    pub fn directions(path: &nn::Path, length: i64, width: i64) -> Tensor {
        normalized(&Tensor::randn([length, width], (Kind::Float, path.device())))
    }

    /// `[K, D]`, without gradient.
    pub fn rows(&self) -> &Tensor {
        &self.rows
    }

    /// Keeps `z [N, D]`, made of unit length, for [`Queue::turn`]. Refuses a batch that does not divide the length: one step would
    /// overwrite what the step before wrote while older rows stay.
    pub fn remember(&mut self, z: &Tensor) -> Result<()> {
        let (length, batch) = (self.rows.size()[0], z.size()[0]);
        if length % batch != 0 {
            return Err(Error::Recipe {
                field: "method.queue".into(),
                problem: format!(
                    "expected a multiple of the batch, got {length} with a batch of {batch}"
                ),
                hint: Some(format!("{} is one", (length / batch).max(1) * batch)),
            });
        }
        self.pending = Some(normalized(&z.detach()));
        Ok(())
    }

    /// Puts in what was remembered, at the end of the step of `progress`.
    pub fn turn(&mut self, progress: &Progress) {
        if let Some(rows) = self.pending.take() {
            let (length, batch) = (self.rows.size()[0], rows.size()[0]);
            let start = (progress.step as i64 % (length / batch)) * batch;
            tch::no_grad(|| self.rows.narrow(0, start, batch).copy_(&rows));
        }
    }
}

/// Refuses a queue without rows.
pub fn check(length: i64) -> Result<()> {
    expect("method.queue", length > 0, "at least one batch", length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn queue(length: i64) -> (nn::VarStore, Queue) {
        let store = nn::VarStore::new(Device::Cpu);
        let queue =
            Queue::new(&store.root(), "queue", &Tensor::zeros([length, 2], tch::kind::FLOAT_CPU));
        (store, queue)
    }

    fn batch(angle: f64) -> Tensor {
        Tensor::from_slice(&[angle.cos() as f32, angle.sin() as f32]).repeat([2, 1])
    }

    fn at(step: u64) -> Progress {
        Progress { seed: 0, step, steps: 100, per_epoch: 10.0, batch: 8 }
    }

    #[test]
    fn each_step_replaces_the_oldest_rows() {
        let (store, mut queue) = queue(6);
        for step in 0..4 {
            queue.remember(&(batch(step as f64) * 5.0)).unwrap();
            // A loss that is computed twice remembers once.
            queue.remember(&(batch(step as f64) * 5.0)).unwrap();
            queue.turn(&at(step));
        }
        let wanted = Tensor::cat(&[batch(3.0), batch(1.0), batch(2.0)], 0);
        assert!((queue.rows() - &wanted).abs().max().double_value(&[]) < 1e-6);
        assert!(store.variables()["queue"].equal(queue.rows()), "a checkpoint holds it");
        assert!(store.trainable_variables().is_empty());
    }

    #[test]
    fn nothing_moves_before_the_step_is_done_nor_without_a_loss() {
        let (_store, mut queue) = queue(6);
        queue.remember(&batch(1.0)).unwrap();
        assert_eq!(queue.rows().abs().sum(Kind::Float).double_value(&[]), 0.0);
        queue.turn(&at(0));
        let before = queue.rows().copy();
        queue.turn(&at(1));
        assert!(queue.rows().equal(&before));
    }

    #[test]
    fn a_batch_that_does_not_divide_the_length_is_refused() {
        let (_store, mut queue) = queue(7);
        let refused = queue.remember(&batch(1.0)).unwrap_err();
        assert!(refused.to_string().contains("7 with a batch of 2"), "{refused}");
        assert_eq!(refused.hint().as_deref(), Some("6 is one"));
    }
}
