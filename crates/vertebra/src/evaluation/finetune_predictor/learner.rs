//! What learns: a predictor over an encoder, or one of the two, under a head for each task.

use std::collections::BTreeMap;
use std::path::Path;

use pixels::draw::{Draw, Purpose};
use tch::{Device, Kind, Tensor, nn};

use super::{Job, TuningHead, TuningMode};
use crate::error::Result;
use crate::evaluation::{
    Answers, Encoder, Epochs, FinetuneConfig, LabelledImages, Probes, Setting, Training,
    WorldModel, adamw, answers, linear_classifier, train,
};
use crate::models::vit::predictor::Predictor;
use crate::models::{Mode, named_variables, no_tap, weights};
use crate::training::groups::{self, Rule};
use crate::training::optim::Optimizer;

/// Standard deviation of a task's initial token, that of a mask token.
const TOKEN_STD: f64 = 0.02;

pub(super) struct Learner<'a> {
    world: &'a WorldModel,
    /// The copy that learns; `None` where the encoder is frozen.
    encoder: Option<Encoder>,
    predictor: Option<Own>,
    /// One for each task.
    heads: Vec<Head>,
    /// Of each task.
    classes: Vec<usize>,
}

/// A predictor that learns.
struct Own {
    network: Predictor,
    /// Its own, without a prefix.
    variables: BTreeMap<String, Tensor>,
    /// Factor on its rate.
    rate: f64,
    /// `[1, 1, P]`, one for each task; none where a task is alone.
    tokens: Vec<Tensor>,
}

enum Head {
    /// `[K, D]` and `[K]`.
    Linear([Tensor; 2]),
    Attentive(Probes),
}

impl<'a> Learner<'a> {
    /// Before the first step, for tasks of so many classes.
    pub(super) fn new(job: &Job<'a>, classes: &[usize], seed: u64) -> Result<Self> {
        let Job { world, spec, mode, config, together } = *job;
        let predictor = if mode.has_predictor() {
            let tokens = if together { classes.len() } else { 0 };
            Some(Own::new(world, mode, config.predictor_rate, tokens, seed)?)
        } else {
            None
        };
        let width = match (&predictor, config.head) {
            (Some(own), _) => own.network.spec().outputs,
            (None, TuningHead::Linear) => world.encoder.backbone.width(),
            (None, TuningHead::Attentive) => world.predictor.spec().inputs,
        };
        let head = |&classes: &usize| {
            let device = world.encoder.device;
            match config.head {
                TuningHead::Linear => Head::Linear(linear_classifier(classes, width, seed, device)),
                TuningHead::Attentive => {
                    Head::Attentive(Probes::random(1, width, classes, seed, device))
                }
            }
        };
        let encoder = if mode.tunes_encoder() { Some(world.encoder.copied(spec)?) } else { None };
        let heads = classes.iter().map(head).collect();
        Ok(Self { world, encoder, predictor, heads, classes: classes.to_vec() })
    }

    /// Learns the tasks together. False where it diverged.
    pub(super) fn tune(
        &self,
        images: &[LabelledImages],
        setting: Setting,
        config: &FinetuneConfig,
        seed: u64,
        epochs: &mut Epochs,
    ) -> Result<bool> {
        let training = Training {
            encoder: &self.world.encoder,
            optimizer: self.optimizer(setting, config)?,
            lr: setting.lr,
            seed,
            logits: &|task, views| self.logits(task, views, Mode::Train),
        };
        let tasks: Vec<(&LabelledImages, usize)> =
            images.iter().zip(self.classes.iter().copied()).collect();
        let (sound, _) = train(training, &tasks, config, epochs)?;
        Ok(sound)
    }

    /// The answers of each task to its test images; `None` where one's are not finite.
    pub(super) fn answers(
        &self,
        tests: &[&LabelledImages],
        batch: usize,
    ) -> Result<Option<Vec<Answers>>> {
        let mut found = Vec::new();
        for (task, images) in tests.iter().enumerate() {
            let logits = |images: &Tensor| self.logits(task, images, Mode::Eval);
            let Some(answers) = answers(&self.world.encoder, images, batch, &logits)? else {
                return Ok(None);
            };
            found.push(answers);
        }
        Ok(Some(found))
    }

    /// Of images `[n, C, S, S]` of a task: `[n, K]` in f32.
    pub(super) fn logits(&self, task: usize, images: &Tensor, mode: Mode) -> Tensor {
        let Encoder { device, autocast, .. } = self.world.encoder;
        let logits = torch_bridge::autocast(device, autocast, || {
            let (tokens, pooled) = self.features(task, images, mode);
            match &self.heads[task] {
                Head::Linear([weight, bias]) => pooled.linear(weight, Some(bias)),
                Head::Attentive(probe) => probe.logits(&tokens.to_kind(Kind::Float)).remove(0),
            }
        });
        logits.to_kind(Kind::Float)
    }

    /// What heads read: tokens `[n, T, D]`, the predictor's where there is one, and one vector of each image `[n, D]`.
    pub(super) fn features(&self, task: usize, images: &Tensor, mode: Mode) -> (Tensor, Tensor) {
        let seen = if let Some(own) = &self.encoder {
            own.backbone.forward(images, mode, &mut no_tap)
        } else {
            let frozen = &self.world.encoder.backbone;
            tch::no_grad(|| frozen.forward(images, Mode::Eval, &mut no_tap))
        };
        let tokens = seen.tokens.expect("the encoder of a world model is a transformer");
        let Some(own) = &self.predictor else { return (tokens, seen.pooled) };
        let n = images.size()[0];
        let (places, action) = (self.world.places(images), self.world.null_action(n));
        let beside = own.tokens.get(task).map(|token| token.expand([n, -1, -1], false));
        let said = own.network.forward(&tokens, &places, action.as_ref(), beside.as_ref());
        let pooled = said.mean_dim(1, false, None::<Kind>);
        (said, pooled)
    }

    fn optimizer(&self, setting: Setting, config: &FinetuneConfig) -> Result<Optimizer> {
        let above = self.encoder_and_heads();
        let rules = groups::layered_rules(&above, setting.layer_decay);
        let mut all = groups::assign(&above, &rules)?;
        if let Some(own) = &self.predictor {
            all.extend(groups::assign(&own.named(), &own.rules())?);
        }
        Ok(adamw(all, setting.lr, config))
    }

    /// The parameters of the encoder that learns, by its own names, and those of the heads: `classifier.0.weight`.
    pub(super) fn encoder_and_heads(&self) -> BTreeMap<String, Tensor> {
        let mut found: BTreeMap<String, Tensor> = BTreeMap::new();
        for (name, tensor) in self.encoder.iter().flat_map(|it| &it.variables) {
            if tensor.requires_grad() {
                found.insert(name.clone(), tensor.shallow_clone());
            }
        }
        for (task, head) in self.heads.iter().enumerate() {
            for (name, tensor) in head.named() {
                found.insert(format!("classifier.{task}.{name}"), tensor.shallow_clone());
            }
        }
        found
    }

    /// The predictor's parameters, and `task.0` for the token of the first task.
    #[cfg(test)]
    pub(super) fn of_predictor(&self) -> BTreeMap<String, Tensor> {
        self.predictor.as_ref().map(Own::named).unwrap_or_default()
    }
}

impl Own {
    fn new(
        world: &WorldModel,
        mode: TuningMode,
        rate: f64,
        tokens: usize,
        seed: u64,
    ) -> Result<Self> {
        let device = world.encoder.device;
        tch::manual_seed(seed as i64);
        let store = nn::VarStore::new(device);
        let network = Predictor::new(&store.root(), world.predictor.spec());
        let variables = named_variables(&store);
        let fresh = mode == TuningMode::Random;
        if !fresh {
            weights::assign(Path::new(&world.encoder.name), &world.variables, &variables)?;
        }
        let width = network.spec().width;
        let tokens = (0..tokens).map(|task| task_token(task, width, seed, device)).collect();
        Ok(Self { network, variables, rate: if fresh { 1.0 } else { rate }, tokens })
    }

    fn named(&self) -> BTreeMap<String, Tensor> {
        let own = self.variables.iter().filter(|(_, tensor)| tensor.requires_grad());
        let own = own.map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
        let tokens = self.tokens.iter().enumerate();
        let tokens = tokens.map(|(task, token)| (format!("task.{task}"), token.shallow_clone()));
        own.chain(tokens).collect()
    }

    /// Tokens of tasks are new whatever the predictor is, and have the whole rate. Learned tokens, biases and norms do not
    /// decay.
    fn rules(&self) -> Vec<Rule> {
        let exempt = [
            Rule::named("mask_token").exempt(),
            Rule::named("*bias").exempt(),
            Rule { max_dims: Some(1), ..Rule::all().exempt() },
        ];
        let own = exempt.into_iter().chain([Rule::all()]);
        let own = own.map(|rule| Rule { lr_scale: self.rate, ..rule });
        [Rule::named("task.*").exempt()].into_iter().chain(own).collect()
    }
}

impl Head {
    fn named(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            Self::Linear([weight, bias]) => vec![("weight", weight), ("bias", bias)],
            Self::Attentive(probes) => probes.each.iter().flat_map(|it| it.named()).collect(),
        }
    }
}

/// The token of a task that has not been learned yet, `[1, 1, P]`.
fn task_token(task: usize, width: i64, seed: u64, device: Device) -> Tensor {
    // The first sample's stream is that of the head.
    let draw = Draw { sample: 1 + task as u64, ..Draw::of_seed(seed) };
    let mut stream = draw.stream(Purpose::Training);
    let values: Vec<f32> = (0..width).map(|_| (stream.normal() * TOKEN_STD) as f32).collect();
    Tensor::from_slice(&values).view([1, 1, width]).to_device(device).set_requires_grad(true)
}
