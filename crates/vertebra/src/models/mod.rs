//! Backbones, heads, and weights in and out.

use tch::Tensor;

/// Whether batch statistics are learned (`Train`) or used (`Eval`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Train,
    Eval,
}

impl Mode {
    pub fn is_train(self) -> bool {
        self == Self::Train
    }
}

/// Receives inside activations by name, in forward order: `stem`, `layer1.0`, ... `pooled`.
pub type Tap<'a> = dyn FnMut(&str, &Tensor) + 'a;

/// A tap that looks at nothing.
pub fn no_tap(_: &str, _: &Tensor) {}

/// What a backbone makes of a batch of images.
#[derive(Debug)]
pub struct Features {
    /// `[N, D]`: the representation that probes and projectors read.
    pub pooled: Tensor,
    /// The last feature map `[N, D, H, W]` of a convolutional backbone.
    pub map: Option<Tensor>,
    /// The normalised tokens `[N, T, D]` of a transformer, class token first.
    pub tokens: Option<Tensor>,
}

/// A visual encoder.
pub trait Backbone: Send {
    /// `images`: `[N, C, S, S]`, normalised.
    fn forward(&self, images: &Tensor, mode: Mode, tap: &mut Tap) -> Features;

    /// D, the width of `pooled`.
    fn width(&self) -> i64;
}
