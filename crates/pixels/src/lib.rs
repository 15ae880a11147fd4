//! Bytes to images to views, without torch: decoding, exact transforms, addressed randomness, sources,
//! the loader and the synthetic world.
//!
//! The way of an image: a [`Source`](source::Source) gives a [`Sample`](source::Sample); a
//! [`ViewPlan`](plan::ViewPlan) says which random views are wanted; a [`Draw`](draw::Draw) addresses the
//! randomness; [`view::render`] makes the pixels and a [`ViewRecord`](record::ViewRecord) that says what was done.

pub mod corrupt;
pub mod decode;
pub mod draw;
pub mod encode;
pub mod image;
pub mod inspect;
pub mod loader;
pub mod numbers;
pub mod ops;
pub mod pack;
pub mod plan;
pub mod planes;
pub mod record;
pub mod resize;
mod scan;
mod simd;
pub mod source;
pub mod stats;
pub mod verify;
pub mod view;
pub mod world;
