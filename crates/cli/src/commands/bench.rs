use std::path::PathBuf;

use pixels::numbers::{Form, Kind};
use serde::Serialize;
use vertebra::bench::{self, Length, LossBench, Objective, SweepSize, ViewBench};
use vertebra::recipe::{RawRecipe, Recipe};

/// Measure the speed of a recipe on this machine.
#[derive(clap::Subcommand)]
pub enum Bench {
    /// The training step alone, on images that are already in memory.
    Step {
        #[command(flatten)]
        recipe: RecipeArgs,
        /// Steps that are timed; their median counts.
        #[arg(long, default_value_t = 10)]
        steps: usize,
        /// Steps before those.
        #[arg(long, default_value_t = 3)]
        warmup: usize,
    },
    /// The making of views alone, with the loader of training.
    Views(Views),
    /// The exact search for nearest neighbours, among random features.
    Knn {
        #[arg(long, default_value_t = 10_000)]
        queries: usize,
        #[arg(long, default_value_t = 50_000)]
        candidates: usize,
        /// Numbers of a feature.
        #[arg(long, default_value_t = 512)]
        width: usize,
        /// Neighbours of each query.
        #[arg(long, default_value_t = 20)]
        k: usize,
        /// Searches of which the median counts.
        #[arg(long, default_value_t = 3)]
        repeats: usize,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// An objective alone, forward and backward, on random embeddings: time, and memory beyond the embeddings.
    Loss(Loss),
    /// A linear probe with all its settings, on random features.
    Sweep {
        #[arg(long, default_value_t = 10_000)]
        rows: usize,
        /// Numbers of a feature.
        #[arg(long, default_value_t = 512)]
        width: usize,
        #[arg(long, default_value_t = 20)]
        classes: usize,
        #[arg(long, default_value_t = 30)]
        settings: usize,
        /// Of SGD.
        #[arg(long, default_value_t = 30)]
        epochs: usize,
        /// By L-BFGS in place of SGD.
        #[arg(long)]
        lbfgs: bool,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// The making of views alone, with the loader of training.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Views {
    /// A recipe, for its views and images; without one, the default policy (VICReg's) on `--data`.
    recipe: Option<PathBuf>,
    /// Images instead of the recipe's.
    #[arg(long, value_name = "URI", required_unless_present = "recipe")]
    data: Option<String>,
    /// Change a value of the recipe.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "recipe")]
    settings: Vec<String>,
    /// Views of each image.
    #[arg(long = "views", default_value_t = 2, conflicts_with = "recipe")]
    count: usize,
    /// Pixels of a view's side.
    #[arg(long, default_value_t = 224, conflicts_with = "recipe")]
    size: usize,
    /// Images in a batch.
    #[arg(long)]
    batch: Option<usize>,
    /// Threads.
    #[arg(long)]
    workers: Option<usize>,
    /// Decode every picture at its full size.
    #[arg(long)]
    exact: bool,
    /// f32, bf16 or u8.
    #[arg(long, default_value = "f32", value_parser = numbers)]
    numbers: Kind,
    /// Write the channels of a pixel together.
    #[arg(long)]
    channels_last: bool,
    /// How long to measure.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Measure this many passes over the images instead, and note the memory after each.
    #[arg(long, conflicts_with = "seconds")]
    epochs: Option<u64>,
    /// Check the promises instead: views recorded from torchvision on Pillow, and the loader's views of these images
    /// against views of the whole images.
    #[arg(long)]
    check: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// An objective alone. Each combination of objective, N and D is measured in a process of its own.
#[derive(clap::Args)]
pub struct Loss {
    /// vicreg, barlow, simclr.
    #[arg(long = "loss", value_name = "NAME", value_delimiter = ',', value_parser = objective,
          default_value = "vicreg,barlow,simclr")]
    objectives: Vec<Objective>,
    /// Images of the batch.
    #[arg(
        long = "n",
        value_name = "N",
        value_delimiter = ',',
        default_value = "128,256,1024,4096"
    )]
    rows: Vec<usize>,
    /// Width of the embeddings.
    #[arg(long = "d", value_name = "D", value_delimiter = ',', default_value = "256,2048,8192")]
    widths: Vec<usize>,
    /// Through the D × D matrix, as papers write it.
    #[arg(long)]
    plain: bool,
    /// Passes of which the median counts.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// One JSON object for each combination, one a line.
    #[arg(long)]
    json: bool,
}

/// A recipe and changes to it.
#[derive(clap::Args)]
pub struct RecipeArgs {
    /// A recipe.
    recipe: PathBuf,
    /// Images instead of the recipe's.
    #[arg(long, value_name = "URI")]
    data: Option<String>,
    /// Change a value of the recipe.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Step { recipe, steps, warmup } => {
                let speed = bench::step(&recipe.read()?, warmup, steps.max(1))?;
                recipe.print(&speed)
            }
            Self::Views(views) => views.run(),
            Self::Knn { queries, candidates, width, k, repeats, json } => {
                print(&bench::knn(queries, candidates, width, k, repeats), json)
            }
            Self::Loss(loss) => loss.run(),
            Self::Sweep { rows, width, classes, settings, epochs, lbfgs, json } => {
                let size = SweepSize { rows, width, classes, settings, epochs };
                print(&bench::sweep(size, lbfgs)?, json)
            }
        }
    }
}

impl Views {
    fn run(self) -> anyhow::Result<()> {
        let mut bench = if let Some(path) = &self.recipe {
            ViewBench::of_recipe(&RawRecipe::read(path, &self.settings)?)?
        } else {
            let data = self.data.as_deref().unwrap_or_default();
            ViewBench::of_policy(data, self.count, self.size)?
        };
        if let Some(data) = self.data {
            bench.data = data;
        }
        let options = &mut bench.options;
        options.batch = self.batch.unwrap_or(options.batch);
        options.workers = self.workers.unwrap_or(options.workers);
        options.exact |= self.exact;
        options.form =
            Form { kind: self.numbers, channels_last: self.channels_last, geometry_only: false };
        if self.check {
            return print(&bench.check()?, self.json);
        }
        let length = self.epochs.map_or(Length::Seconds(self.seconds), Length::Epochs);
        print(&bench.run(length)?, self.json)
    }
}

impl Loss {
    fn run(self) -> anyhow::Result<()> {
        let Self { plain, repeats, json, .. } = self;
        if let ([objective], [rows], [width]) =
            (&self.objectives[..], &self.rows[..], &self.widths[..])
        {
            let (objective, rows, width) = (*objective, *rows, *width);
            return print(&LossBench { objective, rows, width, plain, repeats }.run()?, json);
        }
        for objective in &self.objectives {
            for (rows, width) in
                self.rows.iter().flat_map(|n| self.widths.iter().map(move |d| (n, d)))
            {
                let mut command = std::process::Command::new(std::env::current_exe()?);
                command.args(["bench", "loss", "--loss", objective.name()]);
                command.args(["--n", &rows.to_string(), "--d", &width.to_string()]);
                command.args(["--repeats", &repeats.to_string()]);
                command.args(plain.then_some("--plain")).args(json.then_some("--json"));
                let status = command.status()?;
                anyhow::ensure!(
                    status.success(),
                    "{} of {rows} × {width}: {status}",
                    objective.name()
                );
            }
        }
        Ok(())
    }
}

fn objective(word: &str) -> Result<Objective, String> {
    let known = Objective::ALL.into_iter().find(|objective| objective.name() == word);
    known.ok_or_else(|| "vicreg, barlow or simclr is wanted".into())
}

fn numbers(word: &str) -> Result<Kind, String> {
    match word {
        "f32" => Ok(Kind::F32),
        "bf16" => Ok(Kind::Bf16),
        "u8" => Ok(Kind::U8),
        _ => Err("f32, bf16 or u8 is wanted".into()),
    }
}

impl RecipeArgs {
    fn read(&self) -> anyhow::Result<Recipe> {
        let mut recipe = RawRecipe::read(&self.recipe, &self.settings)?;
        if let Some(data) = &self.data {
            recipe.data.train.clone_from(data);
        }
        Ok(recipe.check()?)
    }

    fn print(&self, figures: &impl Serialize) -> anyhow::Result<()> {
        print(figures, self.json)
    }
}

fn print(figures: &impl Serialize, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        println!("{}", serde_json::to_string(figures)?);
        return Ok(());
    }
    let figures = serde_json::to_value(figures)?;
    for (name, value) in figures.as_object().into_iter().flatten() {
        match value.as_f64() {
            Some(number) if !value.is_u64() => println!("{name:>19}  {number:.2}"),
            _ => println!("{name:>19}  {}", value.to_string().trim_matches('"')),
        }
    }
    Ok(())
}
