//! Handshakes under way at the peer port: so many in all, and so many from one address. Whoever has no secret holds a place for as long
//! as it says nothing; one address, or one IPv6 network of 64 bits, does not hold all of them.

use crate::limits::{MAX_PEER_HANDSHAKES, MAX_PEER_HANDSHAKES_OF_ADDRESS};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many there are from each address that has one.
#[derive(Debug, Default)]
pub struct UnderWay(Mutex<BTreeMap<IpAddr, usize>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Place {
    under_way: Arc<UnderWay>,
    from: IpAddr,
}

impl UnderWay {
    /// A place for one more, if there is one.
    pub fn begin(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let from = counted_as(from);
        let mut counts = self.counts();
        let of_address = counts.get(&from).copied().unwrap_or_default();
        if of_address >= MAX_PEER_HANDSHAKES_OF_ADDRESS || counts.values().sum::<usize>() >= MAX_PEER_HANDSHAKES {
            return None;
        }
        counts.insert(from, of_address + 1);
        Some(Place {
            under_way: self.clone(),
            from,
        })
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever has an IPv6 address usually has its whole network.
fn counted_as(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.under_way.counts();
        match counts.get_mut(&self.from) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(last: usize) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, u8::try_from(last).expect("small")).into()
    }

    #[test]
    fn an_address_has_its_places_and_all_have_theirs() {
        let under_way = Arc::new(UnderWay::default());
        let mut places = Vec::new();
        for last in 1..=MAX_PEER_HANDSHAKES / MAX_PEER_HANDSHAKES_OF_ADDRESS {
            for _ in 0..MAX_PEER_HANDSHAKES_OF_ADDRESS {
                places.push(under_way.begin(address(last)).expect("within both limits"));
            }
            assert!(under_way.begin(address(last)).is_none());
        }
        assert!(under_way.begin(address(200)).is_none(), "all are taken");
        drop(places.remove(0));
        assert!(under_way.begin(address(200)).is_some());
        let IpAddr::V4(first) = address(1) else { panic!("made so") };
        places.push(under_way.begin(first.to_ipv6_mapped().into()).expect("one was given back"));
        drop(places.remove(MAX_PEER_HANDSHAKES_OF_ADDRESS));
        assert!(under_way.begin(address(1)).is_none(), "it is the same address");
        drop(places);
        assert!(under_way.counts().is_empty());
        let address = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, last, 0, 0, 1]);
        let _network: Vec<_> = (0..MAX_PEER_HANDSHAKES_OF_ADDRESS as u16)
            .map(|last| under_way.begin(address(last)).expect("a place"))
            .collect();
        assert!(under_way.begin(address(u16::MAX)).is_none(), "it is the same network");
    }
}
