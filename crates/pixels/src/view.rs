//! One random view of an image, and the fixed view that evaluation uses.
