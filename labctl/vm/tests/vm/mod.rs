//! Real images, real machines. None of it needs root.

mod boot;
mod segment;
mod support;
mod template;
