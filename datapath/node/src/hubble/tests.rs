//! The printer against lines of the original; flags against flows.
