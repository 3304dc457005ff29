//! The name of a permit: any node can tell from it where the permit lives, and
//! nobody can guess it.

use std::{fmt, str::FromStr};

use smallvec::SmallVec;

use crate::{
    quota::{OrgId, PermitKey},
    store::{Shard, shard_of},
};

/// A permit's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermitId {
    /// The org that it is of.
    pub org: OrgId,
    /// The epoch in which it was granted.
    pub epoch: u64,
    /// Its random part.
    pub key: PermitKey,
}

/// Tells this form of names from later ones.
const VERSION: &str = "p1";

/// The first part of a name, in ASCII: a version and three numbers.
pub type Head = SmallVec<[u8; 48]>;

/// A text that no node has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no permit of quotagate")]
pub struct Garbled;

impl PermitId {
    /// What stands before the org in the name. The org comes last: it is the only part
    /// that may contain a dash. Written digit by digit, and nowhere but here: every
    /// answer has one, and formatting or memory of its own cost more.
    #[must_use]
    pub fn head(&self) -> Head {
        let mut head = Head::from_slice(VERSION.as_bytes());
        let numbers = [(self.shard().number().into(), 2), (self.epoch, 1), (self.key.0, 16)];
        for (number, digits) in numbers {
            head.push(b'-');
            push_hex(&mut head, number, digits);
        }
        head.push(b'-');
        head
    }

    /// True if `text` is the name.
    fn is(&self, text: &str) -> bool {
        let (head, org) = (self.head(), self.org.as_str());
        text.as_bytes().strip_prefix(&*head).is_some_and(|rest| rest == org.as_bytes())
    }

    /// The shard of its org.
    #[must_use]
    pub fn shard(&self) -> Shard {
        shard_of(&self.org)
    }
}

/// Hexadecimal digits, at least so many.
fn push_hex(text: &mut Head, number: u64, at_least: u32) {
    let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(at_least);
    for place in (0..digits).rev() {
        let digit = (number >> (4 * place)) & 0xf;
        text.push(b"0123456789abcdef"[digit as usize]);
    }
}

impl fmt::Display for PermitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.head();
        f.write_str(std::str::from_utf8(&head).map_err(|_| fmt::Error)?)?;
        f.write_str(self.org.as_str())
    }
}

impl FromStr for PermitId {
    type Err = Garbled;

    fn from_str(text: &str) -> Result<Self, Garbled> {
        let mut parts = text.splitn(5, '-');
        let mut part = || parts.next().ok_or(Garbled);
        let (version, shard, epoch, key, org) = (part()?, part()?, part()?, part()?, part()?);
        let id = Self {
            org: OrgId::parse(org).map_err(|_| Garbled)?,
            epoch: u64::from_str_radix(epoch, 16).map_err(|_| Garbled)?,
            key: PermitKey(u64::from_str_radix(key, 16).map_err(|_| Garbled)?),
        };
        // There is exactly one text for each name.
        (version == VERSION && !shard.is_empty() && id.is(text)).then_some(id).ok_or(Garbled)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_permits_name_is_read_back(org in "[A-Za-z0-9._-]{1,64}", epoch: u64, key: u64) {
            let Ok(org) = OrgId::parse(&org) else { return Ok(()) };
            let id = PermitId { org, epoch, key: PermitKey(key) };
            let text = id.to_string();
            prop_assert!(text.len() <= 128);
            let org = &id.org;
            let written =
                format!("p1-{:02x}-{epoch:x}-{key:016x}-{org}", id.shard().number());
            prop_assert_eq!(&text, &written);
            prop_assert_eq!(text.parse(), Ok(id));
        }

        #[test]
        fn any_other_text_is_garbled_and_harmless(text in ".{0,140}") {
            if let Ok(id) = text.parse::<PermitId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn a_name_with_the_wrong_shard_is_garbled() {
        let id = PermitId { org: OrgId::parse("acme").unwrap(), epoch: 7, key: PermitKey(9) };
        let text = id.to_string();
        let shard = format!("-{:02x}-", id.shard().number());
        let other = format!("-{:02x}-", id.shard().number() ^ 1);
        assert_eq!(text.replacen(&shard, &other, 1).parse::<PermitId>(), Err(Garbled));
    }
}
