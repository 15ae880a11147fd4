//! Recipes: what a run is, as typed data. Parsed is not checked: only a [`Recipe`] can train.

use std::collections::BTreeMap;
use std::path::Path;

use pixels::plan::{Interpolation, Normalize, Preprocess, ViewPlan, ViewSpec};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::evaluation::knn::KnnConfig;
use crate::evaluation::linear::LinearConfig;
pub use crate::hardware::{DeviceChoice, Precision};
use crate::methods::{Inputs, MethodConfig, Views};
use crate::models::BackboneConfig;
use crate::models::weights::nearest;
use crate::training::optim::OptimizerConfig;

mod statistics;

pub use statistics::Statistics;

/// A recipe as written, not yet checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRecipe {
    /// Decides every random choice of the run.
    #[serde(default)]
    pub seed: u64,
    /// Passes over the images; a fraction is a shorter last pass.
    pub epochs: f64,
    /// Images per optimizer step, over all ranks and micro-batches.
    pub batch: usize,
    /// Micro-batches per step: memory of `batch / accumulate` images, the result of one batch.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// Epochs in which the learning rate rises from 0.
    #[serde(default)]
    pub warmup_epochs: f64,
    /// The learning rate at the end, as a share of its peak. VICReg ends at 0.001.
    #[serde(default = "thousandth")]
    pub final_lr: f64,
    /// The weight decay at the end, reached by half a cosine; absent means that it stays. DINO's goes from 0.04 to 0.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_weight_decay: Option<f64>,
    /// Largest norm of the gradient; absent means no clipping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// Largest norm of each parameter's gradient by itself; absent means no clipping. DINO's is 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_each: Option<f64>,
    #[serde(default)]
    pub precision: Precision,
    #[serde(default)]
    pub device: DeviceChoice,
    /// Threads that make views; 0 means one per core.
    #[serde(default)]
    pub workers: usize,
    /// Steps between two lines of the journal.
    #[serde(default = "ten")]
    pub log_every: u64,
    /// Epochs between two checkpoints.
    #[serde(default = "one_epoch")]
    pub checkpoint_every: f64,
    pub data: Data,
    #[serde(default = "two_views")]
    pub views: Vec<ViewSpec>,
    #[serde(default)]
    pub normalize: Statistics,
    pub backbone: BackboneConfig,
    pub method: MethodConfig,
    pub optimizer: OptimizerConfig,
    #[serde(default)]
    pub evaluation: Evaluation,
}

/// What to do about statistics that do not fit.
const MEASURE: &str = "give one number per channel, as `vertebra data stats` prints them, or let them be measured: \
                       normalize = \"measured\"";

/// Where the images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// A folder, or a URI: `cifar:`, `idx:`, `world:`...
    pub train: String,
    /// Channels of the views; with 3, everything becomes RGB.
    #[serde(default = "three")]
    pub channels: usize,
    /// An unreadable image stops the run instead of being skipped and listed.
    #[serde(default)]
    pub strict: bool,
    /// Every picture is decoded at its full size. Otherwise a JPEG of which every view's crop is at least twice (four, eight
    /// times) as wide and high as the view is decoded at a half (a quarter, an eighth) of its size, which is faster and
    /// changes the view's samples by two levels or so.
    #[serde(default)]
    pub exact: bool,
    /// Where colour, blur and solarize are computed; `doctor` says which is faster here.
    #[serde(default)]
    pub finish: Finish,
}

/// Where the photometric part of a view is computed. Both give the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// By the threads that make views.
    #[default]
    Loader,
    /// By the device of the network, for a GPU that waits for the loader. Three channels only.
    Device,
}

/// How the encoder is judged, during the run and at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluation {
    /// Labelled images that the probes learn from; `data.train` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// Labelled images that the probes are tested on; a fifth of `train`, held out from the probes, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// The view of the frozen encoder; by default the size of the training views, cut from 8/7 of it above 64 pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
    /// No probes at the end.
    pub skip: bool,
    /// Beside the linear probe V-JEPA's attentive one, which reads all places of an image (protocol `attentive`, its defaults).
    pub attentive: bool,
    pub knn: KnnConfig,
    pub linear: LinearConfig,
    /// Further labelled tasks that the same probes are given at the end: what is shape for one may be colour for another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Also>,
}

/// A further labelled task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Also {
    /// Stands in the scores as their `task`.
    pub name: String,
    /// Labelled images that the probes learn from.
    pub train: String,
    /// Labelled images that they are tested on.
    pub test: String,
}

/// A recipe that has been checked: only [`RawRecipe::check`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe(RawRecipe);

impl std::ops::Deref for Recipe {
    type Target = RawRecipe;

    fn deref(&self) -> &RawRecipe {
        &self.0
    }
}

impl Recipe {
    /// The same recipe with its statistics in numbers.
    pub fn normalized_by(&self, normalize: Normalize) -> Result<Self> {
        RawRecipe { normalize: Statistics::Given(normalize), ..self.0.clone() }.check()
    }
}

impl RawRecipe {
    /// Reads a recipe file, then applies `key=value` settings to it (`optimizer.lr=0.1`, `views.0.size=64`).
    pub fn read(path: &Path, settings: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        Self::parse(&text, settings)
    }

    /// The same from text.
    pub fn parse(text: &str, settings: &[String]) -> Result<Self> {
        let unreadable = |error: toml::de::Error| Error::Recipe {
            field: "syntax".into(),
            problem: error.to_string().trim_end().to_string(),
            hint: None,
        };
        // Parsed twice: errors of the plain text carry line numbers, which a changed table no longer has.
        let mut table: toml::Table = text.parse().map_err(unreadable)?;
        if settings.is_empty() {
            return toml::from_str(text).map_err(|error| refused(&error));
        }
        for setting in settings {
            set(&mut table, setting)?;
        }
        table.try_into().map_err(|error| refused(&error))
    }

    /// Everything that can be known to be wrong before the first image is read.
    pub fn check(self) -> Result<Recipe> {
        self.check_numbers()?;
        let plan_error = |error: pixels::plan::PlanError| Error::Recipe {
            hint: error.field.starts_with("normalize").then(|| MEASURE.into()),
            field: error.field,
            problem: error.problem,
        };
        self.plan().check(self.data.channels).map_err(plan_error)?;
        self.preprocess().check(self.data.channels).map_err(plan_error)?;
        if self.data.finish == Finish::Device && self.data.channels != 3 {
            return Err(Error::Recipe {
                field: "data.finish".into(),
                problem: format!("\"device\" needs 3 channels, got {}", self.data.channels),
                hint: Some("leave it out: \"loader\" takes any number of channels".into()),
            });
        }
        self.backbone.check()?;
        for (place, view) in self.views.iter().enumerate() {
            self.backbone.check_size(&format!("views.{place}.size"), view.size)?;
        }
        self.backbone.check_size("evaluation.preprocess.crop", self.preprocess().crop)?;
        self.check_narrow()?;
        self.check_tasks()?;
        self.method.check(&self.inputs()?)?;
        self.optimizer.check()?;
        Ok(Recipe(self))
    }

    /// libtorch 2.11's convolutions of fewer than 16 channels corrupt memory in single precision where a processor has
    /// AVX-512 and images are larger than 32 pixels; LOG.md has the sizes.
    fn check_narrow(&self) -> Result<()> {
        let largest = self.views.iter().map(|view| view.size).max().unwrap_or(0);
        if self.backbone.least_channels() >= 16 || largest <= 32 {
            return Ok(());
        }
        Err(Error::Recipe {
            field: "backbone.width".into(),
            problem: format!(
                "at least 16 channels are needed for views of {largest} pixels, got {}",
                self.backbone.least_channels()
            ),
            hint: Some("narrower networks crash libtorch above 32 pixels".into()),
        })
    }

    /// Further tasks have names of their own.
    fn check_tasks(&self) -> Result<()> {
        let also = &self.evaluation.also;
        for (place, task) in also.iter().enumerate() {
            let earlier = also[..place].iter().any(|other| other.name == task.name);
            let problem = match task.name.trim() {
                "" => "expected a name".to_string(),
                name if earlier => format!("there are two tasks named `{name}`"),
                _ => continue,
            };
            let field = format!("evaluation.also.{place}.name");
            let hint = Some("scores of a further task are found by its name".into());
            return Err(Error::Recipe { field, problem, hint });
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<()> {
        let positive = |number: f64| number > 0.0 && number.is_finite();
        let warmup = self.warmup_epochs >= 0.0 && self.warmup_epochs < self.epochs;
        let divides = self.accumulate > 0 && self.batch.is_multiple_of(self.accumulate);
        let checks = [
            ("epochs", positive(self.epochs), "more than 0", self.epochs),
            ("batch", self.batch >= 2, "at least 2 images", self.batch as f64),
            ("accumulate", divides, "a divisor of `batch`", self.accumulate as f64),
            ("warmup_epochs", warmup, "0 to less than `epochs`", self.warmup_epochs),
            ("final_lr", (0.0..=1.0).contains(&self.final_lr), "0 to 1", self.final_lr),
            ("clip", self.clip.is_none_or(positive), "more than 0", self.clip.unwrap_or(0.0)),
            (
                "clip_each",
                self.clip_each.is_none_or(positive) && self.clip.and(self.clip_each).is_none(),
                "more than 0, and no `clip` beside it",
                self.clip_each.unwrap_or(0.0),
            ),
            (
                "final_weight_decay",
                self.final_weight_decay.is_none_or(|end| end >= 0.0 && end.is_finite()),
                "0 or more",
                self.final_weight_decay.unwrap_or(0.0),
            ),
            ("log_every", self.log_every > 0, "at least 1 step", self.log_every as f64),
            (
                "checkpoint_every",
                positive(self.checkpoint_every),
                "more than 0 epochs",
                self.checkpoint_every,
            ),
        ];
        match checks.into_iter().find(|(_, holds, _, _)| !holds) {
            None => Ok(()),
            Some((field, _, wanted, found)) => Err(Error::Recipe {
                field: field.into(),
                problem: format!("expected {wanted}, got {found}"),
                hint: (field == "warmup_epochs")
                    .then(|| "shorten the warm-up with the run".to_string()),
            }),
        }
    }

    /// What the method is built for; an error where the views cannot be compared.
    pub fn inputs(&self) -> Result<Inputs<'_>> {
        Ok(Inputs {
            backbone: &self.backbone,
            channels: self.data.channels as i64,
            views: Views::of(&self.plan())?,
        })
    }

    pub fn plan(&self) -> ViewPlan {
        ViewPlan {
            views: self.views.clone(),
            normalize: self.normalize.numbers(self.data.channels),
        }
    }

    /// How the frozen encoder sees an image.
    pub fn preprocess(&self) -> Preprocess {
        self.evaluation.preprocess.clone().unwrap_or_else(|| {
            let size = self.views.first().map_or(224, |view| view.size);
            Preprocess {
                resize: if size > 64 { (size * 8).div_ceil(7) } else { size },
                crop: size,
                interpolation: Interpolation::Bicubic,
                normalize: self.normalize.numbers(self.data.channels),
            }
        })
    }

    /// The recipe as a file with every default written out.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe of plain fields is TOML")
    }
}

/// Sets `a.b.0.c` to a TOML value; a bare word is a string.
fn set(table: &mut toml::Table, setting: &str) -> Result<()> {
    let usage = |problem: String| Error::Usage {
        problem,
        hint: Some("for example `--set optimizer.lr=0.1` or `--set views.0.size=64`".into()),
    };
    let (key, value) = setting
        .split_once('=')
        .ok_or_else(|| usage(format!("--set {setting}: expected key=value")))?;
    let value = format!("v = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.into()));
    let mut keys = key.split('.');
    let mut place = table.entry(keys.next().unwrap_or_default()).or_insert_with(empty);
    for key in keys {
        place = match place {
            toml::Value::Table(table) => table.entry(key).or_insert_with(empty),
            toml::Value::Array(array) => {
                let count = array.len();
                key.parse::<usize>().ok().and_then(|index| array.get_mut(index)).ok_or_else(
                    || usage(format!("--set {setting}: `{key}` is none of the {count} entries")),
                )?
            }
            _ => {
                return Err(usage(format!(
                    "--set {setting}: there is nothing inside `{key}`'s parent"
                )));
            }
        };
    }
    *place = value;
    Ok(())
}

fn empty() -> toml::Value {
    toml::Value::Table(toml::Table::new())
}

/// Serde's refusal as ours: where it is, and for an unknown field the nearest real one.
pub(crate) fn refused(error: &toml::de::Error) -> Error {
    let problem = error.message().to_string();
    let quoted: Vec<String> = problem.split('`').skip(1).step_by(2).map(Into::into).collect();
    let mut hint = None;
    if let ([wrong, known @ ..], true) = (quoted.as_slice(), problem.starts_with("unknown")) {
        hint = nearest(wrong, known.iter()).map(|name| format!("did you mean `{name}`?"));
    }
    Error::Recipe { field: place_of(error), problem, hint }
}

/// The line of a refusal and what stands there; the key, where `--set` has changed the table.
fn place_of(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let mut lines = text.lines();
    if let Some(place) = lines.next().and_then(|line| line.strip_prefix("TOML parse error at ")) {
        let shown = lines.nth(1).and_then(|line| Some(line.split_once("| ")?.1.trim()));
        return shown.map_or(place.into(), |shown| format!("{place} (`{shown}`)"));
    }
    let key = lines.last().and_then(|line| line.strip_prefix("in `")?.strip_suffix('`'));
    key.unwrap_or("settings").into()
}

/// The values that two recipes disagree on, as `key: a → b`.
pub fn differences(a: &RawRecipe, b: &RawRecipe) -> Vec<String> {
    let flat = |recipe: &RawRecipe| {
        let mut leaves = BTreeMap::new();
        let table = recipe.to_toml().parse::<toml::Table>().unwrap_or_default();
        flatten("", &toml::Value::Table(table), &mut leaves);
        leaves
    };
    let (a, b) = (flat(a), flat(b));
    let absent = "absent".to_string();
    a.keys()
        .chain(b.keys().filter(|key| !a.contains_key(*key)))
        .filter(|key| a.get(*key) != b.get(*key))
        .map(|key| {
            let (from, to) = (a.get(key).unwrap_or(&absent), b.get(key).unwrap_or(&absent));
            format!("{key}: {from} → {to}")
        })
        .collect()
}

fn flatten(path: &str, value: &toml::Value, leaves: &mut BTreeMap<String, String>) {
    let join = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(key, value)| flatten(&join(key), value, leaves));
        }
        toml::Value::Array(array) => array
            .iter()
            .enumerate()
            .for_each(|(i, value)| flatten(&join(&i.to_string()), value, leaves)),
        leaf => {
            leaves.insert(path.into(), leaf.to_string());
        }
    }
}

fn one() -> usize {
    1
}
fn three() -> usize {
    3
}
fn ten() -> u64 {
    10
}
fn one_epoch() -> f64 {
    1.0
}
fn thousandth() -> f64 {
    0.001
}
fn two_views() -> Vec<ViewSpec> {
    vec![ViewSpec { count: 2, ..ViewSpec::default() }]
}
