//! Asks for IPv4 addresses by ARP and counts the answers, or floods: the other side of `announce`, for tests and measurements.
//!
//! ```text
//! ask INDEX MAC FIRST COUNT                 asks once for each address; prints "answered N" after half a second of silence
//! ask INDEX MAC FIRST COUNT RATE SECONDS    asks for them in turn, so many in a second, and listens to nothing
//! ask INDEX MAC frame HEX                   sends these bytes
//! ```
//! INDEX and MAC are those of the interface to ask on.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use runtime::args::LogLevel;
use speaker::l2::filter::Ranges;
use speaker::l2::frames::arp_probe;
use speaker::l2::packet::{PacketSocket, Protocol};
use speaker::l2::selection::Mac;

const SILENCE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    runtime::main("ask", LogLevel::Info, ask(std::env::args().skip(1).collect()))
}

async fn ask(words: Vec<String>) -> anyhow::Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [index, mac, first, count, rest @ ..] = words.as_slice() else {
        bail!("usage: ask INDEX MAC FIRST COUNT [RATE SECONDS] | frame HEX")
    };
    if *first == "frame" {
        let digits: Vec<char> = count.chars().collect();
        let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16);
        let bytes: Vec<u8> = digits.chunks(2).map(byte).collect::<Result<_, _>>()?;
        return Ok(PacketSocket::open(index.parse()?, Protocol::Arp, &Ranges::default())?.send(&bytes)?);
    }
    let bytes: Vec<u8> = mac.split(':').map(|part| u8::from_str_radix(part, 16)).collect::<Result<_, _>>()?;
    let mac = Mac(bytes.as_slice().try_into().context("MAC has six bytes")?);
    let (first, count): (Ipv4Addr, u32) = (first.parse()?, count.parse()?);
    let frames: Vec<Vec<u8>> = (0..count).map(|n| arp_probe(mac, Ipv4Addr::from(u32::from(first) + n))).collect();
    match rest {
        [] => once(&PacketSocket::open(index.parse()?, Protocol::Arp, &Ranges::everything())?, &frames).await,
        [rate, seconds] => {
            let socket = PacketSocket::open(index.parse()?, Protocol::Arp, &Ranges::default())?;
            flood(&socket, &frames, rate.parse()?, Duration::from_secs(seconds.parse()?)).await
        }
        _ => bail!("usage: ask INDEX MAC FIRST COUNT [RATE SECONDS] | frame HEX"),
    }
}

async fn once(socket: &PacketSocket, frames: &[Vec<u8>]) -> anyhow::Result<()> {
    let (mut answered, mut buffer) = (BTreeSet::new(), [0; 1518]);
    for portion in frames.chunks(50) {
        portion.iter().try_for_each(|frame| socket.send(frame))?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while let Ok(length) = tokio::time::timeout(SILENCE, socket.receive(&mut buffer)).await {
        let frame = buffer.get(..length?).unwrap_or_default();
        if let (Some([0, 2]), Some(sender)) = (frame.get(20..22), frame.get(28..32)) {
            answered.insert(sender.to_vec());
        }
    }
    Ok(writeln!(std::io::stdout(), "answered {}", answered.len())?)
}

async fn flood(socket: &PacketSocket, frames: &[Vec<u8>], rate: usize, time: Duration) -> anyhow::Result<()> {
    let (start, mut sent) = (Instant::now(), 0usize);
    let mut frames = frames.iter().cycle();
    while start.elapsed() < time {
        let due = usize::try_from(start.elapsed().as_micros())? * rate / 1_000_000;
        while sent < due {
            if let Some(frame) = frames.next() {
                let _ = socket.send(frame);
            }
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(writeln!(std::io::stdout(), "sent {sent}")?)
}
