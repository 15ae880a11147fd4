//! The numbers of a batch.

use std::slice::ChunksExactMut;

use super::store::{Lease, Store};
use crate::numbers::{Form, Kind, NumbersMut};

/// The numbers of one view of all samples, one sample after the other. The memory returns to the loader when this is
/// dropped.
pub enum Numbers {
    F32(Lease<Vec<f32>>),
    /// The bits of bfloat16 numbers.
    Bf16(Lease<Vec<u16>>),
    U8(Lease<Vec<u8>>),
}

/// Where the memory of batches comes from.
pub(super) struct Memory {
    f32: Store<Vec<f32>>,
    bf16: Store<Vec<u16>>,
    u8: Store<Vec<u8>>,
}

/// The numbers sample by sample.
pub(super) enum Chunks<'a> {
    F32(ChunksExactMut<'a, f32>),
    Bf16(ChunksExactMut<'a, u16>),
    U8(ChunksExactMut<'a, u8>),
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { f32: Store::new(), bf16: Store::new(), u8: Store::new() }
    }

    /// `length` numbers of whatever content.
    pub(super) fn numbers(&self, form: Form, length: usize) -> Numbers {
        fn sized<T: Clone + Default>(mut memory: Lease<Vec<T>>, length: usize) -> Lease<Vec<T>> {
            memory.resize(length, T::default());
            memory
        }
        match form.kind {
            Kind::F32 => Numbers::F32(sized(self.f32.lease(), length)),
            Kind::Bf16 => Numbers::Bf16(sized(self.bf16.lease(), length)),
            Kind::U8 => Numbers::U8(sized(self.u8.lease(), length)),
        }
    }
}

impl Numbers {
    pub fn len(&self) -> usize {
        match self {
            Self::F32(it) => it.len(),
            Self::Bf16(it) => it.len(),
            Self::U8(it) => it.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers, if they are single precision.
    pub fn as_f32(&self) -> Option<&[f32]> {
        if let Self::F32(it) = self { Some(it) } else { None }
    }

    /// Copies `count` numbers to an earlier place.
    pub(super) fn move_down(&mut self, from: usize, to: usize, count: usize) {
        if from == to {
            return;
        }
        match self {
            Self::F32(it) => it.copy_within(from..from + count, to),
            Self::Bf16(it) => it.copy_within(from..from + count, to),
            Self::U8(it) => it.copy_within(from..from + count, to),
        }
    }

    pub(super) fn truncate(&mut self, length: usize) {
        match self {
            Self::F32(it) => it.truncate(length),
            Self::Bf16(it) => it.truncate(length),
            Self::U8(it) => it.truncate(length),
        }
    }

    pub(super) fn chunks(&mut self, length: usize) -> Chunks<'_> {
        match self {
            Self::F32(it) => Chunks::F32(it.chunks_exact_mut(length)),
            Self::Bf16(it) => Chunks::Bf16(it.chunks_exact_mut(length)),
            Self::U8(it) => Chunks::U8(it.chunks_exact_mut(length)),
        }
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = NumbersMut<'a>;

    fn next(&mut self) -> Option<NumbersMut<'a>> {
        match self {
            Self::F32(it) => it.next().map(NumbersMut::F32),
            Self::Bf16(it) => it.next().map(NumbersMut::Bf16),
            Self::U8(it) => it.next().map(NumbersMut::U8),
        }
    }
}

impl PartialEq for Numbers {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::F32(a), Self::F32(b)) => a[..] == b[..],
            (Self::Bf16(a), Self::Bf16(b)) => a[..] == b[..],
            (Self::U8(a), Self::U8(b)) => a[..] == b[..],
            _ => false,
        }
    }
}

impl std::fmt::Debug for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self {
            Self::F32(_) => "f32",
            Self::Bf16(_) => "bf16",
            Self::U8(_) => "u8",
        };
        write!(f, "Numbers({} × {kind})", self.len())
    }
}
