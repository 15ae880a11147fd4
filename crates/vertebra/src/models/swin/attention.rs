//! Attention inside a window, with a learned bias for each offset between two positions.

use std::f64::consts::LN_10;

use tch::nn::{self, Init};
use tch::{Device, Kind, Tensor};

use super::{Linear, Version};
use crate::models::layers::NARROW;

/// The largest logit scale of the second version is ln 100.
const LARGEST_SCALE: f64 = 2.0 * LN_10;

/// Self-attention of several heads.
#[derive(Debug)]
pub struct Attention {
    heads: i64,
    likeness: Likeness,
    /// `[positions²]`: for each pair of a window's positions the row of their offset among the biases.
    offsets: Tensor,
    proj: Linear,
}

/// How alike a query and a key are.
#[derive(Debug)]
enum Likeness {
    /// Products over the root of a head's width, and a table of biases `[offsets, heads]`.
    Product { qkv: Linear, table: Tensor },
    /// Cosines times a learned number, and biases from an MLP over offsets (Liu 2022, equations 2 to 4).
    Cosine(Box<Cosine>),
}

/// The parameters of the second version. Keys have no bias.
#[derive(Debug)]
struct Cosine {
    qkv: Tensor,
    q_bias: Tensor,
    v_bias: Tensor,
    logit_scale: Tensor,
    cpb_mlp: [Linear; 2],
    /// `[offsets, 2]`: logarithmic offsets of rows and columns.
    coordinates: Tensor,
}

impl Attention {
    /// For windows of `side × side` positions.
    pub fn new(path: &nn::Path, version: Version, width: i64, heads: i64, side: i64) -> Self {
        let likeness = match version {
            Version::V1 => {
                let rows = (2 * side - 1) * (2 * side - 1);
                let table = path.var("relative_position_bias_table", &[rows, heads], NARROW);
                let qkv = Linear::transformer(&(path / "qkv"), width, 3 * width);
                Likeness::Product { qkv, table }
            }
            Version::V2 => Likeness::Cosine(Box::new(Cosine::new(path, width, heads, side))),
        };
        Self {
            heads,
            likeness,
            offsets: offsets(side, path.device()),
            proj: Linear::transformer(&(path / "proj"), width, width),
        }
    }

    /// `[N · windows, positions, D]` → the same. `mask`: `[windows, 1, positions, positions]`, added to likenesses.
    pub fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let (n, t, d) = x.size3().expect("windows have three dimensions");
        let qkv = match &self.likeness {
            Likeness::Product { qkv, .. } => qkv.forward(x),
            Likeness::Cosine(cosine) => cosine.queries_keys_values(x),
        };
        let qkv = qkv.reshape([n, t, 3, self.heads, d / self.heads]).permute([2, 0, 3, 1, 4]);
        let [q, k, v] = [0, 1, 2].map(|i| qkv.select(0, i));
        let mut likeness = self.likenesses(&q, &k) + self.biases(t);
        if let Some(mask) = mask {
            let windows = mask.size()[0];
            let by_image = likeness.reshape([-1, windows, self.heads, t, t]);
            likeness = (by_image + mask.to_kind(likeness.kind())).reshape([n, self.heads, t, t]);
        }
        let mixed = likeness.softmax(-1, None::<Kind>).matmul(&v);
        self.proj.forward(&mixed.transpose(1, 2).reshape([n, t, d]))
    }

    /// `[…, heads, positions, D / heads]` twice → `[…, heads, positions, positions]`.
    fn likenesses(&self, q: &Tensor, k: &Tensor) -> Tensor {
        match &self.likeness {
            Likeness::Product { .. } => {
                let scale = 1.0 / (q.size()[3] as f64).sqrt();
                (q * scale).matmul(&k.transpose(-2, -1))
            }
            Likeness::Cosine(cosine) => {
                let scale = cosine.logit_scale.clamp_max(LARGEST_SCALE).exp();
                unit(q).matmul(&unit(k).transpose(-2, -1)) * scale
            }
        }
    }

    /// `[heads, positions, positions]`.
    fn biases(&self, positions: i64) -> Tensor {
        let of_pairs = |table: &Tensor| {
            let pairs = table.index_select(0, &self.offsets);
            pairs.reshape([positions, positions, self.heads]).permute([2, 0, 1])
        };
        match &self.likeness {
            Likeness::Product { table, .. } => of_pairs(table),
            Likeness::Cosine(cosine) => of_pairs(&cosine.table()).sigmoid() * 16.0,
        }
    }
}

impl Cosine {
    /// The MLP over offsets has 512 hidden channels, as published.
    fn new(path: &nn::Path, width: i64, heads: i64, side: i64) -> Self {
        let cpb = path / "cpb_mlp";
        let qkv = (path / "qkv").var("weight", &[3 * width, width], NARROW);
        Self {
            qkv,
            q_bias: path.var("q_bias", &[width], Init::Const(0.0)),
            v_bias: path.var("v_bias", &[width], Init::Const(0.0)),
            logit_scale: path.var("logit_scale", &[heads, 1, 1], Init::Const(LN_10)),
            cpb_mlp: [
                Linear::transformer(&(&cpb / 0), 2, 512),
                Linear::unbiased(&(&cpb / 2), 512, heads),
            ],
            coordinates: log_offsets(side, path.device()),
        }
    }

    fn queries_keys_values(&self, x: &Tensor) -> Tensor {
        let no_bias = Tensor::zeros_like(&self.q_bias);
        x.linear(&self.qkv, Some(&Tensor::cat(&[&self.q_bias, &no_bias, &self.v_bias], 0)))
    }

    /// `[offsets, heads]`, before the sigmoid.
    fn table(&self) -> Tensor {
        let [first, second] = &self.cpb_mlp;
        second.forward(&first.forward(&self.coordinates.to_kind(self.qkv.kind())).relu())
    }
}

/// Rows of length 1; those shorter than 1e-12 are divided by that.
fn unit(x: &Tensor) -> Tensor {
    x / x.norm_scalaropt_dim(2, [-1i64], true).clamp_min(1e-12)
}

/// For each pair of a window's positions the number of their offset, rows first: 0 for the query at the near corner and
/// the key at the far one.
fn offsets(side: i64, device: Device) -> Tensor {
    let positions = |axis: fn(i64, i64) -> i64| {
        (0..side * side).map(move |position| axis(position, side)).collect::<Vec<i64>>()
    };
    let (rows, columns) = (positions(|p, side| p / side), positions(|p, side| p % side));
    let apart = |along: &[i64]| {
        let along = Tensor::from_slice(along).to_device(device);
        along.unsqueeze(1) - along.unsqueeze(0) + (side - 1)
    };
    (apart(&rows) * (2 * side - 1) + apart(&columns)).flatten(0, 1)
}

/// Offsets as shares of the window's, times 8, on a logarithmic scale to base 8 (Liu 2022, equation 4, and the
/// authors' normalisation): ±log₈ 9 at the ends, 0 where there is one position. In single precision, as timm has them.
fn log_offsets(side: i64, device: Device) -> Tensor {
    let steps = Tensor::arange_start(1 - side, side, (Kind::Float, device));
    let shares = steps / (side - 1).max(1) as f64 * 8.0;
    let along = shares.sign() * (shares.abs() + 1.0).log2() / 3.0;
    let count = 2 * side - 1;
    let rows = along.unsqueeze(1).expand([count, count], false);
    let columns = along.unsqueeze(0).expand([count, count], false);
    Tensor::stack(&[rows, columns], 2).reshape([-1, 2])
}
