//! What an objective costs, forward and backward.

use std::time::Instant;

use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::hardware::{self, DeviceChoice};
use crate::methods::vicreg;
use crate::objectives::{barlow, info_nce, vicreg as terms};

/// λ of Barlow Twins and τ of SimCLR: the cost does not depend on them.
const LAMBDA: f64 = 0.0051;
const TEMPERATURE: f64 = 0.2;

/// An objective of two embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    Vicreg,
    Barlow,
    Simclr,
}

impl Objective {
    pub const ALL: [Self; 3] = [Self::Vicreg, Self::Barlow, Self::Simclr];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vicreg => "vicreg",
            Self::Barlow => "barlow",
            Self::Simclr => "simclr",
        }
    }
}

/// One measurement. Its memory is only right in a process that has done nothing before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossBench {
    pub objective: Objective,
    /// N, the images of the batch.
    pub rows: usize,
    /// D, the width of the embeddings.
    pub width: usize,
    /// Always through the `[D, D]` matrix, as papers write it. SimCLR has one form only.
    pub plain: bool,
    /// Forward and backward passes of which the median counts; one more comes before them.
    pub repeats: usize,
}

/// What one forward and backward pass costs, in f32.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LossSpeed {
    pub objective: Objective,
    pub n: usize,
    pub d: usize,
    pub plain: bool,
    /// Median.
    pub ms: f64,
    /// MiB that the passes took at their peak beyond the two embeddings themselves, gradients included; absent where the
    /// device does not tell.
    pub memory_mb: Option<f64>,
    /// The value, for comparison with other programs.
    pub loss: f64,
    pub device: String,
    pub threads: usize,
}

impl LossBench {
    /// Times the objective on random embeddings, the second being the first with as much noise.
    ///
    /// Refuses fewer than two images or no width.
    pub fn run(&self) -> Result<LossSpeed> {
        let Self { rows, width, .. } = *self;
        if rows < 2 || width < 1 {
            return Err(Error::Usage {
                problem: format!("embeddings of {rows} × {width}: at least 2 × 1 is wanted"),
                hint: None,
            });
        }
        let device = hardware::device(DeviceChoice::Auto)?;
        tch::manual_seed(0);
        let draw = |rows: usize, width: usize| {
            Tensor::randn([rows as i64, width as i64], (Kind::Float, device))
        };
        // Threads and libraries take their memory before the inputs do.
        let small = [0, 1].map(|_| draw(8, 8).set_requires_grad(true));
        self.pass(&small)?;
        let za = draw(rows, width);
        let zb = &za + draw(rows, width);
        let inputs = [za, zb].map(|z| z.set_requires_grad(true));
        let before = peak(device);
        let mut times = Vec::with_capacity(self.repeats);
        let mut loss = 0.0;
        for number in 0..=self.repeats.max(1) {
            torch_bridge::steps::clear_grads(&inputs);
            torch_bridge::synchronize(device);
            let start = Instant::now();
            loss = self.pass(&inputs)?;
            torch_bridge::synchronize(device);
            if number > 0 {
                times.push(start.elapsed().as_secs_f64());
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(LossSpeed {
            objective: self.objective,
            n: rows,
            d: width,
            plain: self.plain,
            ms: times[times.len() / 2] * 1e3,
            memory_mb: peak(device).zip(before).map(|(after, before)| after - before),
            loss,
            device: hardware::device_name(device),
            threads: tch::get_num_threads() as usize,
        })
    }

    fn pass(&self, [za, zb]: &[Tensor; 2]) -> Result<f64> {
        let loss = match (self.objective, self.plain) {
            (Objective::Vicreg, false) => vicreg::loss_of(&vicreg::Config::default(), za, zb)?.0,
            (Objective::Vicreg, true) => plain_vicreg(za, zb),
            (Objective::Barlow, false) => {
                let [on_diagonal, off_diagonal] = barlow::barlow(za, zb);
                on_diagonal + LAMBDA * off_diagonal
            }
            (Objective::Barlow, true) => plain_barlow(za, zb),
            (Objective::Simclr, _) => info_nce::nt_xent(za, zb, TEMPERATURE),
        };
        loss.backward();
        Ok(loss.double_value(&[]))
    }
}

fn peak(device: Device) -> Option<f64> {
    torch_bridge::peak_memory_mb(device)
}

/// The authors' weights and reductions, with the covariance written out.
fn plain_vicreg(za: &Tensor, zb: &Tensor) -> Tensor {
    let covariance = |z: &Tensor| {
        let (n, d) = (z.size()[0], z.size()[1]);
        let centred = z - z.mean_dim([0i64].as_slice(), true, None::<Kind>);
        let matrix = centred.tr().matmul(&centred) / (n - 1) as f64;
        off_diagonal(&matrix) / d as f64
    };
    let variance = (terms::variance(za) + terms::variance(zb)) / 2.0;
    25.0 * (terms::invariance(za, zb) + variance) + covariance(za) + covariance(zb)
}

fn plain_barlow(za: &Tensor, zb: &Tensor) -> Tensor {
    let standardised = |z: &Tensor| {
        let centred = z - z.mean_dim([0i64].as_slice(), true, None::<Kind>);
        centred * (z.var_dim([0i64].as_slice(), false, true) + 1e-5).rsqrt()
    };
    let matrix = standardised(za).tr().matmul(&standardised(zb)) / za.size()[0] as f64;
    let on_diagonal = (matrix.diagonal(0, 0, 1) - 1.0).square().sum(None::<Kind>);
    on_diagonal + LAMBDA * off_diagonal(&matrix)
}

/// All squares less those of the diagonal.
fn off_diagonal(matrix: &Tensor) -> Tensor {
    let diagonal = matrix.diagonal(0, 0, 1).square().sum(None::<Kind>);
    matrix.square().sum(None::<Kind>) - diagonal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_short_forms_are_one_loss() {
        for objective in Objective::ALL {
            for (rows, width) in [(6, 20), (20, 6)] {
                let run = |plain| LossBench { objective, rows, width, plain, repeats: 1 }.run();
                let [short, plain] = [false, true].map(|plain| run(plain).unwrap());
                // f32 in another order.
                assert!((short.loss / plain.loss - 1.0).abs() < 1e-5, "{short:?} {plain:?}");
                assert!(short.ms > 0.0);
            }
        }
    }

    #[test]
    fn one_image_is_refused() {
        let objective = Objective::Vicreg;
        let alone = LossBench { objective, rows: 1, width: 4, plain: false, repeats: 1 };
        assert!(alone.run().is_err());
    }
}
