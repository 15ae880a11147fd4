use std::path::{Path, PathBuf};
use std::sync::Arc;

use pixels::source::{Single, Source};
use report::alike;
use serde_json::json;
use vertebra::error::Error;
use vertebra::evaluation::{Encoder, ExtractOptions, FeatureTable};
use vertebra::gallery::{Answer, Described, answers, page};

use super::Compute;
use super::probe::cache_of;
use crate::show::{Progress, Screen};

/// Find the images most alike to one image, or to each of several.
///
/// Prints names and cosine similarities; --out writes a page with the pictures, too.
#[derive(clap::Args)]
pub struct Neighbours {
    /// A run folder, a checkpoint, or ARCH=FILE.
    encoder: String,
    /// An image file; or a folder or a URI of several.
    query: String,
    /// The images to look among: a folder, or a URI.
    #[arg(long = "in", value_name = "URI")]
    within: String,
    /// How many neighbours of each.
    #[arg(long, default_value_t = 8)]
    k: usize,
    /// The page to write.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    compute: Compute,
    /// One JSON object: {"queries": [{"query", "label", "neighbours": [{"name", "label", "similarity"}]}], "skipped": [...]}.
    #[arg(long)]
    json: bool,
}

impl Neighbours {
    pub fn run(self) -> anyhow::Result<()> {
        let query: Arc<dyn Source> = if Path::new(&self.query).is_file() {
            Arc::new(Single::open(Path::new(&self.query)).map_err(Error::from)?)
        } else {
            pixels::source::open(&self.query).map_err(Error::from)?
        };
        let within = pixels::source::open(&self.within).map_err(Error::from)?;
        let (encoder, _) = self.compute.open(&self.encoder)?;
        let screen = Screen::quiet(self.json);
        let queries = self.features(&encoder, &query, &screen)?;
        let candidates = self.features(&encoder, &within, &screen)?;
        let found = answers(
            Described { source: query.as_ref(), features: &queries },
            Described { source: within.as_ref(), features: &candidates },
            self.k,
        );
        let skipped: Vec<_> = queries.skipped.iter().chain(&candidates.skipped).cloned().collect();
        if self.json {
            println!("{}", json!({ "queries": found, "skipped": skipped }));
        } else {
            found.iter().for_each(print);
            screen.skipped(&skipped);
        }
        if let Some(out) = &self.out {
            let facts = vec![
                format!("encoder: {}", self.encoder),
                format!("among {} images of {}", candidates.samples.len(), self.within),
            ];
            let mut page = page(&self.query, facts, &found, query.as_ref(), within.as_ref());
            page.skipped = skipped;
            alike::write(&page, out).map_err(Error::from)?;
            screen.say(&format!("{}: the pictures", out.display()));
        }
        Ok(())
    }

    fn features(
        &self,
        encoder: &Encoder,
        source: &Arc<dyn Source>,
        screen: &Screen,
    ) -> anyhow::Result<FeatureTable> {
        if source.len() > 1 {
            screen.say(&format!("features of {} images", source.len()));
        }
        let bar = Progress::of_images(source.len());
        let progress = |done, _| bar.at(done);
        let options = ExtractOptions { progress: &progress, ..ExtractOptions::default() };
        let found = encoder.extract_cached(source, &cache_of(&self.encoder), &options);
        bar.end();
        Ok(found?.0)
    }
}

/// A query, and a line for each neighbour.
fn print(answer: &Answer) {
    let label = |label: &Option<String>| {
        label.as_ref().map_or_else(String::new, |label| format!("  ({label})"))
    };
    println!("{}{}", answer.query, label(&answer.label));
    for hit in &answer.neighbours {
        println!("  {:>7.4}  {}{}", hit.similarity, hit.name, label(&hit.label));
    }
}
