//! Signs of collapse, without labels. Everything is computed in f64 on the CPU.

use tch::{Kind, Tensor};

use super::{entropy_rank, exact, rankme};

/// Of the healthy deviation 1/√d, below which the outputs are nearly one point.
const COLLAPSED_STD: f64 = 0.3;

/// The rank below which the outputs are nearly one point, for 16 dimensions and rows or more.
const COLLAPSED_RANK: f64 = 5.0;

/// Of the largest possible rank, below which dimensions are lost.
const LOW_RANK: f64 = 0.05;

/// The standard deviation (n − 1) of the L2-normalised rows of `z [n, d]`, averaged over the dimensions: 1/√d when
/// they point everywhere, 0 when all are equal. 0 for fewer than two rows.
pub fn std_of_normalised(z: &Tensor) -> f64 {
    if z.size()[0] < 2 {
        return 0.0;
    }
    let z = exact(z);
    let norms = z.square().sum_dim_intlist([1i64].as_slice(), true, Kind::Double).sqrt();
    let z = z / norms.clamp_min(1e-12);
    z.std_dim([0i64].as_slice(), true, false).mean(Kind::Double).double_value(&[])
}

/// Of the logarithm of the most prototypes that can be used, below which most are lost.
const FEW_PROTOTYPES: f64 = 0.5;

/// What is watched during training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Health {
    /// See [`std_of_normalised`].
    pub std: f64,
    /// See [`rankme`].
    pub rank: f64,
    pub rows: i64,
    pub width: i64,
}

/// A named way of going wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symptom {
    /// The outputs hold numbers that are not finite.
    NotFinite,
    /// All outputs are nearly equal.
    CompleteCollapse,
    /// The outputs spread over few of the dimensions they have.
    DimensionalCollapse,
    /// Few prototypes are used, whatever the image.
    PrototypeCollapse,
}

impl Health {
    /// Measures outputs `z [n, d]`: representations or embeddings.
    pub fn of(z: &Tensor) -> Self {
        let (rows, width) = (z.size()[0], z.size()[1]);
        Self { std: std_of_normalised(z), rank: rankme(z), rows, width }
    }

    /// The worst symptom, `None` where there is none. The thresholds are rules of thumb, made for embeddings
    /// computed in training mode, after the warm-up. Representations after a ReLU are all positive and share a
    /// large mean, which lowers both numbers: those of a fresh ResNet-18 are at 0.33/√d in training mode, and at
    /// 0.14/√d with the running statistics, where its embeddings are at 0.82/√d and 0.15/√d.
    pub fn symptom(&self) -> Option<Symptom> {
        if !self.std.is_finite() || !self.rank.is_finite() {
            return Some(Symptom::NotFinite);
        }
        let possible = self.rows.min(self.width) as f64;
        if possible < 2.0 {
            return None;
        }
        let healthy_std = 1.0 / (self.width as f64).sqrt();
        let few = COLLAPSED_RANK.min(possible * COLLAPSED_RANK / 16.0);
        if self.std < COLLAPSED_STD * healthy_std || self.rank < few {
            return Some(Symptom::CompleteCollapse);
        }
        (self.rank < LOW_RANK * possible).then_some(Symptom::DimensionalCollapse)
    }

    /// The symptom in a sentence, and what to try, in order: first the method's own `knob` against it, if it has one.
    /// `place` names what was measured: `embedding`.
    pub fn advice(&self, place: &str, knob: Option<&str>) -> Option<String> {
        let knob = knob.map(|knob| format!("{knob}, ")).unwrap_or_default();
        let Self { std, rank, rows, width } = self;
        let healthy = 1.0 / (*width as f64).sqrt();
        let possible = rows.min(width);
        Some(match self.symptom()? {
            Symptom::NotFinite => format!(
                "the {place} holds numbers that are not finite; try, in this order: precision = \"fp32\", a lower \
                 learning rate, gradient clipping"
            ),
            Symptom::CompleteCollapse => format!(
                "complete collapse: the {place} is nearly the same for every image (standard deviation {std:.4}, \
                 healthy {healthy:.4}; RankMe {rank:.1} of {possible}); try, in this order: {knob}a lower learning \
                 rate, batch norm in the projector, a longer warm-up"
            ),
            Symptom::DimensionalCollapse => format!(
                "dimensional collapse: the {place} spreads over few of its dimensions (RankMe {rank:.1} of \
                 {possible}); try, in this order: {knob}a wider or deeper projector, weaker augmentation, longer \
                 training, a larger batch"
            ),
            // Not of embeddings.
            Symptom::PrototypeCollapse => return None,
        })
    }
}

/// How many prototypes are used: the exponential of the entropy of their `shares [K]`, from 1 to K.
pub fn used_prototypes(shares: &Tensor) -> f64 {
    let shares = exact(shares);
    entropy_rank((0..shares.size()[0]).map(|k| shares.double_value(&[k])), 0.0)
}

/// [`Symptom::PrototypeCollapse`] in a sentence, where `used` of `prototypes` serve `rows` images, and what to try: first the
/// method's own `knob`.
pub fn prototype_advice(
    used: f64,
    prototypes: i64,
    rows: i64,
    knob: Option<&str>,
) -> Option<String> {
    let possible = prototypes.min(rows);
    if possible < 2 || used.ln() >= FEW_PROTOTYPES * (possible as f64).ln() {
        return None;
    }
    let knob = knob.map(|knob| format!("{knob}, ")).unwrap_or_default();
    Some(format!(
        "prototype collapse: {used:.1} of {prototypes} prototypes are used for {rows} images, whatever they show; try, in \
         this order: {knob}prototypes frozen for longer at the start, a lower learning rate"
    ))
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// sin(0.7 i + 1.3 j + 0.1 i j), `[n, d]`.
    fn waves(n: usize, d: usize) -> Tensor {
        let values: Vec<f64> = (0..n * d)
            .map(|index| ((index / d) as f64, (index % d) as f64))
            .map(|(i, j)| (0.7 * i + 1.3 * j + 0.1 * i * j).sin())
            .collect();
        Tensor::from_slice(&values).view([n as i64, d as i64])
    }

    fn close(found: f64, wanted: f64) {
        // Eight printed decimals, and eigenvalues in f64.
        assert!((found / wanted - 1.0).abs() < 1e-6, "{found} is not {wanted}");
    }

    fn gaussian(n: i64, d: i64) -> Tensor {
        tch::manual_seed(7);
        Tensor::randn([n, d], (Kind::Float, Device::Cpu))
    }

    #[test]
    fn the_deviation_has_its_published_value() {
        close(std_of_normalised(&waves(8, 4)), 0.529_292_53);
        close(std_of_normalised(&(waves(8, 4) * 30.0)), 0.529_292_53);
    }

    #[test]
    fn equal_rows_have_no_spread() {
        let same = Tensor::full([8, 4], 0.3, (Kind::Float, Device::Cpu));
        assert!(std_of_normalised(&same) < 1e-15);
        let zeros = Tensor::zeros([8, 4], (Kind::Float, Device::Cpu));
        assert_eq!(std_of_normalised(&zeros), 0.0);
    }

    #[test]
    fn numbers_that_are_not_finite_are_a_symptom_not_a_panic() {
        let mut z = gaussian(8, 4);
        let _ = z.fill_(f64::NAN);
        assert_eq!(Health::of(&z).symptom(), Some(Symptom::NotFinite));
    }

    #[test]
    fn noise_is_healthy() {
        for (n, d) in [(256, 128), (128, 512), (16, 16), (8, 4)] {
            let health = Health::of(&gaussian(n, d));
            assert_eq!(health.advice("embedding", None), None, "{health:?}");
        }
    }

    #[test]
    fn nearly_equal_outputs_are_a_complete_collapse() {
        let z = gaussian(256, 128) * 0.1 + 1.0;
        let health = Health::of(&z);
        assert_eq!(health.symptom(), Some(Symptom::CompleteCollapse), "{health:?}");
        let advice = health.advice("embedding", Some("the knob")).unwrap();
        assert!(advice.starts_with("complete collapse: the embedding is nearly"), "{advice}");
        assert!(advice.contains("in this order: the knob, a lower learning rate"), "{advice}");
        // A line through the origin has spread but one direction.
        let line = gaussian(256, 1).matmul(&gaussian(1, 128));
        assert_eq!(Health::of(&line).symptom(), Some(Symptom::CompleteCollapse));
    }

    #[test]
    fn outputs_in_few_dimensions_are_a_dimensional_collapse() {
        let z = gaussian(512, 12).matmul(&gaussian(12, 512));
        let health = Health::of(&z);
        assert_eq!(health.symptom(), Some(Symptom::DimensionalCollapse), "{health:?}");
        assert!(
            health.advice("embedding", None).unwrap().contains(": a wider or deeper projector")
        );
    }

    #[test]
    fn prototypes_are_counted_by_how_alike_they_are_used() {
        let uniform = Tensor::full([16], 1.0 / 16.0, (Kind::Float, Device::Cpu));
        assert!((used_prototypes(&uniform) - 16.0).abs() < 1e-6);
        assert!((used_prototypes(&Tensor::from_slice(&[1f32, 0., 0.])) - 1.0).abs() < 1e-12);
        assert_eq!(prototype_advice(16.0, 16, 64, None), None);
        let advice = prototype_advice(1.3, 4096, 256, Some("the centre")).unwrap();
        assert!(advice.starts_with("prototype collapse: 1.3 of 4096 prototypes"), "{advice}");
        assert!(advice.contains("in this order: the centre, "), "{advice}");
        // One image can use one prototype.
        assert_eq!(prototype_advice(1.0, 4096, 1, None), None);
    }
}
