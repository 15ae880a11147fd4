//! One command, one file; its doc comment is its help.

mod bench;
mod data;
mod doctor;
mod embed;
mod neighbours;
mod pack;
mod pretrain;
mod probe;
mod report;
mod study;
mod weights;

use clap::Subcommand;
use vertebra::hardware;
use vertebra::recipe::{DeviceChoice, Precision};

/// What the program does.
#[derive(Subcommand)]
pub enum Command {
    Pretrain(pretrain::Pretrain),
    Probe(probe::Probe),
    Embed(embed::Embed),
    Neighbours(neighbours::Neighbours),
    Report(report::Report),
    #[command(subcommand)]
    Study(study::Study),
    #[command(subcommand)]
    Data(data::Data),
    #[command(subcommand)]
    Weights(weights::Weights),
    #[command(subcommand)]
    Bench(bench::Bench),
    Doctor(doctor::Doctor),
}

pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Pretrain(command) => command.run(),
        Command::Probe(command) => command.run(),
        Command::Embed(command) => command.run(),
        Command::Neighbours(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Study(command) => command.run(),
        Command::Data(command) => command.run(),
        Command::Weights(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Doctor(command) => command.run(),
    }
}

/// Where an encoder runs and in which precision, for commands without a recipe.
#[derive(clap::Args)]
pub struct Compute {
    /// auto, cpu or cuda.
    #[arg(long, default_value = "auto", value_parser = one_of::<DeviceChoice>)]
    device: DeviceChoice,
    /// auto (bf16 where the hardware has it), bf16 or fp32.
    #[arg(long, default_value = "auto", value_parser = one_of::<Precision>)]
    precision: Precision,
}

impl Compute {
    /// Opens an encoder: a run folder, a checkpoint, or ARCH=FILE.
    fn open(
        &self,
        encoder: &str,
    ) -> anyhow::Result<(vertebra::evaluation::Encoder, vertebra::training::checkpoint::EncoderSpec)>
    {
        let device = hardware::device(self.device)?;
        let autocast = hardware::autocast(self.precision, device);
        Ok(vertebra::evaluation::encoder::open(encoder, device, autocast)?)
    }
}

/// Parses a word as recipes spell it.
fn one_of<T: serde::de::DeserializeOwned>(word: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(word.into()))
        .map_err(|error| error.to_string())
}
