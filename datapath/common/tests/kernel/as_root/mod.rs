//! Loading programs takes root; without it these tests fail.

mod dns;
mod fragments;
mod icmp;
mod icmp_errors;
mod mappings;
mod masquerade;
mod overlay;
mod reports;
mod service_errors;
mod services;
mod services_in_tunnel;
mod source_ranges;
