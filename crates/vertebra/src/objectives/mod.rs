//! Pure functions of gathered tensors: no configuration, no device, no process.

pub mod health;
