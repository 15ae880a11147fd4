//! The layers that every model here is made of, with their initial values stated.
//!
//! Variables carry PyTorch's names (`weight`, `bias`, `running_mean`, `running_var`), so a path is a checkpoint's key.

use tch::nn::{self, Init, init};
use tch::{Kind, Tensor};

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

/// Batch normalisation, over rows `[N, D]` or maps `[N, D, H, W]`; momentum 0.1, ε 1e-5.
#[derive(Debug)]
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
}

impl BatchNorm {
    /// Scale `scale`, shift 0, running mean 0 and variance 1.
    pub fn new(path: &nn::Path, width: i64, scale: f64) -> Self {
        Self {
            weight: path.var("weight", &[width], Init::Const(scale)),
            bias: path.var("bias", &[width], Init::Const(0.0)),
            running_mean: path.zeros_no_train("running_mean", &[width]),
            running_var: path.ones_no_train("running_var", &[width]),
        }
    }

    pub fn forward(&self, x: &Tensor, mode: Mode) -> Tensor {
        x.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.running_mean),
            Some(&self.running_var),
            mode.is_train(),
            0.1,
            1e-5,
            true,
        )
    }
}

/// A fully connected layer.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// PyTorch's default: weights and bias uniform in ±1/√inputs.
    pub fn new(path: &nn::Path, inputs: i64, outputs: i64, bias: bool) -> Self {
        let bound = 1.0 / (inputs as f64).sqrt();
        let init = Init::Uniform { lo: -bound, up: bound };
        Self {
            weight: path.var("weight", &[outputs, inputs], init),
            bias: bias.then(|| path.var("bias", &[outputs], init)),
        }
    }

    /// Transformers' choice: weights normal with std 0.02 (cut at two stds: [`truncated_normal`]), bias 0.
    pub fn transformer(path: &nn::Path, inputs: i64, outputs: i64) -> Self {
        let mut weight = path.zeros("weight", &[outputs, inputs]);
        truncated_normal(&mut weight, 0.02);
        Self { weight, bias: Some(path.var("bias", &[outputs], Init::Const(0.0))) }
    }

    /// The same without a bias.
    pub fn unbiased(path: &nn::Path, inputs: i64, outputs: i64) -> Self {
        let mut weight = path.zeros("weight", &[outputs, inputs]);
        truncated_normal(&mut weight, 0.02);
        Self { weight, bias: None }
    }

    /// `[…, inputs]` → `[…, outputs]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
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
