//! In place of `nginx`: its welcome page, so that a browser or a `grep` for the
//! title finds what it looks for. It says on the page that it isn't the real one.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, SERVER};
use hyper::{Method, Response, StatusCode};

use super::Listen;
use super::listen::{self, Answer};

const WELCOME: &str = "\
<!DOCTYPE html>
<html>
<head>
<title>Welcome to nginx!</title>
</head>
<body>
<h1>Welcome to nginx!</h1>
<p>This page is served by labctl, which stands in for the nginx image.</p>
</body>
</html>
";

/// Serves the welcome page.
pub(super) fn serve(listen: Listen) -> anyhow::Result<()> {
    let handler = |request: hyper::Request<_>, _| {
        let answer = answer(request.method(), request.uri().path());
        async { answer }
    };
    listen::serve(listen, handler, || {})
}

fn answer(method: &Method, path: &str) -> Answer {
    let status = match (method, path) {
        (&Method::GET | &Method::HEAD, "/" | "/index.html") => StatusCode::OK,
        (&Method::GET | &Method::HEAD, _) => StatusCode::NOT_FOUND,
        _ => StatusCode::METHOD_NOT_ALLOWED,
    };
    let body = match status {
        StatusCode::OK => WELCOME.to_owned(),
        _ => format!(
            "<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>\n"
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("labctl-nginx"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_welcome_page_is_at_the_root_alone() {
        assert_eq!(answer(&Method::GET, "/").status(), StatusCode::OK);
        assert_eq!(
            answer(&Method::HEAD, "/index.html").status(),
            StatusCode::OK
        );
        assert_eq!(
            answer(&Method::GET, "/other").status(),
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            answer(&Method::POST, "/").status(),
            StatusCode::METHOD_NOT_ALLOWED
        );
    }

    #[test]
    fn it_does_not_pass_for_the_real_nginx() {
        let answer = answer(&Method::GET, "/");
        assert_eq!(answer.headers()[SERVER], "labctl-nginx");
        assert!(WELCOME.contains("<title>Welcome to nginx!</title>"));
    }
}
