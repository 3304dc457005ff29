//! Which node ought to own which shard: rendezvous hashing.
//!
//! Every node gives every shard a score, and the shard belongs to the highest.
//! So all nodes that know of the same nodes agree without a word; a node that
//! joins takes its share from all others and moves nothing else, and what a
//! node leaves behind is spread over all that stay.
//!
//! The score is part of what the nodes of a cluster agree on: the 64-bit FNV-1a
//! hash of the node's name, a zero byte and the shard's number (two bytes, high
//! byte first), mixed by the finalizer of `MurmurHash3` (`fmix64`), without
//! which names that differ in their last letter would score alike. Were it to
//! change, nodes of two versions would hand shards to and fro.

use std::cmp::Reverse;

use crate::store::{Shard, keys::fnv1a_64};

/// The nodes in the order in which they are to own a shard.
#[must_use]
pub fn ranked<'a>(shard: Shard, nodes: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut ranked: Vec<&str> = nodes.into_iter().collect();
    ranked.sort_by_cached_key(|&node| (Reverse(score(node, shard)), node));
    ranked
}

/// How many of the nodes come before this one for a shard; 0 for the one that
/// ought to own it. Whether the node itself is among them does not matter.
#[must_use]
pub fn rank<'a>(shard: Shard, node: &str, nodes: impl IntoIterator<Item = &'a str>) -> usize {
    let own = (Reverse(score(node, shard)), node);
    nodes.into_iter().filter(|&other| (Reverse(score(other, shard)), other) < own).count()
}

/// Its [`rank`] for every shard, by the shard's number.
#[must_use]
pub fn ranks<'a>(
    node: &str,
    nodes: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
) -> Vec<usize> {
    let nodes = nodes.into_iter();
    Shard::all().map(|shard| rank(shard, node, nodes.clone())).collect()
}

fn score(node: &str, shard: Shard) -> u64 {
    let mut bytes = Vec::with_capacity(node.len() + 3);
    bytes.extend_from_slice(node.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&shard.number().to_be_bytes());
    mixed(fnv1a_64(&bytes))
}

/// `fmix64` of `MurmurHash3`: every bit of the input changes every bit of the
/// output with even odds.
fn mixed(mut bits: u64) -> u64 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::keys::SHARDS;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("quotagate-{n}")).collect()
    }

    fn owner(shard: Shard, nodes: &[String]) -> &str {
        ranked(shard, nodes.iter().map(String::as_str))[0]
    }

    #[test]
    fn the_scores_never_change() {
        // As computed from the published definitions of both functions.
        for (node, shard, expected) in [
            ("a", 0, 0xe00b_be7e_2f0a_7121),
            ("a", 255, 0x0d60_1509_3a3f_6611),
            ("quotagate-0", 7, 0xe9cc_83a6_ed36_1cca),
        ] {
            assert_eq!(score(node, Shard::new(shard).unwrap()), expected, "{node} {shard}");
        }
        assert_eq!(mixed(0), 0);
        assert_eq!(mixed(1), 0xb456_bcfc_34c2_cb2c, "as published");
    }

    #[test]
    fn every_node_gets_its_share() {
        for count in [1, 2, 3, 5, 9, 16] {
            let nodes = names(count);
            let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
            for shard in Shard::all() {
                *shares.entry(owner(shard, &nodes)).or_default() += 1;
            }
            // Five standard deviations of a fair draw.
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let (mean, nodes) = (f64::from(SHARDS) / count as f64, count as f64);
            let bound = 5.0 * (mean * (1.0 - 1.0 / nodes)).sqrt();
            assert_eq!(shares.len(), count, "{shares:?}");
            for (node, share) in &shares {
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                let off = (*share as f64 - mean).abs();
                assert!(off <= bound, "{node} of {count} has {share}, {mean:.1} ± {bound:.1}");
            }
        }
    }

    #[test]
    fn a_joining_node_takes_its_share_and_moves_nothing_else() {
        for count in 1..12 {
            let before = names(count);
            let after = names(count + 1);
            let moved: Vec<&str> = Shard::all()
                .filter(|&shard| owner(shard, &before) != owner(shard, &after))
                .map(|shard| owner(shard, &after))
                .collect();
            assert!(moved.iter().all(|to| *to == after[count]), "{moved:?}");
            let share = usize::from(SHARDS) / (count + 1);
            assert!((share / 2..=share * 2).contains(&moved.len()), "{} of {share}", moved.len());
        }
    }

    proptest! {
        #[test]
        fn a_leaving_node_moves_its_own_shards_only(
            nodes in prop::collection::btree_set("[a-z0-9.-]{1,12}", 2..8), leaves: prop::sample::Index,
        ) {
            let before: Vec<String> = nodes.into_iter().collect();
            let mut after = before.clone();
            let left = after.remove(leaves.index(before.len()));
            for shard in Shard::all() {
                let was = owner(shard, &before);
                prop_assert!(was == left || was == owner(shard, &after));
            }
        }

        #[test]
        fn a_rank_is_the_place_in_the_order_however_the_nodes_are_listed(
            nodes in prop::collection::btree_set("[a-z0-9.-]{1,12}", 1..8), shard in 0..SHARDS,
        ) {
            let shard = Shard::new(shard).unwrap();
            let names = || nodes.iter().map(String::as_str);
            let order = ranked(shard, names());
            prop_assert_eq!(&order, &ranked(shard, names().rev()));
            for (place, node) in order.iter().enumerate() {
                prop_assert_eq!(rank(shard, node, names()), place);
                prop_assert_eq!(ranks(node, names())[usize::from(shard.number())], place);
            }
        }
    }
}
