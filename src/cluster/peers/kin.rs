//! By what the nodes of a cluster know each other.
//!
//! A node that has died stands in the store until its lease ends, and its address
//! may be somebody else's before that: a pod of another cluster of quotagate, say,
//! whose nodes know the same orgs from counters of their own. What is forwarded
//! there must not be decided there. So every request says of which cluster it
//! comes, and only its own is served.

use std::{fmt, sync::Arc};

use tokio::sync::watch;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::cluster::View;

/// The metadata that carries the token.
const TOKEN_KEY: &str = "quotagate-peer-token";

/// The metadata that carries the id with which the cluster was made.
const CLUSTER_KEY: &str = "quotagate-peer-cluster";

/// What all nodes of a cluster know, and nobody else.
#[derive(Clone)]
pub struct Token(MetadataValue<Ascii>);

/// A text that cannot be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a peer token has 16 to 512 visible ASCII characters")]
pub struct BadToken;

/// How a node signs what it asks of others, and whom it answers.
#[derive(Clone, Debug, Default)]
pub struct Kin {
    token: Option<Token>,
    /// Where the cluster's id stands, once it is known.
    view: Option<watch::Receiver<Arc<View>>>,
}

/// Why a request is not one of this cluster's nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// It has no token, or another one.
    Token,
    /// It comes from a node of another cluster.
    Cluster,
}

impl Kin {
    /// Those who know this token, if there is one.
    #[must_use]
    pub fn knowing(token: Option<Token>) -> Self {
        Self { token, view: None }
    }

    /// And are of the cluster in this view.
    #[must_use]
    pub fn of(self, view: watch::Receiver<Arc<View>>) -> Self {
        Self { view: Some(view), ..self }
    }

    /// Says in a request where it comes from.
    pub fn sign(&self, metadata: &mut MetadataMap) {
        if let Some(Token(token)) = &self.token {
            metadata.insert(TOKEN_KEY, token.clone());
        }
        let id = self.with_cluster(|id| id.parse().ok());
        if let Some(id) = id.flatten() {
            metadata.insert(CLUSTER_KEY, id);
        }
    }

    /// Whether a request is one of this cluster's nodes. One that does not say its
    /// cluster is of an older version, or does not know it yet.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self, metadata: &MetadataMap) -> Result<(), Stranger> {
        if self.token.as_ref().is_some_and(|token| !token.is_in(metadata)) {
            return Err(Stranger::Token);
        }
        let Some(theirs) = metadata.get(CLUSTER_KEY) else { return Ok(()) };
        match self.with_cluster(|ours| theirs.as_bytes() == ours.as_bytes()) {
            Some(false) => Err(Stranger::Cluster),
            Some(true) | None => Ok(()),
        }
    }

    fn with_cluster<T>(&self, read: impl FnOnce(&str) -> T) -> Option<T> {
        let view = self.view.as_ref()?.borrow();
        view.generation.as_ref().map(|generation| read(&generation.id))
    }
}

impl Token {
    /// Reads a token, as it stands in a file.
    ///
    /// # Errors
    /// It is too short to keep a secret, or too long, or has other characters.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let text = text.trim();
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || !(16..=512).contains(&text.len()) {
            return Err(BadToken);
        }
        text.parse().map(Self).map_err(|_| BadToken)
    }

    /// Whether a request carries this token. Takes the same time wherever the
    /// first difference is.
    fn is_in(&self, metadata: &MetadataMap) -> bool {
        let given = metadata.get(TOKEN_KEY).map_or(&[][..], |token| token.as_bytes());
        let known = self.0.as_bytes();
        let difference = given.iter().zip(known).fold(0, |all, (a, b)| all | (a ^ b));
        given.len() == known.len() && std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Token {
    /// Never shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::records::GenerationRecord;

    #[test]
    fn a_token_is_a_line_of_visible_characters_and_only_the_same_one_is_taken() {
        let text = "0123456789abcdef";
        for (text, good) in [
            (text, true),
            ("  0123456789abcdef\n", true),
            ("0123456789abcde", false),
            ("0123456789 abcdef", false),
            ("0123456789abcdef\u{e4}", false),
            (&"x".repeat(512), true),
            (&"x".repeat(513), false),
        ] {
            assert_eq!(Token::parse(text).is_ok(), good, "{text:?}");
        }
        let token = Token::parse(text).expect("a good one");
        for (given, taken) in [
            (Some(text), true),
            (Some("0123456789abcdeF"), false),
            (Some("0123456789abcde"), false),
            (Some("0123456789abcdef0"), false),
            (Some(""), false),
            (None, false),
        ] {
            let mut metadata = MetadataMap::new();
            if let Some(given) = given {
                metadata.insert(TOKEN_KEY, given.parse().expect("a value"));
            }
            assert_eq!(token.is_in(&metadata), taken, "{given:?}");
        }
        assert!(!format!("{token:?}").contains(text));
    }

    #[test]
    fn a_node_of_another_cluster_is_a_stranger_once_both_know_their_own() {
        let of = |id: Option<&str>| {
            let record = |id: &str| GenerationRecord {
                id: id.to_owned(),
                shards: 1,
                created_by: String::new(),
            };
            let mut view = View::default();
            view.generation = id.map(record);
            Kin::default().of(watch::channel(Arc::new(view)).1)
        };
        for (theirs, ours, is_kin) in [
            (Some("1f"), Some("1f"), true),
            (Some("1f"), Some("2e"), false),
            (Some("1f"), Some("1f0"), false),
            (Some("1f"), None, true),
            (None, Some("1f"), true),
            (None, None, true),
        ] {
            let mut metadata = MetadataMap::new();
            of(theirs).sign(&mut metadata);
            let expected = if is_kin { Ok(()) } else { Err(Stranger::Cluster) };
            assert_eq!(of(ours).check(&metadata), expected, "{theirs:?} asks {ours:?}");
            assert_eq!(Kin::default().check(&metadata), Ok(()));
        }
    }
}
