//! What needs QEMU, in a module of its own so that it can be run, or left out, by its name.

mod vm;
