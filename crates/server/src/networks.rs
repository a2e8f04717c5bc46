//! Networks as `address/bits`: who may use a front that has no token of its own.

use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// 0 to 32, or 0 to 128.
    bits: u32,
}

/// Loopback, and what nobody can be reached at from elsewhere (RFC 1918, 3927, 4193, 4291).
const PRIVATE: &[&str] = &[
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

impl Network {
    /// The networks that are allowed when nobody says otherwise.
    pub fn private() -> Vec<Network> {
        let parsed = PRIVATE.iter().map(|text| text.parse());
        parsed
            .collect::<Result<_, _>>()
            .expect("the list above is well-formed, as a test holds")
    }

    /// Whether an address is in it. An IPv4 address in IPv6 clothes counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same_bits(own.to_bits().into(), other.to_bits().into(), 32, self.bits),
            (IpAddr::V6(own), IpAddr::V6(other)) => same_bits(own.to_bits(), other.to_bits(), 128, self.bits),
            _ => false,
        }
    }

    /// Whether every address of it is this machine's own.
    pub fn is_loopback(&self) -> bool {
        match self.address.to_canonical() {
            IpAddr::V4(address) => address.is_loopback() && self.bits >= 8,
            IpAddr::V6(address) => address.is_loopback() && self.bits == 128,
        }
    }

    /// Whether every address of it can only be used within a private network.
    pub fn is_private(&self) -> bool {
        let is_within = |outer: &Network| outer.bits <= self.bits && outer.contains(self.address);
        Network::private().iter().any(is_within)
    }
}

fn same_bits(left: u128, right: u128, width: u32, bits: u32) -> bool {
    let ignored = width - bits;
    left.checked_shr(ignored).unwrap_or(0) == right.checked_shr(ignored).unwrap_or(0)
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network; write an address or address/bits, such as 10.0.0.0/8")]
pub struct NotANetwork(String);

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Network, NotANetwork> {
        let malformed = || NotANetwork(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(width), str::parse).map_err(|_| malformed())?;
        if bits > width {
            return Err(malformed());
        }
        Ok(Network { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn an_address_is_in_a_network_or_not() {
        for (text, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::1", false),
            ("192.168.7.9", "192.168.7.9", true),
            ("192.168.7.9", "192.168.7.8", false),
            ("172.16.0.0/12", "172.31.255.255", true),
            ("172.16.0.0/12", "172.32.0.0", false),
            ("0.0.0.0/0", "203.0.113.7", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(network(text).contains(address), expected, "{address} in {text}");
        }
    }

    #[test]
    fn what_is_wider_than_private_is_told() {
        for text in PRIVATE.iter().chain(&["127.0.0.1", "10.1.0.0/16", "fd00::/8"]) {
            assert!(network(text).is_private(), "{text}");
        }
        for text in ["0.0.0.0/0", "10.0.0.0/7", "203.0.113.0/24", "::/0", "fc00::/6", "192.168.0.0/15"] {
            assert!(!network(text).is_private(), "{text}");
        }
        assert_eq!(Network::private().len(), PRIVATE.len());
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "10.0.0/8",
            "localhost",
            "10.0.0.0/8/8",
        ] {
            let error = text.parse::<Network>().expect_err(text);
            assert_eq!(
                error.to_string(),
                format!("{text:?} is no network; write an address or address/bits, such as 10.0.0.0/8")
            );
        }
    }
}
