mod predictor;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use pixels::corrupt::{Corrupted, Corruption};
use pixels::source::Source;
use report::record::Score;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use vertebra::error::Error;
use vertebra::evaluation::label_free::cka::{Cka, cka};
use vertebra::evaluation::statistics::Comparison;
use vertebra::evaluation::{
    AttentiveConfig, Encoder, FinetuneConfig, Layers, Outcome, Protocol, WorldConfig, WorldModel,
    attentive, encoder, finetune, world_model,
};
use vertebra::scoring::{self, Judged, Task};
use vertebra::training::checkpoint::EncoderSpec;

use super::Compute;
use crate::show::{Progress, Screen};

/// Judge frozen encoders: by neighbours, by a classifier fitted on their features, by what they rank or cluster, or
/// without labels.
///
/// The network of the first encoder with random weights is judged beside them, because a score without that baseline says
/// little. Encoders are compared in pairs, on the same test images. `attentive` reads all places of an image, and
/// `finetune` trains a copy of the network. `predictor` tunes what a world model has beside its encoder, which stays frozen,
/// and its controls; `world` asks what that predictor knows of changes of colour, and how well these can be read from the
/// features of any encoder.
#[derive(clap::Args)]
pub struct Probe {
    /// How to judge.
    protocol: Name,
    /// Run folders, checkpoints, files of weights, or ARCH=FILE (resnet50=weights.safetensors); several are compared.
    #[arg(required = true)]
    encoders: Vec<String>,
    /// Images to learn from: a folder with one sub-folder per class, or a URI. retrieval, clustering, label-free and world
    /// do without.
    #[arg(long, value_name = "URI")]
    train: Option<String>,
    /// Images to be tested on.
    #[arg(long, value_name = "URI", required_unless_present = "tasks")]
    test: Option<String>,
    /// A task among several that share one predictor (predictor): its name, images to learn from, images to be tested on.
    /// Repeatable.
    #[arg(
        long = "task",
        num_args = 3,
        value_names = ["NAME", "TRAIN", "TEST"],
        conflicts_with_all = ["train", "test"]
    )]
    tasks: Vec<String>,
    /// Another test set, with the same classes or some of them: how well does it hold out of distribution? Repeatable.
    #[arg(long, value_name = "NAME=URI")]
    shift: Vec<String>,
    /// Corruptions of the test images after ImageNet-C, each at severities 1 to 5: all, or names with commas between them
    /// (gaussian_noise,contrast).
    #[arg(long, value_name = "NAMES")]
    corruptions: Option<String>,
    /// What to judge: pooled (the representation), all, or names of layers with commas between them.
    #[arg(long, default_value = "pooled")]
    layers: Layers,
    /// Neighbours that vote (knn): short for --set k=K.
    #[arg(long)]
    k: Option<usize>,
    /// A setting of the protocol: --set epochs=20, --set 'shots=[1,5]'. Repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Leave out the network with random weights.
    #[arg(long)]
    no_random: bool,
    /// Judge the network with random weights only; with finetune, this trains it from scratch.
    #[arg(long, conflicts_with = "no_random")]
    only_random: bool,
    /// Where to keep the tuned encoder (finetune): a folder that opens like a run.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Where extracted features are kept; by default the run folder, else the user's cache folder.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    compute: Compute,
    /// One JSON object: {"scores": [...], "comparisons": [...]}.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Knn,
    Linear,
    Logistic,
    Mlp,
    LowShot,
    Retrieval,
    Clustering,
    LabelFree,
    Attentive,
    Finetune,
    Predictor,
    World,
}

/// An encoder to be judged, and where its features are kept.
struct Contender {
    encoder: Encoder,
    /// As typed; `None` of the network with random weights.
    text: Option<String>,
    spec: EncoderSpec,
    cache: PathBuf,
}

impl Probe {
    pub fn run(self) -> anyhow::Result<()> {
        let settings = self.settings()?;
        if self.protocol == Name::Predictor {
            return predictor::run(&self, &settings);
        }
        let screen = Screen::quiet(self.json);
        let task = self.task()?;
        let contenders = self.contenders()?;
        let mut judged = Vec::new();
        for contender in &contenders {
            judged.push(self.judge(contender, &task, &settings, &screen)?);
        }
        let scores: Vec<Score> =
            judged.iter().flatten().flat_map(|it| it.outcome.scores.clone()).collect();
        let comparisons = comparisons(&contenders, &judged, self.protocol == Name::LabelFree);
        if self.json {
            println!("{}", json!({ "scores": scores, "comparisons": comparisons }));
        } else {
            screen.scores(&scores);
            for comparison in &comparisons {
                println!("{}", comparison["words"].as_str().unwrap_or(""));
            }
        }
        Ok(())
    }

    /// The protocol's settings as JSON.
    fn settings(&self) -> anyhow::Result<Map<String, Value>> {
        let mut settings = Map::new();
        for text in &self.settings {
            let Some((key, value)) = text.split_once('=') else {
                return Err(usage(
                    format!("--set {text}: expected KEY=VALUE"),
                    "for example --set epochs=20",
                ));
            };
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            settings.insert(key.trim().into(), value);
        }
        if let Some(k) = self.k {
            if self.protocol != Name::Knn {
                return Err(usage("--k is for knn".into(), "other protocols take --set KEY=VALUE"));
            }
            settings.insert("k".into(), k.into());
        }
        Ok(settings)
    }

    fn task(&self) -> anyhow::Result<Task> {
        let open = |uri: &str| pixels::source::open(uri).map_err(Error::from);
        let Some(test) = &self.test else {
            return Err(usage(
                "--task is for predictor".into(),
                "other protocols take --train URI --test URI",
            ));
        };
        let test = open(test)?;
        let train = match &self.train {
            Some(uri) => open(uri)?,
            None if self.protocol.learns() => {
                return Err(usage(
                    "this protocol learns from labelled images, and there is no --train".into(),
                    "--train URI; a part of one source is `folder:photos?fraction=0-0.8`",
                ));
            }
            None => test.clone(),
        };
        let mut shifts: Vec<(String, Arc<dyn Source>)> = Vec::new();
        for text in &self.shift {
            let Some((name, uri)) = text.split_once('=') else {
                return Err(usage(
                    format!("--shift {text}: expected NAME=URI"),
                    "for example --shift sketch=folder:sketches",
                ));
            };
            shifts.push((name.into(), open(uri)?));
        }
        Ok(Task { train, test, shifts, corruptions: self.corruptions()? })
    }

    fn corruptions(&self) -> anyhow::Result<Vec<Corrupted>> {
        let kinds: Vec<Corruption> = match self.corruptions.as_deref() {
            None => Vec::new(),
            Some("all") => Corruption::ALL.to_vec(),
            Some(names) => names
                .split(',')
                .map(|name| {
                    super::one_of(name.trim()).map_err(|error| usage(error, "--corruptions all"))
                })
                .collect::<anyhow::Result<_>>()?,
        };
        let mut corruptions = Vec::new();
        for kind in kinds {
            for severity in 1..=5 {
                corruptions.push(Corrupted::new(kind, severity)?);
            }
        }
        Ok(corruptions)
    }

    fn contenders(&self) -> anyhow::Result<Vec<Contender>> {
        let cache = |text: &str| self.cache.clone().unwrap_or_else(|| cache_of(text));
        let mut contenders = Vec::new();
        for text in &self.encoders {
            let (mut encoder, spec) = self.compute.open(text)?;
            if self.encoders.len() > 1 {
                encoder.name = self.short_name(text);
            }
            let (cache, text) = (cache(text), Some(text.clone()));
            contenders.push(Contender { encoder, text, spec, cache });
        }
        if !self.no_random {
            let Contender { encoder: like, spec, cache, .. } = &contenders[0];
            let random = encoder::random(spec, 0, like.device, like.autocast);
            let (spec, cache) = (spec.clone(), cache.clone());
            let random = Contender { encoder: random, text: None, spec, cache };
            if self.only_random {
                contenders.clear();
            }
            contenders.push(random);
        }
        Ok(contenders)
    }

    /// The last part of an encoder's path, where no other has the same.
    fn short_name(&self, text: &str) -> String {
        let short = |text: &str| {
            let file = text.rsplit('=').next().unwrap_or(text);
            Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned())
        };
        let alike = self.encoders.iter().filter(|other| short(other) == short(text)).count();
        short(text).filter(|_| alike == 1).unwrap_or_else(|| text.into())
    }

    fn judge(
        &self,
        contender: &Contender,
        task: &Task,
        settings: &Map<String, Value>,
        screen: &Screen,
    ) -> anyhow::Result<Vec<Judged>> {
        let Contender { encoder, spec, cache, .. } = contender;
        if let Some(protocol) = self.protocol.of_features() {
            let protocol: Protocol = parsed(settings, Some(protocol))?;
            let images = task.train.len() + task.test.len();
            screen.say(&format!("features of {images} images with the {} encoder", encoder.name));
            let bar = Progress::of_images(images);
            let found = scoring::judge(encoder, task, &protocol, &self.layers, cache, &|done| {
                bar.at(done);
            });
            bar.end();
            return Ok(found?);
        }
        if !task.shifts.is_empty() || !task.corruptions.is_empty() || self.layers != Layers::Pooled
        {
            return Err(usage(
                "attentive, finetune and world know no --shift, --corruptions and --layers".into(),
                "the protocols of features do: knn, linear, logistic, mlp",
            ));
        }
        if self.protocol == Name::World {
            return world(contender, task, settings, screen);
        }
        screen.say(&format!(
            "training on {} images with the {} encoder",
            task.train.len(),
            encoder.name
        ));
        let bar = Progress::over(0);
        let mut progress = |done: usize, all: usize, loss: f64| bar.epoch(done, all, loss);
        let outcome = if self.protocol == Name::Attentive {
            let config: AttentiveConfig = parsed(settings, None)?;
            attentive::evaluate(encoder, &task.train, &task.test, &config, &mut progress)?
        } else {
            let config: FinetuneConfig = parsed(settings, None)?;
            let (outcome, tuned) =
                finetune::evaluate(encoder, spec, &task.train, &task.test, &config, &mut progress)?;
            if let Some(folder) = &self.save {
                let folder = folder_of(
                    folder,
                    &encoder.name,
                    self.encoders.len() + usize::from(!self.no_random) > 1 && !self.only_random,
                );
                tuned.save(&folder)?;
                screen.say(&format!("{}: the tuned encoder", folder.display()));
            }
            outcome
        };
        bar.end();
        Ok(vec![Judged { layer: String::new(), outcome, groups: Vec::new(), features: None }])
    }
}

/// What the predictor knows, if there is one, and what the features keep of colours.
fn world(
    contender: &Contender,
    task: &Task,
    settings: &Map<String, Value>,
    screen: &Screen,
) -> anyhow::Result<Vec<Judged>> {
    let Contender { encoder, text, spec, .. } = contender;
    let config: WorldConfig = parsed(settings, None)?;
    let (device, autocast) = (encoder.device, encoder.autocast);
    let mut model = match (&spec.predictor, text) {
        (None, _) => None,
        (Some(_), Some(text)) => Some(WorldModel::open(Path::new(text), device, autocast)?),
        (Some(_), None) => {
            Some(WorldModel::over(encoder::random(spec, 0, device, autocast), spec, 0)?)
        }
    };
    match &mut model {
        Some(model) => model.encoder.name.clone_from(&encoder.name),
        None => screen.say(&format!(
            "the encoder {} has no predictor: what its features keep of colours is measured alone (runs of world models, \
             `ijepa` and `iwm`, have one)",
            encoder.name
        )),
    }
    screen.say(&format!("versions of test images with the {} encoder", encoder.name));
    let outcome = world_model::evaluate(encoder, model.as_ref(), task.test.as_ref(), &config)?;
    Ok(vec![Judged { layer: String::new(), outcome, groups: Vec::new(), features: None }])
}

impl Name {
    fn learns(self) -> bool {
        !matches!(self, Self::Retrieval | Self::Clustering | Self::LabelFree | Self::World)
    }

    /// As recipes spell it, where features are all that is needed.
    fn of_features(self) -> Option<&'static str> {
        Some(match self {
            Self::Knn => "knn",
            Self::Linear => "linear",
            Self::Logistic => "logistic",
            Self::Mlp => "mlp",
            Self::LowShot => "low_shot",
            Self::Retrieval => "retrieval",
            Self::Clustering => "clustering",
            Self::LabelFree => "label_free",
            Self::Attentive | Self::Finetune | Self::Predictor | Self::World => return None,
        })
    }
}

/// Settings as the type that has them; `protocol` names the variant.
fn parsed<T: DeserializeOwned>(
    settings: &Map<String, Value>,
    protocol: Option<&str>,
) -> anyhow::Result<T> {
    let mut settings = settings.clone();
    if let Some(name) = protocol {
        settings.insert("protocol".into(), name.into());
    }
    serde_json::from_value(Value::Object(settings)).map_err(|error| {
        usage(
            format!("--set: {error}"),
            "the fields are those of a recipe's [evaluation] and of the documentation",
        )
    })
}

/// Each later contender beside the first, on the items that both have; how alike their features are, if `alike`.
fn comparisons(contenders: &[Contender], judged: &[Vec<Judged>], alike: bool) -> Vec<Value> {
    let Some((first, others)) = judged.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    for (contender, other) in contenders[1..].iter().zip(others) {
        for (a, b) in first.iter().zip(other).filter(|(a, b)| a.layer == b.layer) {
            let (name, other) = (&contenders[0].encoder.name, &contender.encoder.name);
            let place = if a.layer.is_empty() { String::new() } else { format!("{}: ", a.layer) };
            if let (true, Some(x), Some(y)) = (alike, &a.features, &b.features)
                && let Ok(Cka { biased, unbiased }) = cka(x, y)
            {
                found.push(json!({
                    "a": name, "b": other, "layer": a.layer, "metric": "cka",
                    "biased": biased, "unbiased": unbiased,
                    "words": format!("{place}CKA of {name} and {other}: {biased:.3} (unbiased {unbiased:.3})"),
                }));
            }
            let metric =
                |outcome: &Outcome| outcome.scores.first().map(|score| score.metric.clone());
            let Some(compared) = Comparison::paired(&a.outcome.items, &b.outcome.items, &a.groups)
            else {
                continue;
            };
            found.push(json!({
                "a": name, "b": other, "layer": a.layer, "metric": metric(&a.outcome),
                "difference": compared.difference, "interval": compared.interval,
                "p": compared.p, "tie": compared.tie,
                "words": format!("{place}{}", compared.in_words(name, other)),
            }));
        }
    }
    found
}

/// One folder for one encoder; several have one each in it.
fn folder_of(folder: &Path, encoder: &str, several: bool) -> PathBuf {
    if several { folder.join(encoder.replace(['/', '='], "_")) } else { folder.to_owned() }
}

fn usage(problem: String, hint: &str) -> anyhow::Error {
    Error::Usage { problem, hint: Some(hint.into()) }.into()
}

/// A run keeps its features itself; those of other encoders go to the user's cache folder.
pub fn cache_of(encoder: &str) -> PathBuf {
    if Path::new(encoder).is_dir() {
        return Path::new(encoder).join("features");
    }
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    home.unwrap_or_else(std::env::temp_dir).join("vertebra").join("features")
}
