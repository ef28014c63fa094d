//! Virtual machines without root: images built from Debian's packages, QEMU, templates to
//! start from at once, and the switch between machines. Nothing here knows of labs or plans
//! beyond the names and folders it is given.

pub mod accel;
pub mod build;
pub mod import;
pub mod machine;
pub mod recipe;
pub mod segment;
pub mod store;
pub mod template;
