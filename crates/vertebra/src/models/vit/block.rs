//! What a vision transformer is made of: blocks, and the pooling that is itself an attention.

use tch::nn::{self, Init};
use tch::{Kind, Tensor};
use torch_bridge::frozen::Then;

use super::{Mlp, Shape, VitConfig};
use crate::models::layers::{LayerNorm, Linear, truncated_normal};

/// Attention and MLP, each after its norm and added to its input.
#[derive(Debug)]
pub struct Block {
    heads: i64,
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    ls1: Option<Tensor>,
    norm2: LayerNorm,
    mlp: FeedForward,
    ls2: Option<Tensor>,
}

impl Block {
    pub fn new(path: &nn::Path, shape: Shape, config: &VitConfig) -> Self {
        let Shape { width, heads, .. } = shape;
        let attn = path / "attn";
        let norm = |name: &str| LayerNorm::with_epsilon(&(path / name), width, config.epsilon);
        let scale = |name: &str| {
            let start = config.layer_scale?;
            Some((path / name).var("gamma", &[width], Init::Const(start)))
        };
        Self {
            heads,
            norm1: norm("norm1"),
            qkv: Linear::transformer(&(&attn / "qkv"), width, 3 * width),
            proj: Linear::transformer(&(&attn / "proj"), width, width),
            ls1: scale("ls1"),
            norm2: norm("norm2"),
            mlp: FeedForward::new(&(path / "mlp"), shape, config.mlp),
            ls2: scale("ls2"),
        }
    }

    pub fn freeze(&mut self, kind: Kind) {
        self.qkv.freeze(kind);
        self.proj.freeze(kind);
        self.mlp.freeze(kind);
    }

    /// `[N, T, D]` → the same.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let x = x + scaled(self.attention(&self.norm1.forward(x)), self.ls1.as_ref());
        &x + scaled(self.mlp.forward(&self.norm2.forward(&x)), self.ls2.as_ref())
    }

    fn attention(&self, x: &Tensor) -> Tensor {
        // The number of images stays unnamed: an exported trace takes any.
        let (_, t, d) = x.size3().expect("tokens have three dimensions");
        let qkv = self.qkv.forward(x).reshape([-1, t, 3, self.heads, d / self.heads]);
        let qkv = qkv.permute([2, 0, 3, 1, 4]);
        let [q, k, v] = [0, 1, 2].map(|i| qkv.select(0, i));
        self.proj.forward(&attend(&q, &k, &v).transpose(1, 2).reshape([-1, t, d]))
    }
}

/// A learned query that attends to all tokens, and an MLP behind it: the head of SigLIP.
#[derive(Debug)]
pub struct AttentionPool {
    heads: i64,
    latent: Tensor,
    q: Linear,
    kv: Linear,
    proj: Linear,
    norm: LayerNorm,
    mlp: FeedForward,
}

impl AttentionPool {
    pub fn new(path: &nn::Path, shape: Shape, config: &VitConfig) -> Self {
        let Shape { width, heads, .. } = shape;
        let mut latent = path.zeros("latent", &[1, 1, width]);
        truncated_normal(&mut latent, 1.0 / (width as f64).sqrt());
        Self {
            heads,
            latent,
            q: Linear::transformer(&(path / "q"), width, width),
            kv: Linear::transformer(&(path / "kv"), width, 2 * width),
            proj: Linear::transformer(&(path / "proj"), width, width),
            norm: LayerNorm::with_epsilon(&(path / "norm"), width, config.epsilon),
            mlp: FeedForward::new(&(path / "mlp"), shape, config.mlp),
        }
    }

    /// `[N, T, D]` → `[N, D]`.
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let (_, t, d) = tokens.size3().expect("tokens have three dimensions");
        let head = d / self.heads;
        let q = self.q.forward(&self.latent).reshape([1, self.heads, 1, head]);
        let kv = self.kv.forward(tokens).reshape([-1, t, 2, self.heads, head]);
        let kv = kv.permute([2, 0, 3, 1, 4]);
        let q = q.expand_as(&kv.select(0, 0).narrow(2, 0, 1));
        let mixed = attend(&q, &kv.select(0, 0), &kv.select(0, 1)).reshape([-1, d]);
        let x = self.proj.forward(&mixed);
        &x + self.mlp.forward(&self.norm.forward(&x))
    }
}

/// Two layers, and between them what [`Mlp`] says.
#[derive(Debug)]
struct FeedForward {
    kind: Mlp,
    fc1: Linear,
    fc2: Linear,
}

impl FeedForward {
    fn new(path: &nn::Path, shape: Shape, kind: Mlp) -> Self {
        let Shape { width, mlp, .. } = shape;
        // Two thirds: as many weights in three matrices as in two. The multiple of 8 is DINOv2's.
        let (inside, hidden) = match kind {
            Mlp::Swiglu => (2, (2 * mlp / 3 + 7) / 8 * 8),
            Mlp::Gelu | Mlp::GeluTanh | Mlp::QuickGelu => (1, mlp),
        };
        Self {
            kind,
            fc1: Linear::transformer(&(path / "fc1"), width, inside * hidden),
            fc2: Linear::transformer(&(path / "fc2"), hidden, width),
        }
    }

    fn freeze(&mut self, kind: Kind) {
        self.fc1.freeze(kind);
        self.fc2.freeze(kind);
    }

    /// `[…, D]` → the same.
    fn forward(&self, x: &Tensor) -> Tensor {
        let hidden = match self.kind {
            Mlp::Gelu => self.fc1.forward_then(x, Then::Gelu),
            Mlp::GeluTanh => self.fc1.forward_then(x, Then::GeluTanh),
            Mlp::QuickGelu => {
                let x = self.fc1.forward(x);
                (&x * 1.702).sigmoid() * x
            }
            Mlp::Swiglu => {
                let halves = self.fc1.forward(x).chunk(2, -1);
                halves[0].silu() * &halves[1]
            }
        };
        self.fc2.forward(&hidden)
    }
}

/// Times a layer scale where there is one.
fn scaled(x: Tensor, gamma: Option<&Tensor>) -> Tensor {
    match gamma {
        Some(gamma) => x * gamma,
        None => x,
    }
}

/// softmax(q kᵀ / √d) v, `[N, heads, T, d]` each; the query's T may be another.
fn attend(q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
    Tensor::scaled_dot_product_attention(q, k, v, None::<&Tensor>, 0.0, false, None::<f64>, false)
}
