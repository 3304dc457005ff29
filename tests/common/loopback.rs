//! Addresses that nobody else has.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// Any free port of an address of the loopback network that no other server of the
/// tests listens on.
///
/// A server that is killed gives its ports back, and the next one that asks for any
/// free port may get one of them, in whatever test. Callers who ask the dead server
/// again would then be served by one that knows nothing of them: with ports of
/// 127.0.0.1 alone, and four tests at a time, one run in some hundreds of a test that
/// kills its servers counted too many calls.
pub fn own() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Only Linux serves all of 127.0.0.0/8 as it comes.
    if !cfg!(target_os = "linux") {
        return (Ipv4Addr::LOCALHOST, 0).into();
    }
    let [.., high, low] = process::id().to_be_bytes();
    let servers = NEXT.fetch_add(1, Ordering::Relaxed);
    let server = u8::try_from(1 + servers % 254).expect("it fits");
    // Neither 127.0.0.1 nor the network's last address.
    (Ipv4Addr::new(127, high | 0x80, low, server), 0).into()
}

#[cfg(target_os = "linux")]
#[test]
fn servers_have_addresses_of_their_own() {
    let servers: Vec<_> = (0..20)
        .map(|_| std::net::TcpListener::bind(own()).expect("an address of this machine"))
        .collect();
    let addresses = servers.iter().map(|server| server.local_addr().expect("it is bound").ip());
    let addresses: std::collections::BTreeSet<_> = addresses.collect();
    assert_eq!(addresses.len(), servers.len());
    assert!(addresses.iter().all(|address| address.is_loopback()));
    assert!(!addresses.contains(&std::net::IpAddr::from(Ipv4Addr::LOCALHOST)));
}
