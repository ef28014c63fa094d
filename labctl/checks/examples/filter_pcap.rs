//! Counts the packets of a capture that match a display filter:
//! `filter_pcap FILE FILTER`. What `cargo xtask bench checks` measures.

use std::error::Error;
use std::fs::File;
use std::io::Read;

use lab_checks::filter::Filter;
use lab_checks::packet::Decoder;

/// Bytes read at once: enough to make system calls rare, little enough to stay in the L2 cache.
const CHUNK: usize = 256 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(filter), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: filter_pcap FILE FILTER".into());
    };
    let filter = Filter::parse(&filter).map_err(|error| error.render(&filter))?;
    let (packets, matching) = count(&mut File::open(path)?, &filter)?;
    println!("{matching} of {packets} packets match");
    Ok(())
}

fn count(file: &mut File, filter: &Filter) -> Result<(u64, u64), Box<dyn Error>> {
    let mut decoder = Decoder::new();
    let mut buffer = vec![0; CHUNK];
    let mut filled = 0;
    let (mut packets, mut matching) = (0, 0);
    loop {
        if filled == buffer.len() {
            // One record fills the buffer; the decoder bounds how long it can be.
            buffer.resize(buffer.len() * 2, 0);
        }
        let read = file.read(&mut buffer[filled..])?;
        filled += read;
        let consumed = decoder.drain(&buffer[..filled], |packet| {
            packets += 1;
            matching += u64::from(filter.matches(&packet));
        })?;
        buffer.copy_within(consumed..filled, 0);
        filled -= consumed;
        if read == 0 {
            decoder.finish(&buffer[..filled])?;
            return Ok((packets, matching));
        }
    }
}
