//! The built-in workloads, by image name, and the commands that they understand.

mod dns;

use lab_model::diagnostic::Diagnostic;
use lab_model::document::At;
use lab_model::node_state::Workload;

use super::kubernetes::Container;

/// Images that labctl has a workload for.
const IMAGES: [&str; 5] = [
    "traefik/whoami",
    "nicolaka/netshoot",
    "nginx",
    "coredns/coredns",
    "dns/k8s-dns-node-cache",
];

/// Port of `traefik/whoami` and `nginx` unless told otherwise.
const HTTP_PORT: u16 = 80;

/// What an image comes to, with the container's command and arguments.
pub(super) struct Image {
    pub(super) workload: Workload,
    /// Path in the container of the Corefile that it reads.
    pub(super) corefile: Option<String>,
    /// Name of the service that it learns the address of from its environment.
    pub(super) upstream_service: Option<String>,
}

impl From<Workload> for Image {
    fn from(workload: Workload) -> Self {
        Self {
            workload,
            corefile: None,
            upstream_service: None,
        }
    }
}

/// What a container runs.
pub(super) fn image(container: &Container, at: &At<'_>) -> Result<Image, Diagnostic> {
    match repository(&container.image) {
        "traefik/whoami" => whoami(container, at).map(Image::from),
        "nicolaka/netshoot" => netshoot(container, at).map(Image::from),
        "nginx" => match overridden(container, at) {
            None => Ok(Workload::Nginx { port: HTTP_PORT }.into()),
            Some(at) => Err(at.key_fault("nginx takes no other command or arguments here")),
        },
        "coredns/coredns" => dns::coredns(container, at),
        "dns/k8s-dns-node-cache" => dns::node_cache(container, at),
        _ => Err(unknown_image(&container.image, at)),
    }
}

/// An image's repository as it is written on Docker Hub or in Kubernetes' registry:
/// registry, `library/`, tag and digest make no difference to a built-in workload.
fn repository(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    // A colon before a slash belongs to the registry's port.
    let tag = name
        .rfind(':')
        .filter(|&colon| !name[colon..].contains('/'));
    let name = tag.map_or(name, |colon| &name[..colon]);
    let registries = ["docker.io/", "registry.k8s.io/", "k8s.gcr.io/"];
    let own = registries
        .iter()
        .find_map(|registry| name.strip_prefix(registry));
    let name = own.unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

fn unknown_image(image: &str, at: &At<'_>) -> Diagnostic {
    let message = format!("labctl has no built-in workload for the image `{image}`");
    at.key("image")
        .fault(message)
        .with_suggestion(repository(image), IMAGES, || {
            Some(format!("it has {}, with any tag", IMAGES.join(", ")))
        })
}

fn overridden<'a>(container: &Container, at: &At<'a>) -> Option<At<'a>> {
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if given(&container.command) {
        return Some(at.key("command"));
    }
    given(&container.args).then(|| at.key("args"))
}

/// `traefik/whoami`'s flags are Go's: one hyphen or two, value after a space or
/// an equals sign. A port is the one that makes sense here.
fn whoami(container: &Container, at: &At<'_>) -> Result<Workload, Diagnostic> {
    if container
        .command
        .as_ref()
        .is_some_and(|command| !command.is_empty())
    {
        let message = "traefik/whoami takes no other command here";
        return Err(at
            .key("command")
            .key_fault(message)
            .with_help("use `args: [--port, \"8080\"]`"));
    }
    let mut port = HTTP_PORT;
    let mut args = container.args.iter().flatten().enumerate();
    while let Some((index, arg)) = args.next() {
        let place = at.key("args").index(index);
        let flag = arg
            .strip_prefix('-')
            .map(|flag| flag.strip_prefix('-').unwrap_or(flag));
        let value = match flag.map(|flag| flag.split_once('=').unwrap_or((flag, ""))) {
            Some(("verbose", _)) => continue,
            Some(("port", "")) => args.next().map_or("", |(_, value)| value),
            Some(("port", value)) => value,
            _ => {
                let message = format!("traefik/whoami takes no argument `{arg}` here");
                return Err(place
                    .fault(message)
                    .with_help("it takes --port and --verbose"));
            }
        };
        port = value
            .parse()
            .ok()
            .filter(|&port| port != 0)
            .ok_or_else(|| {
                place.fault(format!(
                    "--port must be a number between 1 and 65535, not `{value}`"
                ))
            })?;
    }
    Ok(Workload::Whoami { port })
}

/// `nicolaka/netshoot` waits until somebody runs something in it. The commands
/// that are customary to keep such a pod alive mean just that.
fn netshoot(container: &Container, at: &At<'_>) -> Result<Workload, Diagnostic> {
    let words: Vec<&str> = container
        .command
        .iter()
        .chain(&container.args)
        .flatten()
        .flat_map(|word| word.split_whitespace())
        .collect();
    let words = match words.as_slice() {
        ["sh" | "bash" | "/bin/sh" | "/bin/bash", "-c", script @ ..] => script,
        words => words,
    };
    let idles = matches!(
        words,
        [] | ["sh" | "bash" | "/bin/sh" | "/bin/bash"]
            | ["tail", "-f", "/dev/null"]
            | ["sleep", _]
            | ["while", "true;", "do", "sleep", _, "done"]
    );
    if idles {
        return Ok(Workload::Netshoot);
    }
    let place = overridden(container, at).unwrap_or_else(|| at.clone());
    let message = format!(
        "nicolaka/netshoot only waits here; it does not run `{}`",
        words.join(" ")
    );
    Err(place
        .key_fault(message)
        .with_help("leave the command out and use `labctl exec`"))
}

#[cfg(test)]
mod tests {
    use super::repository;

    #[test]
    fn registry_library_tag_and_digest_make_no_difference() {
        for (image, expected) in [
            ("nginx", "nginx"),
            ("nginx:1.27-alpine", "nginx"),
            ("docker.io/library/nginx:latest", "nginx"),
            ("traefik/whoami@sha256:0123", "traefik/whoami"),
            ("traefik/whoami:v1.10@sha256:0123", "traefik/whoami"),
            ("registry.k8s.io/coredns/coredns:v1.12.0", "coredns/coredns"),
            ("registry.example:5000/nginx", "registry.example:5000/nginx"),
        ] {
            assert_eq!(repository(image), expected, "{image}");
        }
    }
}
