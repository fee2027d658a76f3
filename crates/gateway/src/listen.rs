//! Where the gateway listens, and from whom it takes a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// `gateway.bind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// This machine only. In a container: whoever the container's published port comes from too.
    Localhost,
    /// 127.0.0.1 and nothing else, also in a container.
    Loopback,
    /// Every interface.
    Lan,
    /// One address.
    Address(IpAddr),
}

/// From whom connections are taken; the check is made at accept, before a byte is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peers {
    /// Loopback addresses, and these.
    LoopbackAnd(Vec<IpAddr>),
    /// Anyone who can reach the address.
    Anyone,
}

impl Peers {
    /// True when a connection from this address is taken.
    pub fn admit(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        match self {
            Self::LoopbackAnd(others) => peer.is_loopback() || others.contains(&peer),
            Self::Anyone => true,
        }
    }
}

/// Why the gateway cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct CannotListen {
    address: SocketAddr,
    source: std::io::Error,
}

/// Listening sockets and who may connect to them.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
    peers: Peers,
}

impl Bind {
    /// True when machines other than this one may connect.
    pub fn is_wide(self) -> bool {
        match self {
            Self::Localhost | Self::Loopback => false,
            Self::Lan => true,
            Self::Address(address) => !address.to_canonical().is_loopback(),
        }
    }

    /// Opens the sockets. Port 0 takes a free one.
    pub fn listen(self, port: u16) -> Result<Listener, CannotListen> {
        const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
        const ALL_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        const ALL_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let loopback = || Peers::LoopbackAnd(Vec::new());
        let (addresses, peers) = match self {
            Self::Localhost if in_container() => {
                let gateway = default_gateway().into_iter().collect();
                (vec![ALL_V4, V6], Peers::LoopbackAnd(gateway))
            }
            Self::Localhost => (vec![V4, V6], loopback()),
            Self::Loopback => (vec![V4], loopback()),
            // Where IPv6 takes IPv4 as well, which is the system's choice, the second is there already.
            Self::Lan => (vec![ALL_V6, ALL_V4], Peers::Anyone),
            Self::Address(address) if !self.is_wide() => (vec![address], loopback()),
            Self::Address(address) => (vec![address], Peers::Anyone),
        };
        let mut sockets = Vec::new();
        let mut port = port;
        let mut failed = None;
        for address in addresses {
            match open(SocketAddr::new(address, port)) {
                Ok(socket) => {
                    port = socket.local_addr().map_or(port, |a| a.port());
                    sockets.push(socket);
                }
                // Not every machine has IPv6; one family is enough, but none is not.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let only_v6 = sockets
            .iter()
            .all(|s| s.local_addr().is_ok_and(|a| a.ip() == V6));
        match failed {
            Some(error) if only_v6 => Err(error),
            Some(_) | None => Ok(Listener { sockets, peers }),
        }
    }
}

/// Connections that wait to be taken; a burst beyond it is asked to try again a second later.
const BACKLOG: u32 = 4096;

fn open(address: SocketAddr) -> Result<TcpListener, CannotListen> {
    let listen = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // A restart must not wait for connections of the run before to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| CannotListen { address, source })
}

impl Listener {
    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }

    /// The next connection from a peer that may connect; others are closed at once.
    pub(crate) async fn accept(&self) -> std::io::Result<(TcpStream, IpAddr)> {
        loop {
            let (stream, peer) = match self.sockets.as_slice() {
                [only] => only.accept().await?,
                [one, two, ..] => tokio::select! { a = one.accept() => a?, b = two.accept() => b? },
                [] => std::future::pending().await,
            };
            let peer = peer.ip().to_canonical();
            if self.peers.admit(peer) {
                return Ok((stream, peer));
            }
            tracing::warn!(%peer, "security: refused a connection from a peer that is not this machine");
        }
    }
}

/// Docker and Podman leave a marker file at the root.
fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|path| std::path::Path::new(path).exists())
}

/// The container's own default gateway, from where a published port's connections arrive.
fn default_gateway() -> Option<IpAddr> {
    parse_default_gateway(&std::fs::read_to_string("/proc/net/route").ok()?)
}

/// `/proc/net/route`: interface, destination and gateway in little-endian hex.
fn parse_default_gateway(table: &str) -> Option<IpAddr> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        (destination == "00000000" && gateway != 0)
            .then(|| IpAddr::V4(Ipv4Addr::from(gateway.swap_bytes())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_takes_loopback_and_the_containers_own_gateway_only() {
        let peers = Peers::LoopbackAnd(vec!["172.17.0.1".parse().unwrap()]);
        for (peer, admitted) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("172.17.0.1", true),
            ("::ffff:172.17.0.1", true),
            ("172.17.0.3", false),
            ("10.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(peers.admit(peer.parse().unwrap()), admitted, "{peer}");
        }
    }

    #[test]
    fn the_default_gateway_is_read_from_the_kernels_table() {
        let table = "Iface\tDestination\tGateway\tFlags\n\
                     eth0\t000011AC\t00000000\t0001\n\
                     eth0\t00000000\t010011AC\t0003\n";
        assert_eq!(
            parse_default_gateway(table),
            Some("172.17.0.1".parse().unwrap())
        );
        assert_eq!(parse_default_gateway("Iface\n"), None);
    }

    #[test]
    fn only_a_wide_bind_is_wide() {
        for (bind, wide) in [
            (Bind::Localhost, false),
            (Bind::Loopback, false),
            (Bind::Address("127.0.0.2".parse().unwrap()), false),
            (Bind::Address("::1".parse().unwrap()), false),
            (Bind::Lan, true),
            (Bind::Address("0.0.0.0".parse().unwrap()), true),
            (Bind::Address("::".parse().unwrap()), true),
            (Bind::Address("192.168.1.2".parse().unwrap()), true),
        ] {
            assert_eq!(bind.is_wide(), wide, "{bind:?}");
        }
    }
}
