//! The parts of training between the loss and the next weights: [`groups`] of parameters,
//! [`clip`]ping, the optimizers ([`optim`]), their [`schedule`]s, and the teacher that follows
//! ([`ema`]).

pub mod clip;
pub mod ema;
pub mod groups;
pub mod optim;
pub mod schedule;
