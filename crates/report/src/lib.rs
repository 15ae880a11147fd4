//! Records of a run in, one self-contained page out. No torch.
//!
//! [`record`] defines what the library writes into a run folder and scripts read: those names are a contract.
//! [`page::write`] turns a run folder into `report.html`, [`sheet::write`] a look at a data set into a page of its pictures,
//! [`alike::write`] a search into a page of what it found, [`study::write`] many runs into one page.

pub mod alike;
mod axis;
mod curves;
mod error;
mod gallery;
pub mod page;
mod plot;
pub mod record;
mod run;
mod scores;
pub mod sheet;
pub mod study;
mod words;

pub use error::ReportError;
pub use run::{Run, Skipped};
