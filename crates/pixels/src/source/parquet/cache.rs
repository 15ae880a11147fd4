//! Row groups that were unpacked lately.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use parquet::data_type::ByteArray;

/// Images and captions of so many bytes are kept; at least one row group is.
const MOST_BYTES: usize = 512 << 20;

/// The images and captions of a row group.
#[derive(Debug)]
pub(super) struct Group {
    images: Vec<Option<ByteArray>>,
    captions: Vec<Option<ByteArray>>,
}

/// Row groups by a number; those used last stay.
#[derive(Default)]
pub(super) struct Cache {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    slots: BTreeMap<usize, Slot>,
    /// The numbers, the one used last at the end.
    order: VecDeque<usize>,
}

/// Threads that want the same group wait for the one that unpacks it.
type Slot = Arc<OnceLock<Result<Arc<Group>, String>>>;

impl Group {
    pub(super) fn new(images: Vec<Option<ByteArray>>, captions: Vec<Option<ByteArray>>) -> Self {
        Self { images, captions }
    }

    pub(super) fn image(&self, row: usize) -> Option<&[u8]> {
        self.images.get(row)?.as_ref().map(ByteArray::data)
    }

    pub(super) fn caption(&self, row: usize) -> Option<String> {
        let caption = self.captions.get(row)?.as_ref()?;
        Some(String::from_utf8_lossy(caption.data()).into_owned())
    }

    fn size(&self) -> usize {
        self.images.iter().chain(&self.captions).flatten().map(ByteArray::len).sum()
    }
}

impl Cache {
    /// The group of a number, unpacked by `load` if it is not there.
    pub(super) fn get(
        &self,
        number: usize,
        load: impl FnOnce() -> Result<Group, String>,
    ) -> Result<Arc<Group>, String> {
        let slot = self.slot(number);
        let mut loaded = false;
        let result = slot.get_or_init(|| {
            loaded = true;
            load().map(Arc::new)
        });
        if loaded {
            self.forget_oldest();
        }
        result.clone()
    }

    fn slot(&self, number: usize) -> Slot {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.order.retain(|other| *other != number);
        kept.order.push_back(number);
        kept.slots.entry(number).or_default().clone()
    }

    fn forget_oldest(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let size = |slot: &Slot| match slot.get() {
            Some(Ok(group)) => group.size(),
            _ => 0,
        };
        let mut total: usize = kept.slots.values().map(size).sum();
        while total > MOST_BYTES && kept.order.len() > 1 {
            let Some(oldest) = kept.order.pop_front() else { return };
            total -= kept.slots.remove(&oldest).map_or(0, |slot| size(&slot));
        }
    }
}
