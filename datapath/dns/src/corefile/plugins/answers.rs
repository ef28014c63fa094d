//! Plugins that answer, or change answers: `kubernetes`, `hosts`, `template`,
//! `loadbalance`, `bufsize`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use domain::base::iana::{Class, OptRcode, Rtype};

use crate::config::{Fallthrough, Hosts, Kubernetes, PodMode, Template, ZoneFile};
use crate::template::{self as templates, TextError};

use super::super::error::Fault;
use super::super::tree::{Directive, Line};
use super::{no_options, unknown, unsupported};

const HOSTS_OPTIONS: [&str; 5] = [
    "ADDRESS NAME…",
    "ttl",
    "no_reverse",
    "reload",
    "fallthrough",
];
const TEMPLATE_OPTIONS: [&str; 6] = [
    "match",
    "answer",
    "additional",
    "authority",
    "rcode",
    "fallthrough",
];
const KUBERNETES_OPTIONS: [&str; 7] = [
    "pods",
    "endpoint_pod_names",
    "ttl",
    "namespaces",
    "noendpoints",
    "ignore empty_service",
    "fallthrough",
];

/// `bufsize [SIZE]`
pub(super) fn bufsize(directive: &Directive) -> Result<u16, Fault> {
    no_options(directive)?;
    match directive.head.args_between(0, 1)?.first() {
        Some(size) => size.number(512..=4096),
        None => Ok(1232),
    }
}

/// `loadbalance [round_robin]`
pub(super) fn loadbalance(directive: &Directive) -> Result<bool, Fault> {
    match directive.head.args_between(0, 2)?.first() {
        Some(policy) if policy.text != "round_robin" => {
            let what = format!(
                "labctl doesn't have the policy `{}` of `loadbalance`",
                policy.text
            );
            return Err(policy
                .fault(what)
                .help("it has round_robin, which needn't be written"));
        }
        _ => directive.head.args_between(0, 1)?,
    };
    match directive.options.first() {
        Some(option) if option.name.text == "prefer" => Err(unsupported(
            directive,
            option,
            "addresses are in random order",
        )),
        Some(option) => Err(unknown(directive, option, &[])),
        None => Ok(true),
    }
}

/// `kubernetes [ZONES…] { … }`
pub(super) fn kubernetes(directive: &Directive, block: Vec<String>) -> Result<Kubernetes, Fault> {
    let mut zones = directive.head.zones_from(0)?;
    if zones.is_empty() {
        zones = block;
    }
    if zones.iter().all(|zone| is_reverse(zone)) {
        let fault = directive
            .head
            .name
            .fault("`kubernetes` has reverse zones only");
        return Err(fault.help("name the cluster's zone too, such as `cluster.local`"));
    }
    let mut plugin = Kubernetes {
        zones,
        pods: PodMode::default(),
        endpoint_pod_names: false,
        ttl: 5,
        namespaces: Vec::new(),
        no_endpoints: false,
        ignore_empty_service: false,
        fallthrough: Fallthrough::Never,
    };
    for option in &directive.options {
        kubernetes_option(directive, option, &mut plugin)?;
    }
    Ok(plugin)
}

fn kubernetes_option(
    directive: &Directive,
    option: &Line,
    plugin: &mut Kubernetes,
) -> Result<(), Fault> {
    match option.name.text.as_str() {
        "pods" => plugin.pods = pods(option)?,
        "endpoint_pod_names" => {
            option.no_args()?;
            plugin.endpoint_pod_names = true;
        }
        "ttl" => plugin.ttl = option.one_arg()?.number(0..=3600)?,
        "namespaces" => {
            let names = option.args_between(1, usize::MAX)?.iter();
            plugin
                .namespaces
                .extend(names.map(|name| name.text.clone()));
        }
        "noendpoints" => {
            option.no_args()?;
            plugin.no_endpoints = true;
        }
        "ignore" => {
            let what = option.one_arg()?;
            if what.text != "empty_service" {
                let fault = what.fault(format!("`ignore {}` is nothing to ignore", what.text));
                return Err(fault.help("labctl has `ignore empty_service`"));
            }
            plugin.ignore_empty_service = true;
        }
        "fallthrough" => plugin.fallthrough = fallthrough(option)?,
        "endpoint"
        | "tls"
        | "kubeconfig"
        | "apiserver_qps"
        | "apiserver_burst"
        | "apiserver_max_inflight"
        | "startup_timeout" => {
            let why = "the cluster's records are handed to the server, which asks no API server";
            return Err(unsupported(directive, option, why));
        }
        "labels" | "namespace_labels" | "multicluster" => {
            return Err(unsupported(
                directive,
                option,
                "all services of `namespaces` are shown",
            ));
        }
        _ => return Err(unknown(directive, option, &KUBERNETES_OPTIONS)),
    }
    Ok(())
}

fn pods(option: &Line) -> Result<PodMode, Fault> {
    let mode = option.one_arg()?;
    match mode.text.as_str() {
        "disabled" => Ok(PodMode::Disabled),
        "insecure" => Ok(PodMode::Insecure),
        "verified" => Ok(PodMode::Verified),
        other => {
            let fault = mode.fault(format!("unknown mode `{other}` of `pods`"));
            Err(fault.help("labctl has disabled, insecure, verified"))
        }
    }
}

/// `hosts [FILE [ZONES…]] { … }`
pub(super) fn hosts(directive: &Directive) -> Result<Hosts, Fault> {
    let head = &directive.head;
    let file = head.args.first().map_or("/etc/hosts", |file| &file.text);
    let mut hosts = Hosts {
        file: PathBuf::from(file),
        zones: head.zones_from(1)?,
        inline: Vec::new(),
        ttl: 3600,
        no_reverse: false,
        reload: Duration::from_secs(5),
        fallthrough: Fallthrough::Never,
    };
    for option in &directive.options {
        let name = &option.name;
        match name.text.as_str() {
            "ttl" => hosts.ttl = option.one_arg()?.number(1..=65535)?,
            "no_reverse" => {
                option.no_args()?;
                hosts.no_reverse = true;
            }
            "reload" => {
                hosts.reload = option.one_arg()?.duration(Duration::ZERO..=Duration::MAX)?
            }
            "fallthrough" => hosts.fallthrough = fallthrough(option)?,
            "fallthrough_unsupported" => {
                let why = "a name that is known has no records but its addresses";
                return Err(unsupported(directive, option, why));
            }
            _ => hosts.inline.extend(inline(directive, option)?),
        }
    }
    Ok(hosts)
}

/// `ADDRESS NAME…`
fn inline(directive: &Directive, option: &Line) -> Result<Vec<(IpAddr, String)>, Fault> {
    let Ok(address) = option.name.text.parse::<IpAddr>() else {
        return Err(unknown(directive, option, &HOSTS_OPTIONS));
    };
    let names = option.args_between(1, usize::MAX)?.iter();
    names.map(|name| Ok((address, name.name()?))).collect()
}

/// `zone FILE { resolver }`
pub(super) fn zone(directive: &Directive) -> Result<ZoneFile, Fault> {
    let mut zone = ZoneFile {
        file: PathBuf::from(&directive.head.one_arg()?.text),
        resolver: false,
    };
    for option in &directive.options {
        match option.name.text.as_str() {
            "resolver" => {
                option.no_args()?;
                zone.resolver = true;
            }
            _ => return Err(unknown(directive, option, &["resolver"])),
        }
    }
    Ok(zone)
}

/// `template CLASS TYPE [ZONES…] { … }`
pub(super) fn template(directive: &Directive) -> Result<Template, Fault> {
    let head = &directive.head;
    let args = head.args_between(2, usize::MAX)?;
    let class = match args[0].text.to_ascii_uppercase().as_str() {
        "ANY" => Class::ANY,
        name => {
            Class::from_str(name).map_err(|_| args[0].fault(format!("unknown class `{name}`")))?
        }
    };
    let rtype = Rtype::from_str(&args[1].text.to_ascii_uppercase());
    let rtype = rtype.map_err(|_| args[1].fault(format!("unknown type `{}`", args[1].text)))?;
    let mut template = Template {
        class: (class != Class::ANY).then_some(class.to_int()),
        rtype: (rtype != Rtype::ANY).then_some(rtype.to_int()),
        zones: head.zones_from(2)?,
        matches: Vec::new(),
        answers: Vec::new(),
        additionals: Vec::new(),
        authorities: Vec::new(),
        rcode: 0,
        fallthrough: Fallthrough::Never,
    };
    for option in &directive.options {
        template_option(directive, option, &mut template)?;
    }
    check_texts(directive)?;
    if template.answers.is_empty() && template.authorities.is_empty() && template.rcode == 0 {
        let fault = head.name.fault("the template says nothing");
        return Err(fault.help("give it an `answer`, an `authority` or an `rcode`"));
    }
    Ok(template)
}

/// That expressions are such, and that what is to be filled in can be.
fn check_texts(directive: &Directive) -> Result<(), Fault> {
    let args = |wanted: fn(&str) -> bool| {
        let options = directive
            .options
            .iter()
            .filter(move |it| wanted(&it.name.text));
        options.flat_map(|it| &it.args)
    };
    let matches = args(|name| name == "match");
    let matches =
        matches.map(|arg| templates::expression(&arg.text).map_err(|what| arg.fault(what)));
    let matches = matches.collect::<Result<Vec<_>, _>>()?;
    for arg in args(|name| ["answer", "additional", "authority"].contains(&name)) {
        let text = templates::Text::parse(&arg.text).and_then(|text| text.check(&matches));
        text.map_err(|error: TextError| arg.fault(error.to_string()))?;
    }
    Ok(())
}

fn template_option(
    directive: &Directive,
    option: &Line,
    template: &mut Template,
) -> Result<(), Fault> {
    let texts = || -> Result<Vec<String>, Fault> {
        let args = option.args_between(1, usize::MAX)?.iter();
        Ok(args.map(|arg| arg.text.clone()).collect())
    };
    match option.name.text.as_str() {
        "match" => template.matches.extend(texts()?),
        "answer" => template.answers.extend(texts()?),
        "additional" => template.additionals.extend(texts()?),
        "authority" => template.authorities.extend(texts()?),
        "rcode" => {
            let name = option.one_arg()?;
            let rcode = OptRcode::from_str(&name.text).ok().map(OptRcode::to_int);
            let rcode = rcode
                .and_then(|rcode| u8::try_from(rcode).ok())
                .filter(|rcode| *rcode < 16);
            template.rcode = rcode.ok_or_else(|| {
                let fault = name.fault(format!("unknown rcode `{}`", name.text));
                fault.help("write it as NOERROR, NXDOMAIN, REFUSED and so on")
            })?;
        }
        "fallthrough" => template.fallthrough = fallthrough(option)?,
        // It does nothing in CoreDNS since 1.4 (its plugin's README).
        "upstream" => {}
        "ederror" => {
            return Err(unsupported(
                directive,
                option,
                "answers have no EDNS options",
            ));
        }
        _ => return Err(unknown(directive, option, &TEMPLATE_OPTIONS)),
    }
    Ok(())
}

fn fallthrough(option: &Line) -> Result<Fallthrough, Fault> {
    let zones = option.zones_from(0)?;
    Ok(match zones.is_empty() {
        true => Fallthrough::Always,
        false => Fallthrough::Zones(zones),
    })
}

fn is_reverse(zone: &str) -> bool {
    zone.ends_with("in-addr.arpa.") || zone.ends_with("ip6.arpa.")
}
