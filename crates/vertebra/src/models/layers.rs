//! The layers that every model here is made of, with their initial values stated.
//!
//! Variables carry PyTorch's names (`weight`, `bias`, `running_mean`, `running_var`), so a path is a checkpoint's key.

use tch::nn::{self, Init, init};
use tch::{Kind, Tensor};
use torch_bridge::frozen::{self, Then};

use super::Mode;

/// A convolution without bias.
#[derive(Debug)]
pub struct Conv {
    weight: Tensor,
    stride: i64,
    padding: i64,
}

impl Conv {
    /// A square kernel; weights are Kaiming normal by fan-out (He 2015), as torchvision's ResNets have them.
    pub fn new(path: &nn::Path, inputs: i64, outputs: i64, kernel: i64, stride: i64) -> Self {
        let std = (2.0 / (outputs * kernel * kernel) as f64).sqrt();
        let weight = path.var(
            "weight",
            &[outputs, inputs, kernel, kernel],
            Init::Randn { mean: 0.0, stdev: std },
        );
        Self { weight, stride, padding: kernel / 2 }
    }

    /// `[N, C, H, W]` → `[N, outputs, H / stride, W / stride]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.conv2d(&self.weight, None::<&Tensor>, [self.stride; 2], [self.padding; 2], [1i64; 2], 1)
    }
}

/// Added to a variance before its root.
const BATCH_NORM_EPSILON: f64 = 1e-5;

/// Batch normalisation, over rows `[N, D]` or maps `[N, D, H, W]`; momentum 0.1, ε 1e-5.
#[derive(Debug)]
pub struct BatchNorm {
    /// Scale and shift, if it has them.
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    running_mean: Tensor,
    running_var: Tensor,
}

impl BatchNorm {
    /// Scale `scale`, shift 0, running mean 0 and variance 1.
    pub fn new(path: &nn::Path, width: i64, scale: f64) -> Self {
        Self {
            weight: Some(path.var("weight", &[width], Init::Const(scale))),
            bias: Some(path.var("bias", &[width], Init::Const(0.0))),
            ..Self::plain(path, width)
        }
    }

    /// Without scale and shift.
    pub fn plain(path: &nn::Path, width: i64) -> Self {
        Self {
            weight: None,
            bias: None,
            running_mean: path.zeros_no_train("running_mean", &[width]),
            running_var: path.ones_no_train("running_var", &[width]),
        }
    }

    pub fn forward(&self, x: &Tensor, mode: Mode) -> Tensor {
        x.batch_norm(
            self.weight.as_ref(),
            self.bias.as_ref(),
            Some(&self.running_mean),
            Some(&self.running_var),
            mode.is_train(),
            0.1,
            BATCH_NORM_EPSILON,
            true,
        )
    }
}

/// A convolution and the batch normalisation behind it, with or without a ReLU.
#[derive(Debug)]
pub struct ConvNorm {
    conv: Conv,
    norm: BatchNorm,
    /// Both as one convolution, once the weights are fixed.
    frozen: Option<frozen::Convolution>,
}

impl ConvNorm {
    pub fn new(conv: Conv, norm: BatchNorm) -> Self {
        Self { conv, norm, frozen: None }
    }

    /// See [`Backbone::freeze`](super::Backbone::freeze). With the running statistics, the normalisation is a factor
    /// and a shift of each channel, which the convolution's weights take in.
    pub fn freeze(&mut self, kind: Kind) {
        let Self { conv, norm, .. } = self;
        let mut factor = (&norm.running_var + BATCH_NORM_EPSILON).rsqrt();
        if let Some(scale) = &norm.weight {
            factor *= scale;
        }
        let weight = &conv.weight * factor.view([-1, 1, 1, 1]);
        let mut bias = -(&norm.running_mean * &factor);
        if let Some(shift) = &norm.bias {
            bias += shift;
        }
        let with = [conv.stride, conv.padding, 1];
        self.frozen = Some(frozen::Convolution::new(&weight, &bias, with, kind));
    }

    /// norm(conv(x)), then a ReLU if `relu`.
    pub fn forward(&self, x: &Tensor, mode: Mode, relu: bool) -> Tensor {
        if let (Some(frozen), Mode::Eval) = (&self.frozen, mode) {
            return frozen.forward(x, relu);
        }
        let mut y = self.norm.forward(&self.conv.forward(x), mode);
        if relu { y.relu_() } else { y }
    }

    /// relu(norm(conv(x)) + shortcut). A frozen one writes over the shortcut.
    pub fn forward_added(&self, x: &Tensor, shortcut: &Tensor, mode: Mode) -> Tensor {
        if let (Some(frozen), Mode::Eval) = (&self.frozen, mode) {
            return frozen.forward_added(x, shortcut);
        }
        self.forward(x, mode, false).g_add_(shortcut).relu_()
    }
}

/// A fully connected layer.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    frozen: Option<frozen::Linear>,
}

impl Linear {
    /// PyTorch's default: weights and bias uniform in ±1/√inputs.
    pub fn new(path: &nn::Path, inputs: i64, outputs: i64, bias: bool) -> Self {
        let bound = 1.0 / (inputs as f64).sqrt();
        let init = Init::Uniform { lo: -bound, up: bound };
        Self {
            weight: path.var("weight", &[outputs, inputs], init),
            bias: bias.then(|| path.var("bias", &[outputs], init)),
            frozen: None,
        }
    }

    /// Transformers' choice: weights normal with std 0.02, bias 0. (Their codes cut at ±2, a hundred stds: nowhere.)
    pub fn transformer(path: &nn::Path, inputs: i64, outputs: i64) -> Self {
        let weight = path.var("weight", &[outputs, inputs], NARROW);
        let bias = Some(path.var("bias", &[outputs], Init::Const(0.0)));
        Self { weight, bias, frozen: None }
    }

    /// See [`Backbone::freeze`](super::Backbone::freeze).
    pub fn freeze(&mut self, kind: Kind) {
        self.frozen = Some(frozen::Linear::new(&self.weight, self.bias.as_ref(), kind));
    }

    /// The same without a bias.
    pub fn unbiased(path: &nn::Path, inputs: i64, outputs: i64) -> Self {
        let weight = path.var("weight", &[outputs, inputs], NARROW);
        Self { weight, bias: None, frozen: None }
    }

    /// `[…, inputs]` → `[…, outputs]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        match &self.frozen {
            Some(frozen) => frozen.forward(x, Then::Nothing),
            None => x.linear(&self.weight, self.bias.as_ref()),
        }
    }

    /// The same, then GELU: `Then::Gelu` in its exact form, `Then::GeluTanh` with tanh.
    pub fn forward_then(&self, x: &Tensor, then: Then) -> Tensor {
        if let Some(frozen) = &self.frozen {
            return frozen.forward(x, then);
        }
        let x = self.forward(x);
        match then {
            Then::Nothing => x,
            Then::Gelu => x.gelu("none"),
            Then::GeluTanh => x.gelu("tanh"),
        }
    }
}

/// Layer normalisation over the last dimension.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    /// Scale 1, shift 0 and ε 1e-6, as timm's ViT and ConvNeXt have it.
    pub fn new(path: &nn::Path, width: i64) -> Self {
        Self::with(path, width, 1.0, 1e-6)
    }

    /// ε is added to the variance: 1e-6 in timm's transformers, 1e-5 in CLIP.
    pub fn with_epsilon(path: &nn::Path, width: i64, epsilon: f64) -> Self {
        Self::with(path, width, 1.0, epsilon)
    }

    /// Scale `scale`, shift 0.
    pub fn with(path: &nn::Path, width: i64, scale: f64, epsilon: f64) -> Self {
        Self {
            weight: path.var("weight", &[width], Init::Const(scale)),
            bias: path.var("bias", &[width], Init::Const(0.0)),
            epsilon,
        }
    }

    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), self.epsilon, true)
    }
}

/// Where the weights of transformers begin: normal with std 0.02.
pub const NARROW: Init = Init::Randn { mean: 0.0, stdev: 0.02 };

/// Fills with normal numbers of the given std, those beyond two stds drawn by inversion within the bounds.
pub fn truncated_normal(target: &mut Tensor, std: f64) {
    // Φ(−2) and Φ(2): a uniform number between them, through the inverse, is a normal one within two stds.
    const TAIL: f64 = 0.022_750_131_948_179_21;
    tch::no_grad(|| {
        let uniform = Tensor::empty_like(target).uniform_(TAIL, 1.0 - TAIL);
        let normal = (uniform * 2.0 - 1.0).erfinv() * (std * std::f64::consts::SQRT_2);
        target.copy_(&normal.to_kind(Kind::Float));
    });
}

/// Uniform in ±1/√fan-in, PyTorch's default for a convolution with a bias.
pub fn default_conv_init(fan_in: i64) -> Init {
    let bound = 1.0 / (fan_in as f64).sqrt();
    init::Init::Uniform { lo: -bound, up: bound }
}
