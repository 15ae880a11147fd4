//! pillow
