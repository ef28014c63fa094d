//! The rule of docs/architecture.md that dependencies point one way, as a test.

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use crate::command::{command, output};

    /// Names of all packages that each workspace package comes to depend on, dev
    /// dependencies left out.
    fn closures() -> BTreeMap<String, BTreeSet<String>> {
        // Without the filter, cargo wants the crates of every platform downloaded.
        let host = output(command("rustc").args(["--print", "host-tuple"])).expect("rustc");
        let mut cargo = command("cargo");
        cargo.args(["metadata", "--format-version=1", "--locked", "--offline"]);
        cargo.args(["--filter-platform", host.trim()]);
        let text = output(&mut cargo).expect("cargo metadata");
        let metadata: Value = serde_json::from_str(&text).expect("JSON from cargo metadata");
        let name_of: BTreeMap<&str, &str> = array(&metadata["packages"])
            .map(|package| (string(&package["id"]), string(&package["name"])))
            .collect();
        let direct: BTreeMap<&str, Vec<&str>> = array(&metadata["resolve"]["nodes"])
            .map(|node| {
                (
                    string(&node["id"]),
                    array(&node["deps"])
                        .filter(|dep| is_normal(dep))
                        .map(|dep| string(&dep["pkg"]))
                        .collect(),
                )
            })
            .collect();
        array(&metadata["workspace_members"])
            .map(|id| {
                (
                    name_of[string(id)].to_owned(),
                    reach(string(id), &direct)
                        .into_iter()
                        .map(|id| name_of[id].to_owned())
                        .collect(),
                )
            })
            .collect()
    }

    fn reach<'a>(from: &'a str, direct: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut ahead = vec![from];
        while let Some(id) = ahead.pop() {
            ahead.extend(direct[id].iter().filter(|id| seen.insert(**id)));
        }
        seen
    }

    fn is_normal(dependency: &Value) -> bool {
        array(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null())
    }

    fn array(value: &Value) -> impl Iterator<Item = &Value> {
        value
            .as_array()
            .expect("an array in cargo's metadata")
            .iter()
    }

    fn string(value: &Value) -> &str {
        value.as_str().expect("a string in cargo's metadata")
    }

    #[test]
    fn pure_crates_stay_pure() {
        let closures = closures();
        for pure in ["lab-model", "lab-checks", "lab-cluster"] {
            for effect in ["tokio", "aya", "russh", "nix", "netlink-sys"] {
                assert!(
                    !closures[pure].contains(effect),
                    "{pure} has come to depend on {effect}"
                );
            }
        }
    }

    #[test]
    fn dependencies_point_one_way() {
        let closures = closures();
        let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
            ("lab-model", &[][..]),
            ("lab-datapath-common", &[]),
            ("lab-checks", &["lab-model"]),
            ("lab-cluster", &["lab-model"]),
            ("lab-dns", &[]),
            ("lab-node", &["lab-model", "lab-datapath-common", "lab-dns"]),
            ("lab-datapath-ebpf", &["lab-datapath-common"]),
            ("lab-ssh", &[]),
            ("lab-vm", &[]),
            (
                "lab-providers",
                &[
                    "lab-model",
                    "lab-node",
                    "lab-datapath-common",
                    "lab-dns",
                    "lab-ssh",
                    "lab-vm",
                ],
            ),
        ]);
        for (package, allowed) in allowed {
            let ours = closures[package]
                .iter()
                .filter(|name| closures.contains_key(*name));
            for dependency in ours.filter(|name| *name != package) {
                assert!(
                    allowed.contains(&dependency.as_str()),
                    "{package} must not depend on {dependency}"
                );
            }
        }
    }
}
