use super::*;

#[test]
fn requests_travel_as_one_line_of_json() {
    for request in [Request::Status, Request::Drift, Request::IpMasq] {
        let line = serde_json::to_string(&request).expect("write");
        assert!(!line.contains('\n'));
        assert_eq!(
            serde_json::from_str::<Request>(&line).expect("read"),
            request
        );
    }
    assert_eq!(
        serde_json::to_string(&Request::IpMasq).expect("write"),
        r#"{"request":"ip-masq"}"#
    );
    let failed = Response::Failed {
        message: "apply: no".into(),
    };
    assert_eq!(
        serde_json::to_string(&failed).expect("write"),
        r#"{"response":"failed","message":"apply: no"}"#
    );
}
