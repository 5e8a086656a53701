//! How far away a node is, in five steps.
//!
//! Distance is the one thing known of a node before anything was measured, and it predicts most of the
//! latency. The steps are those of Envoy's locality (region, zone, sub-zone).

use std::fmt;

use homing_types::Locality;

/// How far a node is from the one that asks. Nearer sorts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// The asking node itself.
    Local,
    /// Another node in the same rack.
    Rack,
    /// Another node in the same zone.
    Zone,
    /// Another node in the same region.
    Region,
    /// In another region, or nobody knows where.
    Far,
}

impl Tier {
    /// Every tier, the nearest first.
    pub const ALL: [Self; 5] = [Self::Local, Self::Rack, Self::Zone, Self::Region, Self::Far];

    /// The tier of another node at `other`, seen from `me`; so never [`Tier::Local`].
    #[must_use]
    pub fn between(me: &Locality, other: &Locality) -> Self {
        if me.same_rack(other) {
            Self::Rack
        } else if me.same_zone(other) {
            Self::Zone
        } else if me.same_region(other) {
            Self::Region
        } else {
            Self::Far
        }
    }

    /// The word in the CLI.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "self",
            Self::Rack => "rack",
            Self::Zone => "zone",
            Self::Region => "region",
            Self::Far => "far",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use homing_types::Name;

    use super::*;

    fn at(region: &str, zone: &str, rack: &str) -> Locality {
        let name = |name| Some(Name::new(name).unwrap());
        Locality { region: name(region), zone: name(zone), rack: name(rack) }
    }

    #[test]
    fn the_tier_is_the_narrowest_place_that_two_nodes_share() {
        let me = at("eu", "a", "1");
        for (other, tier) in [
            (at("eu", "a", "1"), Tier::Rack),
            (at("eu", "a", "2"), Tier::Zone),
            (at("eu", "b", "1"), Tier::Region),
            (at("us", "a", "1"), Tier::Far),
        ] {
            assert_eq!(Tier::between(&me, &other), tier, "{other:?}");
            assert_eq!(Tier::between(&other, &me), tier, "{other:?}");
        }
    }

    #[test]
    fn nearer_tiers_sort_first() {
        assert!(Tier::ALL.is_sorted());
        assert_eq!(Tier::ALL.map(Tier::as_str), ["self", "rack", "zone", "region", "far"]);
    }
}
