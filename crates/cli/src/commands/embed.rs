use std::path::PathBuf;

use vertebra::embed;
use vertebra::evaluation::{Cached, ExtractOptions, Layers};

use super::Compute;
use super::probe::cache_of;
use crate::show::{Progress, Screen};

/// Write the features of images as NumPy arrays or a parquet file.
///
/// OUT.npy holds [N, D] float32; OUT.jsonl one line per row with the image's name and label. OUT.parquet holds both. With
/// several layers there is one OUT.LAYER.npy for each, or one column. An extraction that was stopped goes on where it was.
#[derive(clap::Args)]
pub struct Embed {
    /// A run folder, a checkpoint, or ARCH=FILE.
    encoder: String,
    /// A folder, or a URI.
    source: String,
    /// The file to write, ending in .npy or .parquet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// pooled, all, or names of layers with commas between them.
    #[arg(long, default_value = "pooled")]
    layers: Layers,
    /// Images in a forward pass.
    #[arg(long, value_parser = at_least_one)]
    batch: Option<usize>,
    #[command(flatten)]
    compute: Compute,
}

impl Embed {
    pub fn run(self) -> anyhow::Result<()> {
        embed::check(&self.out)?;
        let (encoder, _) = self.compute.open(&self.encoder)?;
        let source = pixels::source::open(&self.source).map_err(vertebra::error::Error::from)?;
        let screen = Screen::quiet(false);
        screen.say(&format!(
            "features of {} images with the {} encoder",
            source.len(),
            encoder.name
        ));
        let bar = Progress::of_images(source.len());
        let progress = |done, _| bar.at(done);
        let options = ExtractOptions {
            batch: self.batch.unwrap_or(0),
            progress: &progress,
            ..ExtractOptions::default()
        };
        let cache = cache_of(&self.encoder);
        let found = encoder.extract_layers_cached(&source, &self.layers, &cache, &options);
        bar.end();
        let (tables, cached) = found?;
        if let Cached::Unwritten(error) = cached {
            screen.say(&format!("note: {error}"));
        }
        let paths = embed::write(&tables, source.as_ref(), &self.out)?;
        for ((layer, table), path) in tables.iter().zip(paths.iter().cycle()) {
            let [n, d] = [table.x.size()[0], table.x.size()[1]];
            screen.say(&format!("{}: {layer} [{n}, {d}]", path.display()));
        }
        if let [_, .., rows] = &paths[..] {
            screen.say(&format!("{}: names and labels", rows.display()));
        }
        if let Some((_, table)) = tables.first() {
            screen.skipped(&table.skipped);
        }
        Ok(())
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a whole number of 1 or more is wanted".into()),
        Ok(number) => Ok(number),
    }
}
