//! The health of a run while it trains: spread and rank without labels, k-NN with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use pixels::draw::{Draw, Purpose};
use pixels::source::Source;
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::evaluation::world_model::{recovery, retrieval};
use crate::evaluation::{Encoder, ExtractOptions, WorldConfig, WorldModel, knn};
use crate::methods::{Loss, Method};
use crate::objectives::health::{self, Health, Symptom};
use crate::objectives::{duality, normalized};

/// Rows of a batch that ranks are taken of: enough to see a collapse, and quick.
const RANK_ROWS: i64 = 256;
/// Images of the online k-NN: four fifths vote, one fifth asks.
const KNN_IMAGES: usize = 1000;

/// Spread and rank of this step's representation and embedding, under the journal's names, how many prototypes were used by
/// a method that has some, and advice where embedding or prototypes say that a collapse has begun. (A healthy representation may look collapsed: it is what ReLU and pooling left,
/// and all its directions share a large mean.)
pub fn of_batch(method: &dyn Method, loss: &Loss) -> (BTreeMap<String, f64>, Vec<String>) {
    let mut values = BTreeMap::new();
    let mut measure = |name: &str, tensor: &Tensor| {
        let rows = tensor.size()[0].min(RANK_ROWS);
        let health = Health::of(&tensor.narrow(0, 0, rows).to_kind(Kind::Float));
        values.insert(format!("{name}_std"), health.std);
        values.insert(format!("{name}_rank"), health.rank);
        health
    };
    measure("representation", &loss.representation);
    let embedding = measure("embedding", &loss.embedding);
    let symptom = embedding.symptom();
    let knob = symptom.and_then(|symptom| method.knob(symptom));
    let mut advice = Vec::new();
    if method.can_collapse() || symptom == Some(Symptom::NotFinite) {
        advice.extend(embedding.advice("embedding", knob));
    }
    if let Some(shares) = method.prototypes() {
        let used = health::used_prototypes(shares);
        values.insert("prototypes".into(), used);
        let (prototypes, rows) = (shares.size()[0], loss.embedding.size()[0]);
        let knob = method.knob(Symptom::PrototypeCollapse);
        advice.extend(health::prototype_advice(used, prototypes, rows, knob));
    }
    let rows = loss.embedding.size()[0].min(RANK_ROWS);
    let [sample, dimension] = contrastive(&loss.embedding.narrow(0, 0, rows));
    values.insert("sample_contrastive".into(), sample);
    values.insert("dimension_contrastive".into(), dimension);
    (values, advice)
}

/// The two criteria of Garrido et al. 2023 (definition 3.2), on rows of length 1, not centred, each per pair: of samples, over N(N − 1),
/// and of dimensions, over D(D − 1).
fn contrastive(embedding: &Tensor) -> [f64; 2] {
    let z = normalized(&embedding.detach().to_device(Device::Cpu).to_kind(Kind::Double));
    let per_pair = |criterion: Tensor, count: i64| {
        criterion.double_value(&[]) / (count * (count - 1)).max(1) as f64
    };
    [
        per_pair(duality::sample_contrast(&z), z.size()[0]),
        per_pair(duality::dimension_contrast(&z), z.size()[1]),
    ]
}

/// Top-1 of a small k-NN within the training images, `None` where the source has no labels. The images are the same
/// every time; scores on test images come at the end of a run, never during it.
pub fn knn_of(encoder: &Encoder, source: &Arc<dyn Source>, seed: u64) -> Result<Option<f64>> {
    let labelled: Vec<usize> =
        (0..source.len()).filter(|&index| source.label(index).is_some()).collect();
    if labelled.len() < 10 {
        return Ok(None);
    }
    let order = Draw::of_seed(seed).stream(Purpose::Split).permutation(labelled.len());
    let chosen: Vec<usize> = order.iter().take(KNN_IMAGES).map(|&i| labelled[i]).collect();
    let (asking, voting) = chosen.split_at(chosen.len() / 5);
    let options = ExtractOptions::default();
    let voters = encoder.extract_samples(source, voting, &options)?;
    let queries = encoder.extract_samples(source, asking, &options)?;
    let config = knn::KnnConfig::default();
    let outcome = knn::evaluate(&voters, &[("", &queries)], &encoder.name, &config)?;
    Ok(outcome.scores.first().map(|score| score.value))
}

/// What a predictor knows of colours, under the journal's names, by a few of the training images, the same every time: `mrr` and what
/// it would be by chance, and `r2_mean` of the encoder where there are enough images.
pub fn world_of(model: &WorldModel, source: &dyn Source, seed: u64) -> Result<Vec<(String, f64)>> {
    let config = WorldConfig::quick(seed);
    let mut values = vec![
        ("mrr".into(), retrieval::mrr(model, source, &config)?),
        ("mrr_chance".into(), retrieval::chance(config.bank)),
    ];
    if source.len() >= 10 {
        let found = recovery::evaluate(&model.encoder, source, &config)?;
        let mean = found.scores.iter().find(|score| score.metric == "r2_mean");
        values.extend(mean.map(|score| ("r2_mean".into(), score.value)));
    }
    Ok(values)
}

/// The first term that is not a number, or infinite: `(name, value)`.
pub fn first_bad(loss: &Loss) -> Option<(String, f64)> {
    let value = |tensor: &Tensor| tensor.to_kind(Kind::Double).double_value(&[]);
    loss.parts
        .iter()
        .map(|(name, part)| ((*name).to_string(), value(part)))
        .chain([("loss".to_string(), value(&loss.total))])
        .find(|(_, value)| !value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_criteria_are_those_of_their_definitions() {
        tch::manual_seed(3);
        let raw = Tensor::randn([5, 3], (Kind::Double, Device::Cpu));
        let z = &raw / raw.square().sum_dim_intlist([1i64].as_slice(), true, Kind::Double).sqrt();
        let off_diagonal = |gram: Tensor| {
            let n = gram.size()[0] as f64;
            let off = &gram - gram.diagonal(0, 0, 1).diag(0);
            off.square().sum(Kind::Double).double_value(&[]) / (n * (n - 1.0))
        };
        let wanted = [off_diagonal(z.matmul(&z.tr())), off_diagonal(z.tr().matmul(&z))];
        for (found, wanted) in contrastive(&raw).into_iter().zip(wanted) {
            // Sums of a few dozen doubles of size 1.
            assert!((found - wanted).abs() < 1e-13, "{found} is not {wanted}");
        }
        // All equal: every cosine is 1.
        let equal = Tensor::ones([4, 9], (Kind::Float, Device::Cpu));
        assert!((contrastive(&equal)[0] - 1.0).abs() < 1e-13);
    }
}
