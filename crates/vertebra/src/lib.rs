//! Train, probe, compare and understand visual backbones.
//!
//! Floors, from the top; a floor uses those below it, and never a sibling or anything above:
//!
//! ```text
//! doctor, studies      this machine, examined; many runs of one plan
//! scoring, embed, bench  a run judged; features as files; speed
//! gallery, pretrain    a run's pictures; the loop
//! recipe               what a run is, as checked data
//! methods              one file per paper
//! evaluation           frozen encoders, one file per protocol
//! training             optimizers, groups, schedules, checkpoints
//! objectives           pure functions of gathered tensors
//! models               backbones, heads, weights in and out
//! data, hardware       batches as tensors; what the machine can do
//! error
//! ```

pub mod bench;
pub mod data;
pub mod doctor;
pub mod embed;
pub mod error;
pub mod evaluation;
pub mod gallery;
pub mod hardware;
pub mod methods;
pub mod models;
pub mod objectives;
pub mod pretrain;
pub mod recipe;
pub mod scoring;
pub mod studies;
pub mod training;
