//! `cache`

use std::time::Duration;

use crate::config::{CacheBounds, CacheSettings, Prefetch, ServeStale};

use super::super::error::Fault;
use super::super::lexer::Token;
use super::super::tree::{Directive, Line};
use super::unknown;

const OPTIONS: [&str; 7] = [
    "success",
    "denial",
    "prefetch",
    "serve_stale",
    "servfail",
    "disable",
    "keepttl",
];
/// 256 shards of 39 entries in the original, and of four at least.
const CAPACITY: u32 = 9984;
const MIN_CAPACITY: u32 = 1024;
const MIN_TTL: u32 = 5;
const MAX_SERVFAIL: Duration = Duration::from_secs(5 * 60);
const SECOND: Duration = Duration::from_secs(1);

/// `cache [TTL] [ZONES…] { … }`
pub(super) fn read(directive: &Directive) -> Result<CacheSettings, Fault> {
    let bounds = |max_ttl| CacheBounds {
        capacity: CAPACITY,
        max_ttl,
        min_ttl: MIN_TTL,
    };
    let mut settings = CacheSettings {
        zones: Vec::new(),
        success: bounds(3600),
        denial: bounds(1800),
        prefetch: None,
        serve_stale: None,
        servfail: Duration::from_secs(5),
        disable_success: Vec::new(),
        disable_denial: Vec::new(),
        keepttl: false,
    };
    let head = &directive.head;
    let ttl = head.args.first().filter(|first| is_number(first));
    if let Some(ttl) = ttl {
        let ttl = ttl.number(1..=i32::MAX as u32)?;
        settings.success.max_ttl = ttl;
        settings.denial.max_ttl = ttl;
    }
    settings.zones = head.zones_from(usize::from(ttl.is_some()))?;
    for option in &directive.options {
        read_option(directive, option, &mut settings)?;
    }
    Ok(settings)
}

fn is_number(token: &Token) -> bool {
    let digits = token.text.strip_prefix(['-', '+']).unwrap_or(&token.text);
    !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
}

fn read_option(
    directive: &Directive,
    option: &Line,
    settings: &mut CacheSettings,
) -> Result<(), Fault> {
    match option.name.text.as_str() {
        "success" => bounds(option, &mut settings.success)?,
        "denial" => bounds(option, &mut settings.denial)?,
        "prefetch" => settings.prefetch = prefetch(option)?,
        "serve_stale" => settings.serve_stale = Some(serve_stale(option)?),
        "servfail" => {
            settings.servfail = option.one_arg()?.duration(Duration::ZERO..=MAX_SERVFAIL)?
        }
        "disable" => disable(option, settings)?,
        "keepttl" => {
            option.no_args()?;
            settings.keepttl = true;
        }
        _ => return Err(unknown(directive, option, &OPTIONS)),
    }
    Ok(())
}

fn bounds(option: &Line, bounds: &mut CacheBounds) -> Result<(), Fault> {
    let args = option.args_between(1, 3)?;
    let capacity = args[0].number(0..=1 << 24)?;
    bounds.capacity = capacity.max(MIN_CAPACITY);
    if let Some(ttl) = args.get(1) {
        bounds.max_ttl = ttl.number(1..=i32::MAX as u32)?;
    }
    if let Some(ttl) = args.get(2) {
        bounds.min_ttl = ttl.number(0..=i32::MAX as u32)?;
        if bounds.min_ttl > bounds.max_ttl {
            let what = format!(
                "the least TTL, {}, is above the largest, {}",
                ttl.text, bounds.max_ttl
            );
            return Err(ttl.fault(what));
        }
    }
    Ok(())
}

fn prefetch(option: &Line) -> Result<Option<Prefetch>, Fault> {
    let args = option.args_between(1, 3)?;
    let mut prefetch = Prefetch {
        amount: args[0].number(0..=i32::MAX as u32)?,
        duration: Duration::from_secs(60),
        percentage: 10,
    };
    if let Some(duration) = args.get(1) {
        prefetch.duration = duration.duration(Duration::ZERO..=Duration::MAX)?;
    }
    if let Some(share) = args.get(2) {
        let number = share.text.strip_suffix('%').ok_or_else(|| {
            share
                .fault(format!("`{}` is no percentage", share.text))
                .help("write it with its sign, such as `20%`")
        })?;
        let number = Token {
            text: number.to_owned(),
            ..share.clone()
        };
        prefetch.percentage = number.number(10..=90)?;
    }
    Ok((prefetch.amount > 0).then_some(prefetch))
}

fn serve_stale(option: &Line) -> Result<ServeStale, Fault> {
    let args = option.args_between(0, 2)?;
    let mut stale = ServeStale {
        duration: Duration::from_secs(3600),
        verify: false,
    };
    if let Some(duration) = args.first() {
        stale.duration = duration.duration(SECOND..=Duration::MAX)?;
    }
    if let Some(mode) = args.get(1) {
        stale.verify = match mode.text.to_ascii_lowercase().as_str() {
            "immediate" => false,
            "verify" => true,
            _ => {
                let fault = mode.fault(format!("`{}` is no way of refreshing", mode.text));
                return Err(fault.help("write `immediate` or `verify`"));
            }
        };
    }
    Ok(stale)
}

fn disable(option: &Line, settings: &mut CacheSettings) -> Result<(), Fault> {
    let which = option.args_between(1, usize::MAX)?[0].clone();
    let mut zones = option.zones_from(1)?;
    if zones.is_empty() {
        zones.push(".".to_owned());
    }
    match which.text.as_str() {
        "success" => settings.disable_success.extend(zones),
        "denial" => settings.disable_denial.extend(zones),
        other => {
            let fault = which.fault(format!("there is no cache `{other}`"));
            return Err(fault.help("write `disable success` or `disable denial`, and zones"));
        }
    }
    Ok(())
}
