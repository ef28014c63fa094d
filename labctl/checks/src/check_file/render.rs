//! Filling a check in with the facts of a lab.

use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::Ipv4Net;
use serde_json::Value as Json;

use super::check::{
    Capture, Check, Count, Curl, Exec, Expectation, Ping, Route, RouteChange, Step, Target, Tcp,
    Text,
};
use super::file::{
    CheckFile, CountFile, CurlFile, ExecFile, PingFile, RouteFile, StepFile, TextFile, Time,
    TwinFile,
};
use super::template::{Context, PodFacts, Renderer};
use crate::filter::Filter;

/// Why a check cannot be run in this lab.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("prepare check `{check}`: {place}: {reason}")]
pub struct RenderError {
    /// Name of the check.
    pub check: String,
    /// Which part of it, as in `run[0].ping.to`.
    pub place: String,
    /// What is wrong.
    pub reason: String,
}

impl CheckFile {
    /// The check with the facts of a lab filled in.
    ///
    /// # Errors
    ///
    /// What the lab does not have, and templates that became no address or no filter.
    pub fn render(&self, context: &Context) -> Result<Check, RenderError> {
        let rendering = Rendering {
            check: &self.name,
            context,
            renderer: Renderer::new(context),
        };
        rendering.check(self)
    }

    /// The check under its twin's change; `None` when it has no twin.
    #[must_use]
    pub fn twin(&self) -> Option<Self> {
        let TwinFile {
            values, omit, run, ..
        } = self.twin.as_ref()?;
        let kept = self
            .run
            .iter()
            .filter(|step| !omit.contains(&step.kind()))
            .cloned();
        // What the check itself sets must not undo the twin's change.
        let changed = kept.map(|step| match (step, values) {
            (StepFile::Set(own), Some(values)) => {
                let mut patch = own;
                lay_over(&mut patch.0, &values.0);
                StepFile::Set(patch)
            }
            (step, _) => step,
        });
        let first = values.clone().map(StepFile::Set);
        let steps = first
            .into_iter()
            .chain(run.iter().cloned())
            .chain(changed)
            .collect();
        Some(Self {
            run: steps,
            twin: None,
            ..self.clone()
        })
    }
}

/// Lays one patch over another: maps merge, everything else replaces.
fn lay_over(base: &mut Json, patch: &Json) {
    match (base, patch) {
        (Json::Object(base), Json::Object(patch)) => {
            for (key, value) in patch {
                lay_over(base.entry(key.as_str()).or_insert(Json::Null), value);
            }
        }
        (base, patch) => base.clone_from(patch),
    }
}

struct Rendering<'a> {
    check: &'a str,
    context: &'a Context,
    renderer: Renderer,
}

impl Rendering<'_> {
    fn check(&self, file: &CheckFile) -> Result<Check, RenderError> {
        let mut captures = Vec::new();
        for (name, capture) in &file.capture {
            let place = format!("capture.{name}");
            captures.push(Capture {
                name: name.clone(),
                on: self.target(&format!("{place}.on"), &capture.on)?,
                interface: self.text(&format!("{place}.interface"), &capture.interface)?,
                filter: self.text(&format!("{place}.filter"), &capture.filter)?,
            });
        }
        let mut steps = Vec::new();
        for (index, step) in file.run.iter().enumerate() {
            steps.push(self.step(&format!("run[{index}]"), step)?);
        }
        let mut expectations = Vec::new();
        for (index, expect) in file.expect.iter().enumerate() {
            let place = format!("expect[{index}]");
            let capture = captures
                .iter()
                .position(|capture| capture.name == expect.at);
            let text = self.text(&format!("{place}.where"), &expect.filter)?;
            expectations.push(Expectation {
                capture: capture.ok_or_else(|| {
                    self.error(
                        &format!("{place}.at"),
                        format!("there is no capture `{}`", expect.at),
                    )
                })?,
                count: count(expect.count),
                filter: Filter::parse(&text).map_err(|error| {
                    self.error(&format!("{place}.where"), format!("`{text}`: {error}"))
                })?,
            });
        }
        let timeout = file.timeout.map_or(Duration::from_secs(2), |time| time.0);
        let (name, why) = (file.name.clone(), file.why.clone());
        Ok(Check {
            name,
            why,
            timeout,
            captures,
            steps,
            expectations,
        })
    }

    fn step(&self, place: &str, step: &StepFile) -> Result<Step, RenderError> {
        match step {
            StepFile::Ping(ping) => self.ping(&format!("{place}.ping"), ping),
            StepFile::Curl(curl) => self.curl(&format!("{place}.curl"), curl),
            StepFile::Tcp(tcp) => Ok(Step::Tcp(Tcp {
                from: self.target(&format!("{place}.tcp.from"), &tcp.from)?,
                to: self.parse(&format!("{place}.tcp.to"), &tcp.to, ADDRESS)?,
                port: tcp.port,
                local_port: tcp.local_port,
                timeout: seconds(tcp.timeout, 2),
                expect: tcp.expect,
            })),
            StepFile::Exec(exec) => self.exec(&format!("{place}.exec"), exec),
            StepFile::Route(route) => self.route(&format!("{place}.route"), route),
            StepFile::Link(link) => Ok(Step::Link {
                on: self.target(&format!("{place}.link.on"), &link.on)?,
                interface: self.text(&format!("{place}.link.interface"), &link.interface)?,
                state: link.state,
            }),
            StepFile::Set(values) => Ok(Step::Set(values.clone())),
            StepFile::Apply(manifest) => Ok(Step::Apply(manifest.clone())),
            StepFile::Delete(delete) => Ok(Step::Delete(delete.clone())),
            StepFile::Scale(scale) => Ok(Step::Scale(scale.clone())),
        }
    }

    fn ping(&self, place: &str, ping: &PingFile) -> Result<Step, RenderError> {
        let expect = ping.expect.as_ref();
        let received = expect
            .and_then(|expect| expect.received)
            .unwrap_or(ping.count);
        if received > ping.count {
            let reason = format!("{received} replies cannot come to {} requests", ping.count);
            return Err(self.error(&format!("{place}.expect.received"), reason));
        }
        Ok(Step::Ping(Ping {
            from: self.target(&format!("{place}.from"), &ping.from)?,
            to: self.text(&format!("{place}.to"), &ping.to)?,
            count: ping.count,
            size: ping.size,
            dont_fragment: ping.dont_fragment,
            received,
            ttl: expect.and_then(|expect| expect.ttl),
        }))
    }

    fn curl(&self, place: &str, curl: &CurlFile) -> Result<Step, RenderError> {
        let expect = curl.expect.clone().unwrap_or_default();
        let body = self.text_rules(&format!("{place}.expect.body"), expect.body.as_ref())?;
        Ok(Step::Curl(Curl {
            from: self.target(&format!("{place}.from"), &curl.from)?,
            url: self.text(&format!("{place}.url"), &curl.url)?,
            timeout: seconds(curl.timeout, 3),
            local_port: curl.local_port,
            expect: match expect.fails {
                Some(failure) => Err(failure),
                None => Ok((expect.status.unwrap_or(200), body)),
            },
        }))
    }

    fn exec(&self, place: &str, exec: &ExecFile) -> Result<Step, RenderError> {
        let expect = exec.expect.clone().unwrap_or_default();
        let mut command = Vec::new();
        for (index, word) in exec.command.iter().enumerate() {
            command.push(self.text(&format!("{place}.command[{index}]"), word)?);
        }
        Ok(Step::Exec(Exec {
            on: self.target(&format!("{place}.on"), &exec.on)?,
            command,
            timeout: seconds(exec.timeout, 10),
            exit: expect.exit,
            stdout: self.text_rules(&format!("{place}.expect.stdout"), expect.stdout.as_ref())?,
            stderr: self.text_rules(&format!("{place}.expect.stderr"), expect.stderr.as_ref())?,
        }))
    }

    fn route(&self, place: &str, route: &RouteFile) -> Result<Step, RenderError> {
        let on = self.target(&format!("{place}.on"), &route.on)?;
        if let Some(add) = &route.add {
            let to = self.parse(&format!("{place}.add.to"), &add.to, PREFIX)?;
            let via = self.parse(&format!("{place}.add.via"), &add.via, ADDRESS)?;
            return Ok(Step::Route {
                on,
                change: RouteChange::Add { to, via },
            });
        }
        if let Some(del) = &route.del {
            let to = self.parse(&format!("{place}.del.to"), &del.to, PREFIX)?;
            return Ok(Step::Route {
                on,
                change: RouteChange::Del { to },
            });
        }
        let Some(expect) = &route.expect else {
            return Err(self.error(
                place,
                "there is neither `add`, `del` nor `expect`".to_owned(),
            ));
        };
        let place = format!("{place}.expect");
        let via = expect
            .via
            .as_ref()
            .map(|via| self.parse(&format!("{place}.via"), via, ADDRESS));
        let dev = expect
            .dev
            .as_ref()
            .map(|dev| self.text(&format!("{place}.dev"), dev));
        let to = self.destination(&format!("{place}.to"), &expect.to)?;
        let route = Route {
            to,
            via: via.transpose()?,
            dev: dev.transpose()?,
        };
        Ok(Step::ExpectRoute {
            on,
            route,
            absent: expect.absent,
        })
    }

    /// A destination with its prefix length, or a single address.
    fn destination(&self, place: &str, text: &str) -> Result<Ipv4Net, RenderError> {
        let text = self.text(place, text)?;
        match text.parse::<Ipv4Addr>() {
            Ok(address) => Ok(address.into()),
            Err(_) => self.parse(place, &text, PREFIX),
        }
    }

    fn text_rules(
        &self,
        place: &str,
        text: Option<&TextFile>,
    ) -> Result<Option<Text>, RenderError> {
        let one =
            |text: &Option<String>| text.as_ref().map(|text| self.text(place, text)).transpose();
        Ok(match text {
            None => None,
            Some(TextFile::Contains(text)) => Some(Text {
                contains: Some(self.text(place, text)?),
                ..Text::default()
            }),
            Some(TextFile::Rules(rules)) => Some(Text {
                contains: one(&rules.contains)?,
                lacks: one(&rules.lacks)?,
                equals: one(&rules.equals)?,
            }),
        })
    }

    fn target(&self, place: &str, text: &str) -> Result<Target, RenderError> {
        let name = self.text(place, text)?;
        if let Ok(node) = self.context.node(&name) {
            return Ok(Target::Node(node.name.clone()));
        }
        match self.context.pod(&name, None) {
            Ok(PodFacts {
                namespace,
                name,
                node,
                ..
            }) => Ok(Target::Pod {
                namespace: namespace.clone(),
                name: name.clone(),
                node: node.clone(),
            }),
            Err(reason) => Err(self.error(
                place,
                reason.replacen("has no pod", "has no node or pod", 1),
            )),
        }
    }

    fn parse<T: FromStr>(&self, place: &str, text: &str, what: &str) -> Result<T, RenderError> {
        let text = self.text(place, text)?;
        text.parse()
            .map_err(|_| self.error(place, format!("`{text}` is not {what}")))
    }

    fn text(&self, place: &str, text: &str) -> Result<String, RenderError> {
        self.renderer
            .render(text)
            .map_err(|reason| self.error(place, reason))
    }

    fn error(&self, place: &str, reason: String) -> RenderError {
        RenderError {
            check: self.check.to_owned(),
            place: place.to_owned(),
            reason,
        }
    }
}

const ADDRESS: &str = "an IPv4 address";
const PREFIX: &str = "a destination with a prefix length";

fn seconds(time: Option<Time>, default: u64) -> Duration {
    time.map_or(Duration::from_secs(default), |time| time.0)
}

fn count(file: CountFile) -> Count {
    match file {
        CountFile::Exactly(number) => Count {
            min: number,
            max: Some(number),
        },
        CountFile::Between(bounds) => Count {
            min: bounds.min.unwrap_or(0),
            max: bounds.max,
        },
    }
}
