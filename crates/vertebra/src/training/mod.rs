//! The parts of training between the loss and the next weights: [`groups`] of parameters, [`clip`]ping, the
//! optimizers ([`optim`]), their [`schedule`]s, the teacher that follows ([`ema`]), what ranks do together
//! ([`collective`]), and where a run stands ([`checkpoint`]).

pub mod checkpoint;
pub mod clip;
pub mod collective;
pub mod ema;
pub mod groups;
pub mod optim;
pub mod schedule;
