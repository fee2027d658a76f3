//! `gateway.bind`: who can reach the gateway at all.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Where the gateway listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// This machine only. In a container: its interface, but peers from loopback and the
    /// container's own default gateway only.
    Localhost,
    /// The loopback interface and nothing else, in a container too.
    Loopback,
    /// Every interface.
    Lan,
    /// One address.
    Address(IpAddr),
}

/// Words for `gateway.bind` when it is none of the things it may be.
pub(crate) const ALLOWED: &str = "localhost, loopback, lan, or an IP address";

impl Bind {
    /// How many machines can knock: 0 this one, 1 those that route to one address, 2 everybody.
    pub(crate) const fn width(self) -> u8 {
        match self {
            Self::Localhost | Self::Loopback => 0,
            Self::Lan => 2,
            Self::Address(ip) if ip.is_loopback() => 0,
            Self::Address(ip) if ip.is_unspecified() => 2,
            Self::Address(_) => 1,
        }
    }

    /// True when another machine can connect; such a bind needs a token before it starts.
    pub const fn is_wider_than_localhost(self) -> bool {
        self.width() > 0
    }
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "localhost" => Ok(Self::Localhost),
            "loopback" => Ok(Self::Loopback),
            "lan" => Ok(Self::Lan),
            // An address in IPv6's mapped form is the IPv4 address: one place, one spelling.
            other => other
                .parse::<IpAddr>()
                .map(|ip| Self::Address(ip.to_canonical()))
                .map_err(|_| format!("must be {ALLOWED}")),
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost => f.write_str("localhost"),
            Self::Loopback => f.write_str("loopback"),
            Self::Lan => f.write_str("lan"),
            Self::Address(ip) => ip.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Bind;

    #[test]
    fn whatever_another_machine_can_reach_is_wider_than_localhost() {
        for narrow in [
            "localhost",
            "loopback",
            "127.0.0.1",
            "127.1.2.3",
            "::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(
                !narrow.parse::<Bind>().unwrap().is_wider_than_localhost(),
                "{narrow}"
            );
        }
        for wide in [
            "lan",
            "0.0.0.0",
            "::",
            "192.168.1.7",
            "::ffff:10.0.0.1",
            "fe80::1",
        ] {
            assert!(
                wide.parse::<Bind>().unwrap().is_wider_than_localhost(),
                "{wide}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_no_bind() {
        for bad in [
            "",
            "Localhost",
            "0",
            "127.1",
            "127.0.0.1:80",
            "localhost ",
            "[::1]",
            "*",
        ] {
            assert!(bad.parse::<Bind>().is_err(), "{bad:?}");
        }
    }
}
