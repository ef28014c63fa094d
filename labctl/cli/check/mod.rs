//! The check runner: captures started, steps done, packets waited for, changes taken
//! back. What to make of it all is `lab_checks`' to say.

mod capture;
mod changes;
mod command;
mod context;
mod objects;
mod place;
mod runner;
mod steps;
mod wait;
mod words;

pub(crate) use runner::{Evidence, Runner};
