//! A Swin block: attention inside windows, which every second block shifts by half a window, then an MLP.

use tch::{Kind, Tensor, nn};
use torch_bridge::frozen::Then;

use super::attention::Attention;
use super::{EPSILON, LayerNorm, Linear, Version, sides};

/// How the maps of a stage are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Height and width of a window.
    pub side: i64,
    /// By how many positions every second block moves its windows; 0 where one window holds the map.
    pub shift: i64,
}

impl Windows {
    /// For maps of `map × map` positions and windows of at most `largest`.
    pub fn new(map: i64, largest: i64) -> Self {
        Self { side: map.min(largest), shift: if map <= largest { 0 } else { largest / 2 } }
    }

    /// What shifted windows add to likenesses, `[windows, 1, positions, positions]`: −100 between positions that the
    /// cyclic shift brought together from far sides of the map, else 0. `x`: `[N, H, W, D]` of a stage.
    pub fn mask(self, x: &Tensor) -> Option<Tensor> {
        if self.shift == 0 {
            return None;
        }
        let [_, h, w, _] = sides(x);
        let (rows, columns) = (self.regions(h, x), self.regions(w, x));
        let regions = rows.unsqueeze(1) * 3 + columns.unsqueeze(0);
        let windows = self.cut(&regions.unsqueeze(0).unsqueeze(3)).squeeze_dim(2);
        let apart = windows.unsqueeze(1).not_equal_tensor(&windows.unsqueeze(2));
        Some((apart.to_kind(Kind::Float) * -100.0).unsqueeze(1))
    }

    /// Of each row (or column) of a padded and shifted map: 2 in the last `shift` rows, which came from the other side;
    /// 1 in the rest of the last window; 0 before it.
    fn regions(self, side: i64, like: &Tensor) -> Tensor {
        let padded = side + self.missing(side);
        let rows = Tensor::arange(padded, (Kind::Int64, like.device()));
        let region = |from: i64| rows.ge(from).to_kind(Kind::Int64);
        region(padded - self.side) + region(padded - self.shift)
    }

    /// Rows (or columns) to add until windows divide the map.
    fn missing(self, side: i64) -> i64 {
        (self.side - side % self.side) % self.side
    }

    /// `[N, H, W, D]` → `[N · windows, positions, D]`.
    fn cut(self, x: &Tensor) -> Tensor {
        let [_, h, w, d] = sides(x);
        x.reshape([-1, h / self.side, self.side, w / self.side, self.side, d])
            .permute([0, 1, 3, 2, 4, 5])
            .reshape([-1, self.side * self.side, d])
    }

    /// The inverse of `cut`, for maps of `h × w` positions.
    fn join(self, windows: &Tensor, h: i64, w: i64) -> Tensor {
        windows
            .reshape([-1, h / self.side, w / self.side, self.side, self.side, windows.size()[2]])
            .permute([0, 1, 3, 2, 4, 5])
            .reshape([-1, h, w, windows.size()[2]])
    }
}

/// Attention and MLP, each added to its input; norms stand before them, or in the second version after.
#[derive(Debug)]
pub struct Block {
    version: Version,
    shifted: bool,
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Block {
    /// `side` is that of a window; `shifted` blocks move theirs.
    pub fn new(
        path: &nn::Path,
        version: Version,
        width: i64,
        heads: i64,
        side: i64,
        shifted: bool,
    ) -> Self {
        let mlp = path / "mlp";
        let scale = match version {
            Version::V1 => 1.0,
            Version::V2 => 0.0,
        };
        Self {
            version,
            shifted,
            norm1: LayerNorm::with(&(path / "norm1"), width, scale, EPSILON),
            attention: Attention::new(&(path / "attn"), version, width, heads, side),
            norm2: LayerNorm::with(&(path / "norm2"), width, scale, EPSILON),
            fc1: Linear::transformer(&(&mlp / "fc1"), width, 4 * width),
            fc2: Linear::transformer(&(&mlp / "fc2"), 4 * width, width),
        }
    }

    pub fn freeze(&mut self, kind: Kind) {
        self.fc1.freeze(kind);
        self.fc2.freeze(kind);
    }

    /// `[N, H, W, D]` → the same. `mask` is that of the stage's windows, and read by shifted blocks only.
    pub fn forward(&self, x: &Tensor, windows: Windows, mask: Option<&Tensor>) -> Tensor {
        let attend = |x: &Tensor| self.attend(x, windows, mask);
        let mlp = |x: &Tensor| self.fc2.forward(&self.fc1.forward_then(x, Then::Gelu));
        match self.version {
            Version::V1 => {
                let x = x + attend(&self.norm1.forward(x));
                &x + mlp(&self.norm2.forward(&x))
            }
            Version::V2 => {
                let x = x + self.norm1.forward(&attend(x));
                &x + self.norm2.forward(&mlp(&x))
            }
        }
    }

    fn attend(&self, x: &Tensor, windows: Windows, mask: Option<&Tensor>) -> Tensor {
        let [_, h, w, _] = sides(x);
        let (below, right) = (windows.missing(h), windows.missing(w));
        let (shift, mask) = if self.shifted { (windows.shift, mask) } else { (0, None) };
        let mut x = x.shallow_clone();
        if shift > 0 {
            x = x.roll([-shift, -shift], [1, 2]);
        }
        if below + right > 0 {
            x = x.constant_pad_nd([0, 0, 0, right, 0, below]);
        }
        let mixed = self.attention.forward(&windows.cut(&x), mask);
        x = windows.join(&mixed, h + below, w + right).narrow(1, 0, h).narrow(2, 0, w);
        if shift > 0 {
            x = x.roll([shift, shift], [1, 2]);
        }
        x
    }
}
