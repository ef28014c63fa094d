//! Real images, real machines. None of it needs root.

mod boot;
mod cloud_init;
mod segment;
mod support;
mod template;
