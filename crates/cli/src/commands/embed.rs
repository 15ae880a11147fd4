use std::path::PathBuf;

use vertebra::embed;
use vertebra::scoring;

use super::Compute;
use super::probe::cache_of;
use crate::show::Screen;

/// Write the features of images as a NumPy array, with the list of its rows beside it.
///
/// OUT.npy holds [N, D] float32; OUT.jsonl one line per row with the image's name and label.
#[derive(clap::Args)]
pub struct Embed {
    /// A run folder, a checkpoint, or ARCH=FILE.
    encoder: String,
    /// A folder, or a URI.
    source: String,
    /// The file to write, ending in .npy.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    compute: Compute,
}

impl Embed {
    pub fn run(self) -> anyhow::Result<()> {
        let (encoder, _) = self.compute.open(&self.encoder)?;
        let source = pixels::source::open(&self.source).map_err(vertebra::error::Error::from)?;
        let screen = Screen::quiet(false);
        let cache = cache_of(&self.encoder);
        let table = scoring::features(&encoder, &source, &cache, &mut |text| screen.say(text))?;
        let rows = embed::write(&table, source.as_ref(), &self.out)?;
        let (n, d) = (table.samples.len(), table.x.size()[1]);
        screen.say(&format!(
            "{}: [{n}, {d}]; {}: names and labels",
            self.out.display(),
            rows.display()
        ));
        if !table.skipped.is_empty() {
            screen.say(&format!("{} images could not be read", table.skipped.len()));
            for (name, problem) in &table.skipped {
                screen.say(&format!("  {name}: {problem}"));
            }
        }
        Ok(())
    }
}
