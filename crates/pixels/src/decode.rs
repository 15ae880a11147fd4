//! File bytes to an [`Image`].
