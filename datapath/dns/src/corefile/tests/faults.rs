//! What is wrong with Corefiles, and what is said of it.

use super::super::CorefileError;
use super::read;

/// What is wrong, and how its message starts.
const FAULTS: [(&str, &str); 51] = [
    (
        ". {\n errors\n rewrite a b\n}",
        "Corefile:3: unknown plugin `rewrite`; labctl has bind, bufsize, cache",
    ),
    (
        ". {\n cache {\n  sucess 1\n }\n}",
        "Corefile:3: unknown option `sucess` of `cache`; labctl has success",
    ),
    (". {\n cache 0\n}", "Corefile:2: `0` is no number from 1 to"),
    (". {\n cache -5\n}", "Corefile:2: `-5` is no number"),
    (
        ". {\n cache {\n success 1 2 3\n}\n}",
        "Corefile:3: the least TTL, 3, is above the largest, 2",
    ),
    (
        ". {\n cache {\n prefetch 1 1m 20\n}\n}",
        "Corefile:3: `20` is no percentage; write it with its sign",
    ),
    (
        ". {\n cache {\n prefetch 1 1m 95%\n}\n}",
        "Corefile:3: `95` is no number from 10 to 90",
    ),
    (
        ". {\n cache {\n servfail 6m\n}\n}",
        "Corefile:3: `6m` isn't from 0ns to 300s",
    ),
    (
        ". {\n cache {\n servfail 5\n}\n}",
        "Corefile:3: `5` is no duration; write a number and its unit",
    ),
    (
        ". {\n cache {\n serve_stale 1h later\n}\n}",
        "Corefile:3: `later` is no way of refreshing",
    ),
    (
        ". {\n cache {\n disable some\n}\n}",
        "Corefile:3: there is no cache `some`",
    ),
    (
        ". {\n errors\n\n errors\n}",
        "Corefile:4: `errors` is there already; a server block has one; put it together with line 2",
    ),
    (
        ". {\n errors x\n}",
        "Corefile:2: `x` is one word too many for `errors`",
    ),
    (
        ". {\n errors {\n stacktrace\n}\n}",
        "Corefile:3: labctl doesn't have `stacktrace` of `errors`",
    ),
    (
        ". {\n errors {\n consolidate 5m\n}\n}",
        "Corefile:3: `consolidate` needs 2 argument(s), and has 1",
    ),
    (
        ". {\n errors {\n consolidate long .*\n}\n}",
        "Corefile:3: `long` is no duration",
    ),
    (
        ". {\n errors {\n consolidate 5m (\n}\n}",
        "Corefile:3: `(` is no regular expression: unclosed group",
    ),
    (
        ". {\n errors {\n consolidate 5m .* loud\n}\n}",
        "Corefile:3: unknown level `loud`; labctl has warning, error, info, debug",
    ),
    (
        ". {\n forward .\n}",
        "Corefile:2: `forward` needs 2 argument(s), and has 1",
    ),
    (
        ". {\n forward . tls://9.9.9.9\n}",
        "Corefile:2: labctl doesn't forward by `tls://`",
    ),
    (
        ". {\n forward . /does/not/exist\n}",
        "Corefile:2: `/does/not/exist` is neither an IP address nor a file",
    ),
    (
        ". {\n forward . 10.0.0.1 {\n tls\n}\n}",
        "Corefile:3: labctl doesn't have `tls` of `forward`",
    ),
    (
        ". {\n forward . 10.0.0.1 {\n policy best\n}\n}",
        "Corefile:3: unknown policy `best`",
    ),
    (
        ". {\n forward . 10.0.0.1 {\n health_check 1s fast\n}\n}",
        "Corefile:3: unknown word `fast` of `health_check`",
    ),
    (
        ". {\n forward . 10.0.0.1 {\n max_fails two\n}\n}",
        "Corefile:3: `two` is no number from 0 to",
    ),
    (
        ". {\n forward 10.0.0.0/9 10.0.0.1\n}",
        "Corefile:2: `10.0.0.0/9` is 128 zones",
    ),
    (
        ". {\n forward . __PILLAR__CLUSTER__DNSX__\n}",
        "Corefile:2: `__PILLAR__CLUSTER__DNSX__` isn't filled",
    ),
    (
        "__PILLAR__DNS__DOMAIN__:53 {\n}",
        "Corefile:1: `__PILLAR__DNS__DOMAIN__` isn't filled; put the value in its place",
    ),
    (". {\n bind eth0\n}", "Corefile:2: `eth0` is no IP address"),
    (
        ". {\n bufsize 100\n}",
        "Corefile:2: `100` is no number from 512 to 4096",
    ),
    (
        ". {\n health 8080\n}",
        "Corefile:2: `8080` is nothing to listen on; write ADDRESS:PORT",
    ),
    (
        ". {\n reload 1s\n}",
        "Corefile:2: `1s` is too short; 2s is the least",
    ),
    (
        ". {\n loop 1\n}",
        "Corefile:2: `1` is one word too many for `loop`",
    ),
    (
        ". {\n loadbalance weighted f\n}",
        "Corefile:2: labctl doesn't have the policy `weighted`",
    ),
    (
        ". {\n log example.org\n}",
        "Corefile:2: labctl doesn't log `example.org` alone",
    ),
    (
        ". {\n log . {\n class some\n}\n}",
        "Corefile:3: unknown class `some`",
    ),
    (
        ". {\n hosts {\n 10.0.0.256 a\n}\n}",
        "Corefile:3: unknown option `10.0.0.256` of `hosts`",
    ),
    (
        ". {\n template IN A {\n}\n}",
        "Corefile:2: the template says nothing",
    ),
    (
        ". {\n template IN NONE_SUCH {\n}\n}",
        "Corefile:2: unknown type `NONE_SUCH`",
    ),
    (
        ". {\n kubernetes in-addr.arpa\n}",
        "Corefile:2: `kubernetes` has reverse zones only",
    ),
    (
        ". {\n kubernetes c.local {\n pods some\n}\n}",
        "Corefile:3: unknown mode `some` of `pods`",
    ),
    (
        ". {\n kubernetes c.local {\n endpoint http://x\n}\n}",
        "Corefile:3: labctl doesn't have `endpoint` of `kubernetes`",
    ),
    (
        ".:53 {\n}\n. {\n}",
        "Corefile:3: .:53 is served already; the block at Corefile:1 has it",
    ),
    ("tls://. {\n}", "Corefile:1: labctl doesn't serve `tls://`"),
    (".:70000 {\n}", "Corefile:1: `70000` is no port"),
    ("a..b {\n}", "Corefile:1: `a..b` is no zone"),
    (". {\n errors\n", "Corefile:1: the server block doesn't end"),
    (
        ". {\n errors }\n}",
        "Corefile:2: `}` has to stand on a line of its own",
    ),
    (
        ". {\n import nothing_here\n}",
        "Corefile:2: cannot import nothing_here",
    ),
    (
        "(a) {\n import a\n}\n. {\n import a\n}",
        "Corefile:2: more than 1000 imports",
    ),
    (
        ". {\n log \"{common\n}",
        "Corefile:2: the quote doesn't end",
    ),
];

#[test]
fn faults_are_told_with_their_line_and_a_way_out() {
    for (text, expected) in FAULTS {
        let error = read(text).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}\n{error}");
    }
}

#[test]
fn all_faults_come_at_once() {
    let error = read(
        ". {\n cache 0\n nope\n forward . __PILLAR__X__ {\n max_fails 1\n}\n forward .\n}\n. {\n}",
    )
    .unwrap_err();
    let CorefileError::Faults(faults) = error else {
        panic!("{error}")
    };
    let lines: Vec<_> = faults.iter().map(|fault| fault.place.line).collect();
    assert_eq!(lines, [2, 3, 4, 7, 9]);
}
