use std::path::PathBuf;

use pixels::pack::{PackOptions, Packed, pack};
use pixels::source::open;
use serde_json::json;
use vertebra::error::Error;

use crate::show::Progress;

/// Write a source as tar shards with an index: one file, or a few, in place of many.
///
/// Without --short-side and --quality the image files are copied as they are. Either changes pixels; each sample's record
/// in the shard says what was done.
#[derive(clap::Args)]
pub struct Pack {
    /// A folder, or a URI.
    uri: String,
    /// The file to write; shards are numbered beside it.
    #[arg(value_name = "OUT.tar")]
    out: PathBuf,
    /// Begin a new shard where one would become larger than so many MB.
    #[arg(long, value_name = "MB")]
    shard_size: Option<u64>,
    /// Make images smaller whose shorter side has more pixels.
    #[arg(long, value_name = "PIXELS")]
    short_side: Option<usize>,
    /// Encode every image as a JPEG of this quality, 1 to 100.
    #[arg(long)]
    quality: Option<u8>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

impl Pack {
    pub fn run(self) -> anyhow::Result<()> {
        let source = open(&self.uri).map_err(Error::from)?;
        let options = PackOptions {
            shard_bytes: self.shard_size.map(|mb| mb.saturating_mul(1_000_000)),
            short_side: self.short_side,
            quality: self.quality,
            workers: 0,
        };
        let progress = Progress::over(source.len());
        let packed = pack(source.as_ref(), &self.out, &options, &mut |done, _| progress.at(done));
        progress.end();
        self.tell(&packed.map_err(Error::from)?)
    }

    fn tell(&self, packed: &Packed) -> anyhow::Result<()> {
        let Packed { samples, bytes, unchanged, resized, jpeg, lossless, .. } = packed;
        if self.json {
            let skipped: Vec<_> = packed.skipped.iter().map(|it| (&it.name, &it.problem)).collect();
            let figures = json!({
                "shards": packed.shards, "samples": samples, "bytes": bytes, "unchanged": unchanged,
                "resized": resized, "jpeg": jpeg, "lossless": lossless, "skipped": skipped,
            });
            println!("{}", serde_json::to_string(&figures)?);
            return Ok(());
        }
        for skipped in &packed.skipped {
            eprintln!("skipped {skipped}");
        }
        let shards = packed.shards.len();
        println!("{samples} samples in {shards} shards, {:.1} MB", *bytes as f64 / 1e6);
        println!(
            "{unchanged} files copied unchanged, {resized} images made smaller, {jpeg} encoded as JPEG, {lossless} without loss"
        );
        if let Some(first) = packed.shards.first() {
            println!("open it as tar:{}", first.display());
        }
        Ok(())
    }
}
