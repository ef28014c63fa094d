//! QEMU's monitor protocol: one JSON object a line (docs/interop/qmp-spec.txt).

use std::io::{self, BufRead as _, BufReader, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

/// Why QEMU did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket failed; it ends when QEMU does.
    #[error("talk to QEMU: {0}")]
    Socket(#[from] io::Error),
    /// QEMU refused.
    #[error("{command}: QEMU says: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's reason.
        reason: String,
    },
}

/// How long QEMU may take to answer: its main loop never waits for a guest.
const ANSWER: Duration = Duration::from_secs(20);

/// A connection to a monitor.
#[derive(Debug)]
pub(crate) struct Qmp {
    stream: BufReader<UnixStream>,
}

/// What QEMU sends.
#[derive(Clone, Debug, PartialEq)]
enum Message {
    Return(Value),
    Error(String),
    /// An event, by its name and data.
    Event(String, Value),
    /// The greeting, with QEMU's version.
    Greeting,
}

impl Qmp {
    /// Takes the greeting and enters command mode.
    pub(crate) fn new(stream: UnixStream) -> Result<Self, QmpError> {
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        let mut qmp = Self {
            stream: BufReader::new(stream),
        };
        while qmp.message()? != Message::Greeting {}
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Executes a command and returns what it returns.
    pub(crate) fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, QmpError> {
        let line = line(command, arguments);
        self.stream.get_mut().write_all(&line)?;
        self.answer(command)
    }

    /// Gives QEMU an open file by a name.
    pub(crate) fn give_file(&mut self, name: &str, file: BorrowedFd<'_>) -> Result<(), QmpError> {
        let line = line("getfd", &json!({ "fdname": name }));
        let files = [file];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        let socket = self.stream.get_ref().as_fd();
        let sent = sendmsg(
            socket,
            &[IoSlice::new(&line)],
            &mut control,
            SendFlags::NOSIGNAL,
        );
        let sent = sent.map_err(io::Error::from)?;
        // The descriptor went with the first byte.
        self.stream
            .get_mut()
            .write_all(line.get(sent..).unwrap_or_default())?;
        self.answer("getfd").map(drop)
    }

    /// Executes a monitor command for people, where QMP has none.
    pub(crate) fn human(&mut self, command: &str) -> Result<String, QmpError> {
        let text = self.execute("human-monitor-command", &json!({ "command-line": command }))?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits for a migration to end, in or out, by its events.
    pub(crate) fn wait_migrated(&mut self, deadline: Instant) -> Result<(), QmpError> {
        let command = "migrate".to_owned();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(QmpError::Socket(io::ErrorKind::TimedOut.into()));
            }
            self.stream.get_ref().set_read_timeout(Some(left))?;
            let message = self.message();
            self.stream.get_ref().set_read_timeout(Some(ANSWER))?;
            let Message::Event(name, data) = message? else {
                continue;
            };
            match (name.as_str(), data["status"].as_str()) {
                ("MIGRATION", Some("completed")) => return Ok(()),
                ("MIGRATION", Some("failed")) => {
                    let status = self.execute("query-migrate", &json!({}))?;
                    let reason = status["error-desc"]
                        .as_str()
                        .unwrap_or("it failed")
                        .to_owned();
                    return Err(QmpError::Refused { command, reason });
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, command: &str) -> Result<Value, QmpError> {
        loop {
            match self.message()? {
                Message::Return(value) => return Ok(value),
                Message::Error(reason) => {
                    return Err(QmpError::Refused {
                        command: command.to_owned(),
                        reason,
                    });
                }
                Message::Event(..) | Message::Greeting => {}
            }
        }
    }

    fn message(&mut self) -> io::Result<Message> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        parse(&line).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, line))
    }
}

fn line(command: &str, arguments: &Value) -> Vec<u8> {
    let mut line = json!({ "execute": command, "arguments": arguments })
        .to_string()
        .into_bytes();
    line.push(b'\n');
    line
}

fn parse(line: &str) -> Option<Message> {
    let mut value: Value = serde_json::from_str(line).ok()?;
    if let Some(event) = value["event"].as_str() {
        return Some(Message::Event(event.to_owned(), value["data"].clone()));
    }
    if value.get("QMP").is_some() {
        return Some(Message::Greeting);
    }
    if let Some(error) = value.get("error") {
        return Some(Message::Error(error["desc"].as_str()?.to_owned()));
    }
    Some(Message::Return(value.get_mut("return")?.take()))
}

/// The host's port of the forwarding to the machine's port 22, in what `info usernet` prints:
/// `  TCP[HOST_FORWARD]  13       127.0.0.1 40123       10.0.2.15    22     0     0`.
pub(crate) fn forwarded_port(usernet: &str) -> Option<u16> {
    let line = usernet
        .lines()
        .find(|line| line.trim_start().starts_with("TCP[HOST_FORWARD]"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Message, forwarded_port, parse};
    use serde_json::json;

    #[test]
    fn messages_are_told_apart() {
        let greeting = r#"{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}"#;
        assert_eq!(parse(greeting), Some(Message::Greeting));
        assert_eq!(parse(r#"{"return": {}}"#), Some(Message::Return(json!({}))));
        let error = r#"{"error": {"class": "GenericError", "desc": "State blocked"}}"#;
        assert_eq!(
            parse(error),
            Some(Message::Error("State blocked".to_owned()))
        );
        let event = r#"{"event": "MIGRATION", "data": {"status": "completed"}, "timestamp": {}}"#;
        let data = json!({ "status": "completed" });
        assert_eq!(
            parse(event),
            Some(Message::Event("MIGRATION".to_owned(), data))
        );
        assert_eq!(parse("{}"), None);
        assert_eq!(parse("garbage"), None);
    }

    #[test]
    fn the_forwarded_port_is_the_hosts() {
        let usernet = "Hub -1 (outside):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
            TCP[HOST_FORWARD]  13       127.0.0.1 40123       10.0.2.15    22     0     0\r\n";
        assert_eq!(forwarded_port(usernet), Some(40123));
        assert_eq!(forwarded_port("Hub -1"), None);
    }
}
