//! Judging
