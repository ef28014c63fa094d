//! Kernel settings of a network namespace, written through `/proc/sys`.
//!
//! `/proc/sys/net` shows the namespace of the thread that looks: call from a
//! thread inside ([`crate::namespace::in_netns`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A setting that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("set {name} to {value}: {source}")]
pub struct SysctlError {
    name: String,
    value: String,
    source: io::Error,
}

/// Sets `name`, such as `net.ipv4.ip_forward`, unless it has the value already.
/// A dot inside an interface name is written as a slash, as sysctl(8) has it.
///
/// # Errors
/// When the setting does not exist or refuses the value.
pub fn set(name: &str, value: &str) -> Result<(), SysctlError> {
    let path = path(name);
    if fs::read_to_string(&path).is_ok_and(|present| present.trim_end() == value) {
        return Ok(());
    }
    fs::write(path, value).map_err(|source| SysctlError {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// The present value of `name`.
///
/// # Errors
/// When the setting does not exist.
pub fn get(name: &str) -> io::Result<String> {
    fs::read_to_string(path(name)).map(|value| value.trim_end().to_owned())
}

fn path(name: &str) -> PathBuf {
    let swapped = name.chars().map(|c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    });
    Path::new("/proc/sys").join(swapped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_in_an_interface_name_is_written_as_a_slash() {
        assert_eq!(
            path("net.ipv4.conf.eth0/5.rp_filter"),
            Path::new("/proc/sys/net/ipv4/conf/eth0.5/rp_filter")
        );
    }

    mod as_root {
        use super::super::*;
        use crate::namespace;

        #[test]
        fn a_setting_is_the_namespaces_own() {
            let netns = namespace::create_unnamed().expect("create as root");
            let name = "net.ipv4.conf.all.rp_filter";
            let before = get(name).expect("read");
            let inside = namespace::in_netns(&netns, || {
                set(name, "2")?;
                Ok::<_, SysctlError>(get(name))
            });
            assert_eq!(inside.expect("enter").expect("set").expect("read"), "2");
            assert_eq!(get(name).expect("read"), before);
            let error = set("net.ipv4.no_such_thing", "1").expect_err("does not exist");
            assert!(
                error
                    .to_string()
                    .starts_with("set net.ipv4.no_such_thing to 1: "),
                "{error}"
            );
        }
    }
}
