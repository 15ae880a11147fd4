//! Which patches of an image a student sees and which it is asked for.
//!
//! A mask is a function of (seed, step, place in the step's whole batch), so that neither micro-batches nor ranks change it.

pub mod blocks;
