//! How a block listens and what it tells of itself: `bind`, `errors`, `log`,
//! `health`, `ready`, `prometheus`, `reload`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::config::{Consolidate, Errors, Health, Level, LogClasses, Reload};
use crate::template;

use super::super::error::Fault;
use super::super::tree::{Directive, Line};
use super::{ALL_CLASSES, no_options, unknown, unsupported};

const MIN_INTERVAL: Duration = Duration::from_secs(2);
const MIN_JITTER: Duration = Duration::from_secs(1);
const COMMON_FORMAT: &str = "{common}";

/// `bind ADDRESS…`
pub(super) fn bind(directive: &Directive) -> Result<Vec<IpAddr>, Fault> {
    if let Some(option) = directive.options.first() {
        return Err(match option.name.text.as_str() {
            "except" => unsupported(directive, option, "name the addresses to listen on"),
            _ => unknown(directive, option, &[]),
        });
    }
    let args = directive.head.args_between(1, usize::MAX)?.iter();
    let addresses = args.map(|arg| {
        arg.text.parse().map_err(|_| {
            let fault = arg.fault(format!("`{}` is no IP address", arg.text));
            fault.help("labctl binds to addresses; name those of the interface")
        })
    });
    addresses.collect()
}

/// `errors { consolidate … }`
pub(super) fn errors(directive: &Directive) -> Result<Errors, Fault> {
    directive.head.no_args()?;
    let mut errors = Errors::default();
    for option in &directive.options {
        match option.name.text.as_str() {
            "consolidate" => errors.consolidate.push(consolidate(option)?),
            "stacktrace" => return Err(unsupported(directive, option, "errors name their plugin")),
            _ => return Err(unknown(directive, option, &["consolidate"])),
        }
    }
    Ok(errors)
}

/// `consolidate DURATION REGEXP [LEVEL]`
fn consolidate(option: &Line) -> Result<Consolidate, Fault> {
    let args = option.args_between(2, 3)?;
    let expression = &args[1];
    if let Err(error) = template::expression(&expression.text) {
        return Err(expression.fault(error));
    }
    let level = match args.get(2).map(|level| level.text.as_str()) {
        None | Some("error") => Level::Error,
        Some("warning") => Level::Warning,
        Some("info") => Level::Info,
        Some("debug") => Level::Debug,
        Some(other) => {
            let fault = args[2].fault(format!("unknown level `{other}`"));
            return Err(fault.help("labctl has warning, error, info, debug"));
        }
    };
    Ok(Consolidate {
        period: args[0].duration(Duration::ZERO..=Duration::MAX)?,
        pattern: expression.text.clone(),
        level,
    })
}

/// `log [NAME [FORMAT]] { class … }`
pub(super) fn log(directive: &Directive, zones: &[String]) -> Result<LogClasses, Fault> {
    let args = directive.head.args_between(0, 2)?;
    if let Some(scope) = args.first() {
        let name = scope.name()?;
        if name != "." && zones.iter().any(|zone| *zone != name) {
            let fault = scope.fault(format!("labctl doesn't log `{}` alone", scope.text));
            return Err(
                fault.help("give the zone a server block of its own, or log the whole block")
            );
        }
    }
    if let Some(format) = args.get(1).filter(|format| format.text != COMMON_FORMAT) {
        let fault = format.fault(format!(
            "labctl doesn't have the log format `{}`",
            format.text
        ));
        return Err(fault.help(format!(
            "it prints {COMMON_FORMAT}, which needn't be written"
        )));
    }
    let mut classes: Option<LogClasses> = None;
    for option in &directive.options {
        if option.name.text != "class" {
            return Err(unknown(directive, option, &["class"]));
        }
        for class in option.args_between(1, usize::MAX)? {
            let chosen = classes.get_or_insert(LogClasses {
                success: false,
                denial: false,
                error: false,
            });
            match class.text.to_ascii_lowercase().as_str() {
                "all" => *chosen = ALL_CLASSES,
                "success" => chosen.success = true,
                "denial" => chosen.denial = true,
                "error" => chosen.error = true,
                _ => {
                    let fault = class.fault(format!("unknown class `{}`", class.text));
                    return Err(fault.help("labctl has all, success, denial, error"));
                }
            }
        }
    }
    Ok(classes.unwrap_or(ALL_CLASSES))
}

/// `health [ADDRESS] { lameduck DURATION }`
pub(super) fn health(directive: &Directive) -> Result<Health, Fault> {
    let mut health = Health {
        address: listener(directive, Ipv6Addr::UNSPECIFIED.into(), 8080)?,
        lameduck: Duration::ZERO,
    };
    for option in &directive.options {
        match option.name.text.as_str() {
            "lameduck" => {
                let duration = option.one_arg()?.duration(Duration::ZERO..=Duration::MAX)?;
                health.lameduck = duration;
            }
            _ => return Err(unknown(directive, option, &["lameduck"])),
        }
    }
    Ok(health)
}

/// `ready [ADDRESS]`
pub(super) fn ready(directive: &Directive) -> Result<SocketAddr, Fault> {
    if let Some(option) = directive.options.first() {
        return Err(match option.name.text.as_str() {
            "monitor" => unsupported(directive, option, "a plugin that was ready stays so"),
            _ => unknown(directive, option, &[]),
        });
    }
    listener(directive, Ipv6Addr::UNSPECIFIED.into(), 8181)
}

/// `prometheus [ADDRESS]`
pub(super) fn prometheus(directive: &Directive) -> Result<SocketAddr, Fault> {
    no_options(directive)?;
    listener(directive, Ipv4Addr::LOCALHOST.into(), 9153)
}

fn listener(directive: &Directive, address: IpAddr, port: u16) -> Result<SocketAddr, Fault> {
    match directive.head.args_between(0, 1)?.first() {
        Some(arg) => arg.listener(),
        None => Ok(SocketAddr::new(address, port)),
    }
}

/// `reload [INTERVAL [JITTER]]`, or `reload off`
pub(super) fn reload(directive: &Directive) -> Result<Option<Reload>, Fault> {
    no_options(directive)?;
    let args = directive.head.args_between(0, 2)?;
    if args.first().is_some_and(|arg| arg.text == "off") {
        directive.head.one_arg()?;
        return Ok(None);
    }
    let mut reload = Reload {
        interval: Duration::from_secs(30),
        jitter: Duration::from_secs(15),
    };
    if let Some(interval) = args.first() {
        reload.interval = interval.duration(MIN_INTERVAL..=Duration::MAX)?;
    }
    if let Some(jitter) = args.get(1) {
        reload.jitter = jitter.duration(MIN_JITTER..=Duration::MAX)?;
    }
    reload.jitter = reload.jitter.min(reload.interval / 2);
    Ok(Some(reload))
}
