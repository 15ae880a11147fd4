//! Parts of training.

pub mod checkpoint;
pub mod collective;
