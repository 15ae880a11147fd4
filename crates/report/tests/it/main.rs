mod page;
mod records;
mod synthetic;
