//! Fields have the values that tshark shows.

use std::collections::BTreeMap;
use std::path::Path;

use lab_checks::filter::field::fields;
use lab_checks::packet::Capture;

use super::tshark;
use crate::traffic::{self, File};

/// Values of every field in every packet: `number|field` → values.
fn values_by_tshark(capture: &Path) -> BTreeMap<(u64, &'static str), Vec<String>> {
    let mut arguments = vec![
        "-T",
        "fields",
        "-E",
        "separator=|",
        "-E",
        "occurrence=a",
        "-E",
        "aggregator= ",
    ];
    for field in fields() {
        arguments.extend(["-e", field.name]);
    }
    let mut values = BTreeMap::new();
    for (line, number) in tshark(capture, &arguments).lines().zip(1u64..) {
        for (field, cell) in fields().iter().zip(line.split('|')) {
            values.insert(
                (number, field.name),
                cell.split_whitespace().map(str::to_owned).collect(),
            );
        }
    }
    values
}

#[track_caller]
fn assert_same_values(frames: &[Vec<u8>], link: u32) {
    let bytes = traffic::pcap_of_link_type(link, frames);
    let capture = Capture::read(&bytes).expect("the capture is whole");
    let file = File::new("fields.pcap", &bytes);
    let mut differences = Vec::new();
    for ((number, name), theirs) in values_by_tshark(file.path()) {
        let packet = capture
            .packets()
            .nth(number as usize - 1)
            .expect("tshark counts as we do");
        let ours = fields()
            .iter()
            .find(|field| field.name == name)
            .map(|field| field.values(&packet))
            .unwrap_or_default();
        let theirs: Vec<String> = theirs.iter().map(|value| plain(value)).collect();
        if ours != theirs {
            differences.push(format!(
                "frame {number} {name}: labctl {ours:?}, tshark {theirs:?}"
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// A number in decimal, as labctl prints it.
fn plain(value: &str) -> String {
    match value
        .strip_prefix("0x")
        .map(|hex| u64::from_str_radix(hex, 16))
    {
        Some(Ok(number)) => number.to_string(),
        _ => value.to_owned(),
    }
}

#[test]
fn every_field_has_the_values_that_tshark_shows() {
    assert_same_values(&traffic::everything(), 1);
}

#[test]
fn fields_inside_tunnels_agree() {
    assert_same_values(&traffic::tunnels(), 1);
}

#[test]
fn every_field_agrees_without_a_link_layer() {
    let frames: Vec<Vec<u8>> = traffic::everything()
        .iter()
        .filter(|frame| frame[12..14] == [8, 0])
        .map(|frame| frame[14..].to_vec())
        .collect();
    assert_same_values(&frames, 101);
}

#[test]
fn every_field_agrees_on_cooked_captures() {
    let cooked = |frame: &Vec<u8>| {
        let mut sll = vec![0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
        sll.extend(&frame[12..]);
        sll
    };
    let cooked2 = |frame: &Vec<u8>| {
        let mut sll2 = frame[12..14].to_vec();
        sll2.extend([0, 0, 0, 0, 0, 2, 0, 1, 4, 6, 2, 0, 0, 0, 0, 1, 0, 0]);
        sll2.extend(&frame[14..]);
        sll2
    };
    assert_same_values(
        &traffic::everything().iter().map(cooked).collect::<Vec<_>>(),
        113,
    );
    assert_same_values(
        &traffic::everything()
            .iter()
            .map(cooked2)
            .collect::<Vec<_>>(),
        276,
    );
}
