//! The ip-masq-agent's configuration: which destinations pods reach without
//! masquerading. Follows Cilium's `pkg/ipmasq/ipmasq.go`, IPv4 only.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;

/// File name of the configuration, in the folder of [`FOLDER`].
pub const FILE: &str = "config";
/// Folder of the configuration file in the node's folder. It is the folder that
/// is watched: Kubernetes swaps a ConfigMap's files by a symbolic link in it.
pub const FOLDER: &str = "ip-masq-agent";

/// `169.254.0.0/16`, added unless `masqLinkLocal` is true.
const LINK_LOCAL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);

/// What applies when the file is missing or empty; as in Kubernetes'
/// ip-masq-agent.
const DEFAULTS: [Ipv4Net; 11] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 88, 99, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// A configuration that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Neither YAML nor JSON, or of another shape.
    #[error("read the ip-masq-agent configuration: {0}")]
    Syntax(String),
    /// An item that is no CIDR.
    #[error(
        "read the ip-masq-agent configuration: nonMasqueradeCIDRs has {0:?}, which is no CIDR such as 10.0.0.0/8"
    )]
    Cidr(String),
}

/// The file. Keys that other agents use are allowed, as Cilium allows them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    #[serde(rename = "nonMasqueradeCIDRs")]
    non_masquerade_cidrs: Option<Vec<String>>,
    masq_link_local: bool,
}

/// Destinations that are never masqueraded, from the file's text, YAML or JSON;
/// `None` for a file that does not exist.
///
/// # Errors
/// When the text is no configuration. The caller keeps what it had.
pub fn parse(text: Option<&str>) -> Result<BTreeSet<Ipv4Net>, ConfigError> {
    let mut cidrs = BTreeSet::new();
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        cidrs.extend(DEFAULTS);
        cidrs.insert(LINK_LOCAL);
        return Ok(cidrs);
    };
    // YAML takes in JSON. A document of blanks or comments alone is null.
    let config: Option<Config> =
        serde_yaml::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
    let config = config.unwrap_or_default();
    for item in config.non_masquerade_cidrs.unwrap_or_default() {
        match item.parse() {
            Ok(IpNet::V4(cidr)) => {
                cidrs.insert(cidr.trunc());
            }
            // As Cilium with IPv6 switched off.
            Ok(IpNet::V6(_)) => {}
            Err(_) => return Err(ConfigError::Cidr(item)),
        }
    }
    if !config.masq_link_local {
        cidrs.insert(LINK_LOCAL);
    }
    Ok(cidrs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cidrs(items: &[&str]) -> BTreeSet<Ipv4Net> {
        items
            .iter()
            .map(|item| item.parse().expect("legal"))
            .collect()
    }

    /// Case 25: host bits are masked off, in YAML and in JSON.
    #[test]
    fn prefixes_are_masked_and_link_local_is_added() {
        let expected = cidrs(&["1.1.1.1/32", "2.2.0.0/16", "169.254.0.0/16"]);
        let yaml = "nonMasqueradeCIDRs:\n- 1.1.1.1/32\n- 2.2.2.2/16\n";
        let json = r#"{"nonMasqueradeCIDRs": ["1.1.1.1/32", "2.2.2.2/16"]}"#;
        assert_eq!(parse(Some(yaml)), Ok(expected.clone()));
        assert_eq!(parse(Some(json)), Ok(expected));
    }

    /// Case 27: a list without items gives none; only an absent or empty file
    /// gives the defaults.
    #[test]
    fn an_empty_list_is_not_an_empty_file() {
        let only_link_local = cidrs(&["169.254.0.0/16"]);
        for text in [
            "nonMasqueradeCIDRs:\n",
            "nonMasqueradeCIDRs: []\n",
            "{}",
            "masqLinkLocal: false\n",
            "\n",
        ] {
            assert_eq!(parse(Some(text)), Ok(only_link_local.clone()), "{text:?}");
        }
    }

    /// Case 29: no file, and a file of no bytes: eleven defaults and link-local.
    #[test]
    fn without_a_file_the_defaults_apply() {
        let defaults = parse(None).expect("always legal");
        assert_eq!(defaults.len(), 12);
        assert!(defaults.contains(&LINK_LOCAL));
        assert!(defaults.is_superset(&cidrs(&["10.0.0.0/8", "100.64.0.0/10", "240.0.0.0/4"])));
        assert_eq!(parse(Some("")), Ok(defaults));
    }

    #[test]
    fn link_local_is_left_out_on_request() {
        let text = "nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']\nmasqLinkLocal: true\nmasqLinkLocalIPv6: true\nresyncInterval: 60s\n";
        assert_eq!(parse(Some(text)), Ok(cidrs(&["10.0.0.0/8"])));
    }

    #[test]
    fn what_is_no_configuration_is_named() {
        let cidr = parse(Some("nonMasqueradeCIDRs: [10.0.0.0/33]")).expect_err("no such prefix");
        assert_eq!(
            cidr.to_string(),
            r#"read the ip-masq-agent configuration: nonMasqueradeCIDRs has "10.0.0.0/33", which is no CIDR such as 10.0.0.0/8"#
        );
        for text in [
            "nonMasqueradeCIDRs: 7",
            "masqLinkLocal: perhaps",
            "[",
            "- a list",
        ] {
            assert!(
                matches!(parse(Some(text)), Err(ConfigError::Syntax(_))),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = parse(Some(&text));
        }
    }
}
