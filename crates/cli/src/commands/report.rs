use std::path::PathBuf;

use vertebra::error::Error;

/// Write report.html of a run folder again.
#[derive(clap::Args)]
pub struct Report {
    /// The folder of a run.
    folder: PathBuf,
}

impl Report {
    pub fn run(self) -> anyhow::Result<()> {
        let page = report::page::write(&self.folder).map_err(Error::from)?;
        println!("{}", page.display());
        Ok(())
    }
}
