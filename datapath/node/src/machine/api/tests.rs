use std::io::BufReader;
use std::net::Ipv4Addr;

use lab_model::lab::Role;
use lab_model::plan::{Action, ObservedNode};

use super::{Answer, Claim, Client, ClientError, Failure, Hello, Owner, Request, Response};

fn owner() -> Owner {
    Owner {
        lab: "study".to_owned(),
        node: "k8s-w1".to_owned(),
        role: Role::Worker,
        owner: "alice@laptop".to_owned(),
    }
}

/// What a client that gets `answers` says, and makes of them.
fn talk<T>(
    answers: &str,
    conversation: impl FnOnce(&mut Client<BufReader<&[u8]>, &mut Vec<u8>>) -> T,
) -> (String, T) {
    let mut said = Vec::new();
    let outcome = {
        let mut client = Client::new(BufReader::new(answers.as_bytes()), &mut said);
        conversation(&mut client)
    };
    (String::from_utf8(said).expect("JSON"), outcome)
}

#[test]
fn a_claim_and_its_answer_are_one_line_each() {
    let claim = Claim {
        owner: owner(),
        hosts: [(Ipv4Addr::new(192, 168, 10, 200), "router".to_owned())].into(),
    };
    let (said, outcome) = talk("{\"ok\":\"done\"}\n", |client| client.claim(claim.clone()));
    outcome.expect("claim");
    assert_eq!(
        said,
        "{\"request\":\"claim\",\"lab\":\"study\",\"node\":\"k8s-w1\",\"role\":\"worker\",\
         \"owner\":\"alice@laptop\",\"hosts\":[[\"192.168.10.200\",\"router\"]]}\n"
    );
    let heard: Request = serde_json::from_str(&said).expect("a request");
    assert_eq!(heard, Request::Claim(claim));
}

#[test]
fn a_failure_says_which_action_and_why() {
    let answer = "{\"failed\":{\"position\":1,\"message\":\"add it\"}}\n";
    let actions = vec![Action::StartAgent {
        node: "k8s-w1".to_owned(),
    }];
    let (_, outcome) = talk(answer, |client| client.perform(actions));
    match outcome.expect_err("it failed") {
        ClientError::Failed(Failure { position, message }) => {
            assert_eq!((position, message.as_str()), (Some(1), "add it"));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn every_answer_arrives_as_it_was_sent() {
    let hello = Hello {
        version: "0.1.0".to_owned(),
        digest: "ab".repeat(32),
        kernel: "6.1.0".to_owned(),
        owner: Some(owner()),
        has_systemd: true,
        uid: 0,
    };
    for answer in [
        Response::Ok(Answer::Hello(hello.into())),
        Response::Ok(Answer::Observed(ObservedNode::default().into())),
        Response::Ok(Answer::Done),
        Response::Failed(Failure {
            position: None,
            message: "claim it".to_owned(),
        }),
    ] {
        let line = serde_json::to_string(&answer).expect("serialize");
        let heard: Response = serde_json::from_str(&line).expect("deserialize");
        assert_eq!(heard, answer);
    }
}

#[test]
fn an_end_without_an_answer_and_an_answer_to_another_question_are_told_apart() {
    let (_, outcome) = talk("", |client| client.observe());
    assert!(matches!(outcome, Err(ClientError::Closed)));
    let (_, outcome) = talk("{\"ok\":\"done\"}\n", |client| client.observe());
    assert!(matches!(outcome, Err(ClientError::Mismatch)));
    let (_, outcome) = talk("Debian GNU/Linux 12\n", |client| client.observe());
    assert!(matches!(outcome, Err(ClientError::Answer(_))));
}
