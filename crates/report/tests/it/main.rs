#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod alike;
mod page;
mod records;
mod sheet;
mod synthetic;
