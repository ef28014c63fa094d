//! In place of `traefik/whoami`, answer for answer: `/`, `/api`, `/bench` and
//! `/health`. Its `/data` and `/echo` are not there.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use nix::ifaddrs::getifaddrs;
use serde::Serialize;

use super::listen::{self, Answer};
use super::{Listen, go_http};

/// Longest request body that is answered.
const MAX_BODY: usize = 1 << 20;

/// Serves whoami's answers.
pub(super) fn serve(listen: Listen) -> anyhow::Result<()> {
    listen::serve(listen, answer, || {})
}

/// Who answers, and to whom.
struct Whoami {
    hostname: String,
    addresses: Vec<IpAddr>,
    remote: SocketAddr,
}

/// Answers one request.
pub(super) async fn answer(request: Request<Incoming>, remote: SocketAddr) -> Answer {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request's body is too long\n".to_owned(),
        );
    };
    let me = match Whoami::new(remote) {
        Ok(me) => me,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")),
    };
    match parts.uri.path() {
        "/api" => api(&me.json(&parts)),
        "/bench" => text(StatusCode::OK, "1".to_owned()),
        "/health" if parts.method != Method::POST => text(StatusCode::OK, String::new()),
        _ => {
            if let Some(wait) = query(&parts, "wait").and_then(go_duration) {
                tokio::time::sleep(wait).await;
            }
            text(StatusCode::OK, me.plain(&parts, &body.to_bytes()))
        }
    }
}

fn text(status: StatusCode, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

fn api(body: &str) -> Answer {
    let mut response = text(StatusCode::OK, format!("{body}\n"));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for name in [
        "access-control-allow-origin",
        "access-control-allow-methods",
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("*"));
    }
    response
}

impl Whoami {
    fn new(remote: SocketAddr) -> anyhow::Result<Self> {
        let hostname = nix::unistd::gethostname().context("failed to read the host name")?;
        let addresses = addresses().context("failed to list interfaces")?;
        Ok(Self {
            hostname: hostname.to_string_lossy().into_owned(),
            addresses,
            remote,
        })
    }

    fn plain(&self, request: &Parts, body: &[u8]) -> String {
        let mut out = format!("Hostname: {}\n", self.hostname);
        for address in &self.addresses {
            out.push_str(&format!("IP: {address}\n"));
        }
        out.push_str(&format!("RemoteAddr: {}\n", self.remote));
        out.push_str(&go_http::write(request, body));
        out
    }

    fn json(&self, request: &Parts) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Data<'a> {
            hostname: &'a str,
            ip: &'a [IpAddr],
            headers: serde_json::Map<String, serde_json::Value>,
            url: &'a str,
            host: String,
            method: &'a str,
            remote_addr: SocketAddr,
        }
        let data = Data {
            hostname: &self.hostname,
            ip: &self.addresses,
            headers: go_http::all(&request.headers),
            url: go_http::path_and_query(request),
            host: go_http::host(request),
            method: request.method.as_str(),
            remote_addr: self.remote,
        };
        serde_json::to_string(&data).expect("texts and lists are always JSON")
    }
}

/// Addresses of every interface, interface by interface in the order of their
/// index, IPv4 before IPv6, as Go's `net.Interfaces` lists them.
fn addresses() -> nix::Result<Vec<IpAddr>> {
    let mut interfaces: Vec<(String, Vec<IpAddr>)> = Vec::new();
    for entry in getifaddrs()? {
        let address = entry.address.and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        });
        // The links themselves come first, and so decide the order.
        match interfaces
            .iter_mut()
            .find(|(name, _)| *name == entry.interface_name)
        {
            Some((_, addresses)) => addresses.extend(address),
            None => interfaces.push((entry.interface_name, address.into_iter().collect())),
        }
    }
    Ok(interfaces
        .into_iter()
        .flat_map(|(_, addresses)| addresses)
        .collect())
}

/// The first value of that key in the request's query.
fn query<'a>(request: &'a Parts, key: &str) -> Option<&'a str> {
    let pairs = request
        .uri
        .query()?
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    pairs
        .into_iter()
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// A duration of one number and one unit, as in `500ms` or `1.5s`: of those that
/// Go's `time.ParseDuration` reads, the ones that people write.
fn go_duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..unit].parse().ok()?;
    let seconds = match &text[unit..] {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Whoami {
        Whoami {
            hostname: "webpod-697b545f57-bpzn9".to_owned(),
            addresses: ["127.0.0.1", "::1", "10.244.0.1"]
                .map(|ip| ip.parse().unwrap())
                .to_vec(),
            remote: "10.244.0.27:53176".parse().unwrap(),
        }
    }

    fn request(uri: &str) -> Parts {
        let request = Request::get(uri)
            .header("host", "webpod")
            .header("user-agent", "curl/8.14.1")
            .header("accept", "*/*");
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_plain_answer_is_traefiks() {
        let expected = "\
Hostname: webpod-697b545f57-bpzn9
IP: 127.0.0.1
IP: ::1
IP: 10.244.0.1
RemoteAddr: 10.244.0.27:53176
GET / HTTP/1.1\r
Host: webpod\r
User-Agent: curl/8.14.1\r
Accept: */*\r
\r
";
        assert_eq!(me().plain(&request("/"), b""), expected);
    }

    #[test]
    fn so_is_the_one_for_programs() {
        let expected = r#"{"hostname":"webpod-697b545f57-bpzn9","ip":["127.0.0.1","::1","10.244.0.1"],"headers":{"Accept":["*/*"],"User-Agent":["curl/8.14.1"]},"url":"/api?x=1","host":"webpod","method":"GET","remoteAddr":"10.244.0.27:53176"}"#;
        assert_eq!(me().json(&request("/api?x=1")), expected);
    }

    #[test]
    fn the_loopback_address_comes_first() {
        let addresses = addresses().unwrap();
        assert_eq!(addresses.first(), Some(&"127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn waits_as_go_writes_them() {
        assert_eq!(go_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(go_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(go_duration("2m"), Some(Duration::from_secs(120)));
        for bad in ["", "5", "ms", "-1s", "1h", "xs"] {
            assert_eq!(go_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_query_is_read_by_key() {
        let request = request("/?a=b&wait=1s");
        assert_eq!(query(&request, "wait"), Some("1s"));
        assert_eq!(query(&request, "env"), None);
    }
}
