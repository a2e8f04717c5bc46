//! Which packets were overtaken by a later one of their own flow: between flows there is no order that could be lost.

use std::collections::HashMap;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Of more flows none is told from the others: a fault lasts seconds, and has hundreds at most.
const MOST_FLOWS: usize = 100_000;

/// Protocol, addresses and ports of an IPv4 packet; of another one, or of the later fragments of one, no ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Flow {
    protocol: u8,
    addresses: [u8; 8],
    ports: [u8; 4],
}

impl Flow {
    /// `None` for what is no IPv4 packet.
    fn of(packet: &[u8]) -> Option<Flow> {
        let first = *packet.first()?;
        if first >> 4 != 4 {
            return None;
        }
        let protocol = *packet.get(9)?;
        let is_first_fragment = *packet.get(6)? & 0x1f == 0 && *packet.get(7)? == 0;
        let header = usize::from(first & 0x0f) * 4;
        let ports: Option<[u8; 4]> = packet.get(header..header + 4).and_then(|ports| ports.try_into().ok());
        Some(Flow {
            protocol,
            addresses: packet.get(12..20)?.try_into().ok()?,
            ports: ports
                .filter(|_| is_first_fragment && [TCP, UDP].contains(&protocol))
                .unwrap_or_default(),
        })
    }
}

/// The flows of all packets that were let go.
#[derive(Default)]
pub struct Flows {
    /// The latest packet of each that was let go.
    latest: HashMap<Flow, u64>,
    overtaken: u64,
}

impl Flows {
    /// Notes that a packet goes on. `number` says in which order packets came.
    pub fn let_go(&mut self, packet: &[u8], number: u64) {
        let Some(flow) = Flow::of(packet) else { return };
        if self.latest.len() >= MOST_FLOWS {
            self.latest.clear();
        }
        let latest = self.latest.entry(flow).or_insert(number);
        if number < *latest {
            self.overtaken += 1;
        }
        *latest = number.max(*latest);
    }

    /// Packets that went on after a later one of their flow.
    pub fn overtaken(&self) -> u64 {
        self.overtaken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TCP packet from this port.
    fn packet(from: u16) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[9] = TCP;
        packet[12..20].copy_from_slice(&[10, 77, 0, 1, 10, 77, 0, 2]);
        packet[20..22].copy_from_slice(&from.to_be_bytes());
        packet
    }

    fn overtaken(let_go: &[(u16, u64)]) -> u64 {
        let mut flows = Flows::default();
        let_go.iter().for_each(|(from, number)| flows.let_go(&packet(*from), *number));
        flows.overtaken()
    }

    #[test]
    fn packets_that_are_late_and_in_order_were_not_overtaken() {
        assert_eq!(overtaken(&[(1, 1), (1, 2), (1, 3)]), 0);
        assert_eq!(overtaken(&[(1, 2), (2, 1), (1, 4), (2, 3)]), 0, "each flow is in order");
    }

    #[test]
    fn each_packet_behind_a_later_one_of_its_flow_was_overtaken_once() {
        assert_eq!(overtaken(&[(1, 3), (1, 1), (1, 2), (1, 4)]), 2);
        assert_eq!(overtaken(&[(1, 2), (2, 1), (1, 1)]), 1);
    }

    #[test]
    fn a_packet_that_is_cut_or_of_another_kind_is_of_no_flow() {
        for length in 0..20 {
            assert_eq!(Flow::of(&packet(1)[..length]), None, "{length} bytes");
        }
        let mut other = packet(1);
        other[0] = 0x60;
        assert_eq!(Flow::of(&other), None);
        let mut fragment = packet(1);
        fragment[7] = 1;
        assert_eq!(
            Flow::of(&fragment).map(|flow| flow.ports),
            Some([0; 4]),
            "what it has there is data"
        );
        assert_eq!(Flow::of(&packet(258)).map(|flow| flow.ports), Some([1, 2, 0, 0]));
    }
}
