//! Delays what a namespace sends: by the kernel's `netem` where there is one, else by a thread that holds packets back
//! in a netfilter queue.
//!
//! The kernel keeps the packets; only their numbers come here, and one message lets go all packets up to a number.
//! Packets keep their order.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};

use super::guard::enter;
use super::network::tool;

/// A delay in force. Dropping it ends it.
#[derive(Debug)]
pub struct Delay {
    namespace: String,
    queue: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

/// The rule that leads packets into the queue; those that find nobody there pass.
const RULE: [&str; 9] =
    ["POSTROUTING", "-o", "eth0", "-j", "NFQUEUE", "--queue-num", "1", "--queue-bypass", "-w"];

impl Delay {
    /// Starts to delay what the namespace sends.
    pub fn start(namespace: String, time: Duration) -> Result<Self, String> {
        let text = format!("{}us", time.as_micros());
        let netem = ["-n", &namespace, "qdisc", "add", "dev", "eth0", "root", "netem", "delay", &text];
        let Err(netem) = tool("tc", &netem, "") else { return Ok(Self { namespace, queue: None }) };
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, started) = mpsc::channel();
        let (inside, flag) = (namespace.clone(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let queue = enter(&inside).and_then(|()| Queue::open());
            let told = ready.send(queue.as_ref().map(drop).map_err(ToString::to_string));
            if let (Ok(queue), Ok(())) = (queue, told) {
                queue.run(time, &flag);
            }
        });
        let delay = Self { namespace, queue: Some((stop, thread)) };
        let outcome = started.recv().unwrap_or_else(|_| Err("its thread has ended".into()));
        outcome.and_then(|()| delay.rule("-A")).map_err(|error| {
            format!("packets cannot be delayed, neither by netem ({netem}) nor by a queue ({error})")
        })?;
        Ok(delay)
    }

    fn rule(&self, verb: &str) -> Result<(), String> {
        let mut words = vec!["netns", "exec", &self.namespace, "iptables", "-t", "mangle", verb];
        words.extend(RULE);
        tool("ip", &words, "")
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        match self.queue.take() {
            None => {
                let _ = tool("tc", &["-n", &self.namespace, "qdisc", "del", "dev", "eth0", "root"], "");
            }
            Some((stop, thread)) => {
                // The rule may not be there yet when starting failed.
                let _ = self.rule("-D");
                stop.store(true, Ordering::Relaxed);
                let _ = thread.join();
            }
        }
    }
}

// Numbers of linux/netfilter/nfnetlink_queue.h.
const SUBSYSTEM: u16 = 3 << 8;
const PACKET: u16 = SUBSYSTEM;
const CONFIG: u16 = SUBSYSTEM | 2;
const VERDICT_BATCH: u16 = SUBSYSTEM | 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const AF_INET: u8 = 2;

/// Queue 1 of this thread's namespace.
struct Queue {
    socket: OwnedFd,
}

impl Queue {
    fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(NETFILTER))?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        let queue = Self { socket };
        // Bind; copy nothing but the packet's number; hold many packets.
        queue.configure(1, &[1, 0, 0, AF_INET])?;
        queue.configure(2, &[0, 0, 0, 0, 1])?;
        queue.configure(3, &(1u32 << 17).to_be_bytes())?;
        Ok(queue)
    }

    fn configure(&self, kind: u16, value: &[u8]) -> io::Result<()> {
        self.send(CONFIG, NLM_F_REQUEST | NLM_F_ACK, kind, value)?;
        let mut answer = [0; 1024];
        let (length, _) = recv(&self.socket, &mut answer, RecvFlags::empty())?;
        let code = answer.get(16..20).filter(|_| length >= 20).map(<[u8; 4]>::try_from);
        match code {
            Some(Ok(code)) if i32::from_ne_bytes(code) == 0 => Ok(()),
            Some(Ok(code)) => Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(code))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Sends a message with one attribute about the queue.
    fn send(&self, message: u16, flags: u16, kind: u16, value: &[u8]) -> io::Result<()> {
        let padded = value.len().next_multiple_of(4);
        let mut bytes = Vec::with_capacity(24 + padded);
        bytes.extend((24 + padded as u32).to_ne_bytes());
        bytes.extend(message.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend([0, 0, 0, 1]);
        bytes.extend((4 + value.len() as u16).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(24 + padded, 0);
        send(&self.socket, &bytes, SendFlags::empty())?;
        Ok(())
    }

    /// Lets go of all packets up to this number.
    fn let_go(&self, number: u32) {
        let verdict = [1u32.to_be_bytes(), number.to_be_bytes()].concat();
        // A packet whose connection is gone needs no verdict.
        let _ = self.send(VERDICT_BATCH, NLM_F_REQUEST, 2, &verdict);
    }

    /// Holds each packet back for `time`, until told to stop; then lets all go.
    fn run(&self, time: Duration, stop: &AtomicBool) {
        const LOOK: Duration = Duration::from_millis(20);
        let mut held: VecDeque<(Instant, u32)> = VecDeque::new();
        let mut buffer = vec![0; 1 << 16];
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let due = held.iter().take_while(|(due, _)| *due <= now).count();
            if let Some((_, last)) = held.drain(..due).next_back() {
                self.let_go(last);
            }
            let wait = held.front().map_or(LOOK, |(due, _)| due.saturating_duration_since(now).min(LOOK));
            let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
            if poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&wait)).unwrap_or(0) == 0 {
                continue;
            }
            // Numbers that were lost on the way here go with the next that was not.
            if let Ok((length, _)) = recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                let due = Instant::now() + time;
                held.extend(
                    numbers(&buffer[..length.min(buffer.len())]).into_iter().map(|number| (due, number)),
                );
            }
        }
        if let Some((_, last)) = held.back() {
            self.let_go(*last);
        }
    }
}

/// The numbers of the packets that a batch of messages tells of.
fn numbers(mut bytes: &[u8]) -> Vec<u32> {
    let mut numbers = Vec::new();
    let short = |bytes: &[u8], at: usize| Some(u16::from_ne_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    while let Some(length) = bytes.first_chunk::<4>().map(|length| u32::from_ne_bytes(*length) as usize) {
        if length < 20 || length > bytes.len() {
            break;
        }
        let (message, rest) = bytes.split_at(length.next_multiple_of(4).min(bytes.len()));
        bytes = rest;
        if short(message, 4) != Some(PACKET) {
            continue;
        }
        let mut at = 20;
        while let (Some(size), Some(kind)) = (short(message, at), short(message, at + 2)) {
            if size < 4 {
                break;
            }
            let value = message.get(at + 4..).and_then(|value| value.first_chunk::<4>());
            if let (1, Some(number)) = (kind & 0x7fff, value) {
                numbers.push(u32::from_be_bytes(*number));
                break;
            }
            at += usize::from(size).next_multiple_of(4);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_messages() {
        let mut bytes = Vec::new();
        for (kind, number) in [(PACKET, 7u32), (CONFIG, 8), (PACKET, 9)] {
            bytes.extend(40u32.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 14]);
            bytes.extend(8u16.to_ne_bytes());
            bytes.extend(10u16.to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend(11u16.to_ne_bytes());
            bytes.extend(1u16.to_ne_bytes());
            bytes.extend(number.to_be_bytes());
            bytes.extend([0; 4]);
        }
        assert_eq!(numbers(&bytes), [7, 9]);
        assert!(numbers(&bytes[..39]).is_empty());
        assert!(numbers(&[0; 64]).is_empty());
    }
}
