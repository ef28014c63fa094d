//! Where labs run: effects, and nothing decided.
//!
//! A provider observes what is there, and executes the plan that
//! [`lab_model::plan`] makes of it. [`netns`] is the one for namespaces on this
//! host's own kernel.

pub mod netns;
