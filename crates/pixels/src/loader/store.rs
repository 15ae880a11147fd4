//! Memory that is used again.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Things that are lent, come back, and are lent again; as many as were ever out at once.
pub(super) struct Store<T>(Arc<Mutex<Vec<T>>>);

/// Something lent. Dropping it gives it back.
pub struct Lease<T> {
    item: Option<T>,
    home: Arc<Mutex<Vec<T>>>,
}

impl<T: Default> Store<T> {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// Something that came back, in the state in which it did, or a new one.
    pub(super) fn lease(&self) -> Lease<T> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Lease { item: Some(found.unwrap_or_default()), home: self.0.clone() }
    }
}

impl<T> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.item.as_ref().expect("present until it is dropped")
    }
}

impl<T> DerefMut for Lease<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.item.as_mut().expect("present until it is dropped")
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        self.home.lock().unwrap_or_else(PoisonError::into_inner).extend(self.item.take());
    }
}
