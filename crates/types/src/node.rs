use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// The name of a node in its cluster: a DNS label in lower case, 1 to 63 bytes (RFC 1035, section 2.3.1;
/// a leading digit is allowed, as by RFC 1123).
///
/// With the cluster's name it forms the one DNS SAN of the node's certificate. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The longest id, in bytes.
    pub const MAX_LEN: usize = 63;

    /// Checks that `id` is a DNS label in lower case.
    ///
    /// # Errors
    /// [`NodeIdError`] otherwise.
    pub fn new(id: &str) -> Result<Self, NodeIdError> {
        if Self::fits(id) { Ok(Self(id.into())) } else { Err(NodeIdError { id: shorten(id) }) }
    }

    /// Whether a text is a node id.
    #[must_use]
    pub fn fits(id: &str) -> bool {
        let bytes = id.as_bytes();
        (1..=Self::MAX_LEN).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
            && !bytes.starts_with(b"-")
            && !bytes.ends_with(b"-")
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for NodeId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Keeps an error to one readable line, whatever was sent.
fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        Self::new(text)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no [`NodeId`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{id:?} is no node id: use a DNS label of 1 to 63 lower-case letters, digits and inner hyphens")]
pub struct NodeIdError {
    id: String,
}

/// A short name of a part of the world (a region, a zone, a rack): 1 to 63 bytes of printable ASCII
/// without spaces. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks length and characters.
    ///
    /// # Errors
    /// [`NameError`] otherwise.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let fits = (1..=63).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(name.into())) } else { Err(NameError { name: shorten(name) }) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{name:?} is no name: use 1 to 63 printable ASCII characters without spaces")]
pub struct NameError {
    name: String,
}

/// Where a node stands. Nodes share a rack only within one zone, and a zone only within one region.
/// What isn't said (`None`) is shared by all who don't say it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Locality {
    /// The region: what lies tens of milliseconds apart.
    pub region: Option<Name>,
    /// The zone: what fails together (power, network).
    pub zone: Option<Name>,
    /// The rack: what hangs on one switch.
    pub rack: Option<Name>,
}

impl Locality {
    /// Whether both stand in one region.
    #[must_use]
    pub fn same_region(&self, other: &Self) -> bool {
        self.region == other.region
    }

    /// Whether both stand in one zone of one region.
    #[must_use]
    pub fn same_zone(&self, other: &Self) -> bool {
        self.same_region(other) && self.zone == other.zone
    }

    /// Whether both stand in one named rack of one zone. Racks nobody names are no racks.
    #[must_use]
    pub fn same_rack(&self, other: &Self) -> bool {
        self.same_zone(other) && self.rack.is_some() && self.rack == other.rack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_id_is_a_dns_label() {
        for good in ["a", "n1", "1", "eu-west-1", &"x".repeat(63)] {
            assert!(NodeId::new(good).is_ok(), "{good}");
        }
        for wrong in ["", "-a", "a-", "A", "a.b", "a_b", "é", "*", &"x".repeat(64)] {
            assert!(NodeId::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rack_is_shared_only_within_a_zone() {
        let at = |zone: &str, rack: Option<&str>| Locality {
            region: None,
            zone: Some(Name::new(zone).unwrap()),
            rack: rack.map(|rack| Name::new(rack).unwrap()),
        };
        assert!(at("a", Some("1")).same_rack(&at("a", Some("1"))));
        assert!(!at("a", Some("1")).same_rack(&at("b", Some("1"))));
        assert!(!at("a", None).same_rack(&at("a", None)));
        assert!(at("a", None).same_zone(&at("a", Some("1"))));
    }
}
