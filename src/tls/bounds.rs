//! How many connections there may be.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::metrics::Refusal;

/// The most connections that one listener has at a time, those in their handshake
/// included. What comes beyond is closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In all.
    pub total: usize,
    /// From one address. (Of IPv6 the first 64 bits, of which one host has all.)
    pub per_address: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { total: 10_000, per_address: 2_000 }
    }
}

/// The places of a listener.
#[derive(Debug)]
pub(super) struct Places {
    bounds: Bounds,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, taken: Mutex::default() })
    }

    /// A place for a connection from an address.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Refusal> {
        let address = whose(address);
        let mut taken = self.taken();
        if taken.all >= self.bounds.total {
            return Err(Refusal::TooMany);
        }
        let of_address = taken.by_address.entry(address).or_default();
        if *of_address >= self.bounds.per_address {
            return Err(Refusal::TooManyFromAddress);
        }
        *of_address += 1;
        taken.all += 1;
        drop(taken);
        Ok(Place { places: Arc::clone(self), address })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(of_address) = taken.by_address.get_mut(&self.address) {
            *of_address = of_address.saturating_sub(1);
            if *of_address == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// The address that stands for whoever connects from it.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_from_each_address() {
        let places = Places::new(Bounds { total: 3, per_address: 2 });
        let take = |address: &str| places.take(address.parse().expect("an address"));
        let a = take("10.0.0.1").expect("it is the first");
        let _b = take("::ffff:10.0.0.1").expect("it is the second");
        assert_eq!(take("10.0.0.1").err(), Some(Refusal::TooManyFromAddress));
        let c = take("2001:db8::1").expect("it is the third");
        assert_eq!(take("10.0.0.2").err(), Some(Refusal::TooMany));
        drop(a);
        let _d = take("2001:db8::2").expect("there is a place again");
        drop((c, take("2001:db8::3")));
        assert!(take("2001:db8:0:1::1").is_ok());
        assert_eq!(places.taken().by_address.len(), 2);
    }
}
