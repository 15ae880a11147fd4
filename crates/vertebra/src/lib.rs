//! Train, probe, compare and understand visual backbones.
//!
//! Floors, from the bottom; a floor uses those below it and never a sibling or anything above:
//! [`error`] ← [`data`], [`models`], [`objectives`], [`training`] ← [`methods`], [`evaluation`] ← [`pretrain`].

pub mod error;
pub mod evaluation;
pub mod methods;
pub mod models;
pub mod objectives;
pub mod training;
