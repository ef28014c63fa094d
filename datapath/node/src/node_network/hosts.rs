//! The text of `/etc/hosts`.

use std::net::Ipv4Addr;

/// Text of a whole file, with localhost.
#[must_use]
pub fn hosts_file(hosts: &[(Ipv4Addr, String)]) -> String {
    let mut text = "127.0.0.1 localhost\n".to_owned();
    for (address, name) in hosts {
        text.push_str(&format!("{address} {name}\n"));
    }
    text
}

/// Addresses and names in such a text, without localhost.
#[must_use]
pub fn hosts_in(text: &str) -> Vec<(Ipv4Addr, String)> {
    let entries = text.lines().flat_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let address = words.next().and_then(|word| word.parse::<Ipv4Addr>().ok());
        address.into_iter().flat_map(move |it| {
            words
                .clone()
                .map(move |name| (it, name.to_owned()))
                .collect::<Vec<_>>()
        })
    });
    entries.filter(|(_, name)| name != "localhost").collect()
}
