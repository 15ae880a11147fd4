use std::path::PathBuf;

use serde::Serialize;
use vertebra::bench;
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
    Views {
        #[command(flatten)]
        recipe: RecipeArgs,
        /// How long to measure.
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
    },
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
            Self::Views { recipe, seconds } => {
                let speed = bench::views(&recipe.read()?, seconds)?;
                recipe.print(&speed)
            }
        }
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
        if self.json {
            println!("{}", serde_json::to_string(figures)?);
            return Ok(());
        }
        let figures = serde_json::to_value(figures)?;
        for (name, value) in figures.as_object().into_iter().flatten() {
            match value.as_f64() {
                Some(number) if !value.is_u64() => println!("{name:>18}  {number:.1}"),
                _ => println!("{name:>18}  {}", value.to_string().trim_matches('"')),
            }
        }
        Ok(())
    }
}
