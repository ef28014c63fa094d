//! Which port leads to which MAC address, learnt from what is sent: pure.

use std::collections::HashMap;

type Mac = [u8; 6];

/// Addresses learnt at most, so that a machine that makes them up fills no memory.
const CAPACITY: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Table {
    ports: HashMap<Mac, usize>,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    One(usize),
    /// To all ports but the one it came from: it is a broadcast, or its destination is not known.
    All,
}

impl Table {
    /// Learns from a frame's source where it is, and looks its destination up. None for what is
    /// no frame.
    pub(super) fn learn_and_look_up(&mut self, frame: &[u8], from: usize) -> Option<Target> {
        let destination: Mac = *frame.first_chunk()?;
        let source: Mac = frame.get(6..14)?.first_chunk().copied()?;
        if !is_group(source) && (self.ports.len() < CAPACITY || self.ports.contains_key(&source)) {
            self.ports.insert(source, from);
        }
        if is_group(destination) {
            return Some(Target::All);
        }
        Some(
            self.ports
                .get(&destination)
                .map_or(Target::All, |&port| Target::One(port)),
        )
    }
}

/// Whether an address is of many: its first bit on the wire is set.
fn is_group(mac: Mac) -> bool {
    mac[0] & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::{CAPACITY, Table, Target};

    fn frame(destination: [u8; 6], source: [u8; 6]) -> Vec<u8> {
        [&destination[..], &source, &[0x08, 0x00]].concat()
    }

    const A: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
    const B: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];

    #[test]
    fn what_has_spoken_is_known_and_may_move() {
        let mut table = Table::default();
        assert_eq!(table.learn_and_look_up(&frame(B, A), 0), Some(Target::All));
        assert_eq!(
            table.learn_and_look_up(&frame(A, B), 1),
            Some(Target::One(0))
        );
        assert_eq!(
            table.learn_and_look_up(&frame(A, A), 2),
            Some(Target::One(2))
        );
        assert_eq!(
            table.learn_and_look_up(&frame(A, B), 1),
            Some(Target::One(2))
        );
    }

    #[test]
    fn broadcasts_go_to_all_and_are_no_ones_address() {
        let mut table = Table::default();
        assert_eq!(
            table.learn_and_look_up(&frame([0xff; 6], A), 0),
            Some(Target::All)
        );
        assert_eq!(
            table.learn_and_look_up(&frame(A, [0xff; 6]), 1),
            Some(Target::One(0))
        );
        assert_eq!(
            table.learn_and_look_up(&frame([0xff; 6], B), 1),
            Some(Target::All)
        );
    }

    #[test]
    fn what_is_no_frame_goes_nowhere() {
        assert_eq!(Table::default().learn_and_look_up(&[0; 13], 0), None);
        assert_eq!(Table::default().learn_and_look_up(&[], 0), None);
    }

    #[test]
    fn made_up_addresses_fill_no_memory() {
        let mut table = Table::default();
        for number in 0..u32::try_from(2 * CAPACITY).unwrap() {
            let [_, a, b, c] = number.to_be_bytes();
            table.learn_and_look_up(&frame(B, [0x52, 0x54, 0, a, b, c]), 0);
        }
        assert_eq!(table.ports.len(), CAPACITY);
    }
}
