//! A request written out the way Go's `http.Request.Write` does, which is what
//! `traefik/whoami` ends its answer with.

use std::collections::BTreeSet;
use std::fmt::Write;

use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, TRAILER, TRANSFER_ENCODING, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Version};
use serde_json::{Map, Value};

/// Headers that have a place of their own before the sorted ones, or none.
const NOT_AMONG_THE_REST: [hyper::header::HeaderName; 5] =
    [HOST, USER_AGENT, CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER];

/// The request's lines, each ending in CR LF, and its body.
pub(super) fn write(request: &Parts, body: &[u8]) -> String {
    let mut out = format!(
        "{} {} HTTP/1.1\r\n",
        request.method,
        path_and_query(request)
    );
    let mut line = |name: &str, value: &str| {
        out.push_str(name);
        out.push_str(": ");
        out.push_str(value);
        out.push_str("\r\n");
    };
    line("Host", &host(request));
    match request.headers.get(USER_AGENT) {
        None => line("User-Agent", "Go-http-client/1.1"),
        Some(agent) if agent.is_empty() => {}
        Some(agent) => line("User-Agent", &String::from_utf8_lossy(agent.as_bytes())),
    }
    if closes(request) && !has_token(&request.headers, "close") {
        line("Connection", "close");
    }
    let chunked = request.headers.contains_key(TRANSFER_ENCODING);
    let takes_body = matches!(request.method, Method::POST | Method::PUT | Method::PATCH);
    if chunked {
        line("Transfer-Encoding", "chunked");
    } else if !body.is_empty() || takes_body {
        line("Content-Length", &body.len().to_string());
    }
    for (name, value) in sorted(&request.headers) {
        line(&name, &value);
    }
    out.push_str("\r\n");
    let text = String::from_utf8_lossy(body);
    if !chunked {
        out.push_str(&text);
    } else if body.is_empty() {
        out.push_str("0\r\n\r\n");
    } else {
        write!(out, "{:x}\r\n{text}\r\n0\r\n\r\n", body.len()).expect("a String takes everything");
    }
    out
}

/// What stands after the method.
pub(super) fn path_and_query(request: &Parts) -> &str {
    request
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str())
}

/// Whom the request is for: out of the URL where that is absolute, else the header.
pub(super) fn host(request: &Parts) -> String {
    match request.uri.authority() {
        Some(authority) => authority.to_string(),
        None => request
            .headers
            .get(HOST)
            .map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned())
            .unwrap_or_default(),
    }
}

/// Every header but those with a place of their own, by canonical name; values of
/// one name in the order they came.
fn sorted(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut rest: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| !NOT_AMONG_THE_REST.contains(name))
        .map(|(name, value)| {
            (
                canonical(name.as_str()),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    rest.sort_by(|(a, _), (b, _)| a.cmp(b));
    rest
}

/// Every header but `Host` with all of its values, by canonical name: Go's
/// `Request.Header` as JSON.
pub(super) fn all(headers: &HeaderMap) -> Map<String, Value> {
    let names: BTreeSet<_> = headers
        .keys()
        .filter(|name| *name != HOST)
        .map(|name| canonical(name.as_str()))
        .collect();
    let values = |name: &str| {
        let values = headers.get_all(name).into_iter();
        values
            .map(|value| Value::from(String::from_utf8_lossy(value.as_bytes())))
            .collect()
    };
    names
        .into_iter()
        .map(|name| (name.clone(), Value::Array(values(&name))))
        .collect()
}

/// Go's `CanonicalMIMEHeaderKey`: a capital at the start and after each hyphen.
fn canonical(name: &str) -> String {
    let mut capital = true;
    let letters = name.chars().map(|letter| {
        let upper = std::mem::replace(&mut capital, letter == '-');
        if upper {
            letter.to_ascii_uppercase()
        } else {
            letter.to_ascii_lowercase()
        }
    });
    letters.collect()
}

/// Whether the connection ends with this request.
fn closes(request: &Parts) -> bool {
    let kept_alive = has_token(&request.headers, "keep-alive");
    let old = request.version == Version::HTTP_10 && !kept_alive;
    old || has_token(&request.headers, "close")
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let values = headers
        .get_all(CONNECTION)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use hyper::http::request::Builder;

    use super::*;

    #[track_caller]
    fn assert_writes(request: Builder, body: &str, expected: &str) {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(
            write(&parts, body.as_bytes()).replace("\r\n", "\n"),
            expected
        );
    }

    #[test]
    fn curls_request_with_the_user_agent_before_the_sorted_headers() {
        let request = Request::get("/?a=b")
            .header("host", "webpod")
            .header("x-real-ip", "10.0.0.1")
            .header("user-agent", "curl/8.14.1")
            .header("accept", "*/*");
        assert_writes(
            request,
            "",
            "GET /?a=b HTTP/1.1\nHost: webpod\nUser-Agent: curl/8.14.1\nAccept: */*\n\
             X-Real-Ip: 10.0.0.1\n\n",
        );
    }

    #[test]
    fn a_request_without_a_user_agent_gets_gos() {
        assert_writes(
            Request::get("/").header("host", "a"),
            "",
            "GET / HTTP/1.1\nHost: a\nUser-Agent: Go-http-client/1.1\n\n",
        );
        assert_writes(
            Request::get("/")
                .header("host", "a")
                .header("user-agent", ""),
            "",
            "GET / HTTP/1.1\nHost: a\n\n",
        );
    }

    #[test]
    fn bodies_come_with_their_length_or_in_chunks() {
        let agent = |request: Builder| request.header("host", "a").header("user-agent", "");
        assert_writes(
            agent(Request::post("/")),
            "hi",
            "POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\nhi",
        );
        assert_writes(
            agent(Request::post("/")),
            "",
            "POST / HTTP/1.1\nHost: a\nContent-Length: 0\n\n",
        );
        assert_writes(
            agent(Request::post("/")).header("transfer-encoding", "chunked"),
            "hi",
            "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n",
        );
    }

    #[test]
    fn an_old_clients_connection_closes() {
        let request = Request::get("/")
            .version(Version::HTTP_10)
            .header("user-agent", "");
        assert_writes(request, "", "GET / HTTP/1.1\nHost: \nConnection: close\n\n");
    }
}
