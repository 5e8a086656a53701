//! The routing table as a document: what `homing table -o json` prints and `homing table apply` takes, as JSON or TOML.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use homing::routing_table::{Diff, Group, Snapshot};
use homing::{Epoch, NodeId, Owners, Replica, ReplicaState, Slot, Space, SpaceKey};
use serde::{Deserialize, Serialize};

/// The incarnation that no table of an operator may bear.
const RESERVED: u16 = u16::MAX;

/// A table, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableDoc {
    /// The version of the table it was taken from; says nothing to another node.
    #[serde(default)]
    pub(crate) version: u64,
    /// The digest of the table it was taken from.
    #[serde(default)]
    pub(crate) digest: String,
    /// Groups with one content and epoch, in one line.
    pub(crate) groups: Vec<GroupsDoc>,
    /// Spaces with owners of their own. The group of their slot must be among `groups`.
    #[serde(default)]
    pub(crate) pins: Vec<PinDoc>,
}

/// Slots that share owners and epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupsDoc {
    /// Slots and ranges of slots: `0-99,200`.
    pub(crate) slots: String,
    pub(crate) epoch: u64,
    #[serde(flatten)]
    pub(crate) owners: OwnersDoc,
}

/// A space with owners of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PinDoc {
    /// Its name; or `key`, since a table knows no names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) space: Option<String>,
    /// Its key, 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    #[serde(flatten)]
    pub(crate) owners: OwnersDoc,
}

/// Who owns a space.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct OwnersDoc {
    pub(crate) primary: String,
    /// The replicas that are in sync.
    #[serde(default)]
    pub(crate) replicas: Vec<String>,
    /// The replicas that are being filled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) catching_up: Vec<String>,
}

impl TableDoc {
    /// The whole table.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let mut alike: BTreeMap<(u64, OwnersDoc), Vec<u16>> = BTreeMap::new();
        let mut pins = Vec::new();
        for (slot, group) in snapshot.groups() {
            let owners = OwnersDoc::of(&group.owners);
            alike.entry((group.epoch.number(), owners)).or_default().push(slot.number());
            pins.extend(group.pins.iter().map(|(key, owners)| PinDoc {
                space: None,
                key: Some(key.to_string()),
                owners: OwnersDoc::of(owners),
            }));
        }
        let mut groups: Vec<_> = alike
            .into_iter()
            .map(|((epoch, owners), slots)| (slots[0], GroupsDoc { slots: ranges(&slots), epoch, owners }))
            .collect();
        groups.sort_by_key(|(first, _)| *first);
        Self {
            version: snapshot.version(),
            digest: snapshot.digest().to_string(),
            groups: groups.into_iter().map(|(_, groups)| groups).collect(),
            pins,
        }
    }

    /// Reads a document, JSON or TOML.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.trim_start().starts_with('{') {
            return Ok(serde_json::from_str(text)?);
        }
        toml::from_str(text).map_err(|error| anyhow::anyhow!("{}", error.message().replace('\n', " ")))
    }

    /// What to apply, to a cluster of which nobody knows the nodes here.
    pub(crate) fn to_diff(&self) -> Result<Diff> {
        self.to_diff_among(|_| true)
    }

    /// What to apply, where every owner must be a node of the cluster.
    pub(crate) fn to_diff_among(&self, is_node: impl Fn(&NodeId) -> bool) -> Result<Diff> {
        let mut groups: BTreeMap<Slot, Group> = BTreeMap::new();
        for (i, doc) in self.groups.iter().enumerate() {
            let owners = doc.owners.parse(&is_node).with_context(|| format!("groups[{i}]"))?;
            ensure!(
                Epoch::new(doc.epoch).incarnation() < RESERVED,
                "groups[{i}].epoch: {} is of the incarnation {RESERVED} (its high 16 bits), which is reserved, since nothing could \
                 follow it: use the epoch that is known, plus 1",
                doc.epoch
            );
            for slot in slots(&doc.slots).with_context(|| format!("groups[{i}].slots"))? {
                let group = Group::new(Epoch::new(doc.epoch), owners.clone());
                ensure!(groups.insert(slot, group).is_none(), "groups[{i}].slots: slot {slot} stands twice");
            }
        }
        for (i, pin) in self.pins.iter().enumerate() {
            let key = pin.space_key().with_context(|| format!("pins[{i}]"))?;
            let owners = pin.owners.parse(&is_node).with_context(|| format!("pins[{i}]"))?;
            let Some(group) = groups.get_mut(&key.slot()) else {
                bail!("pins[{i}]: its slot {} is not in groups: a group is changed as a whole", key.slot());
            };
            ensure!(group.pins.insert(key, owners).is_none(), "pins[{i}]: the space stands twice");
        }
        Ok(Diff::new(groups)?)
    }
}

impl PinDoc {
    fn space_key(&self) -> Result<SpaceKey> {
        match (&self.space, &self.key) {
            (Some(space), None) => Ok(Space::new(space)?.key()),
            (None, Some(key)) => {
                let number = u128::from_str_radix(key, 16).ok().filter(|_| key.len() == 32);
                number.map(SpaceKey::from_u128).context("key: use 32 hexadecimal digits")
            }
            _ => bail!("give the space's name as `space`, or its key as `key`"),
        }
    }
}

impl OwnersDoc {
    pub(crate) fn of(owners: &Owners) -> Self {
        let with = |state| {
            let with_state = owners.replicas().iter().filter(move |replica| replica.state == state);
            with_state.map(|replica| replica.node.to_string()).collect()
        };
        Self {
            primary: owners.primary().to_string(),
            replicas: with(ReplicaState::InSync),
            catching_up: with(ReplicaState::CatchingUp),
        }
    }

    fn parse(&self, is_node: &impl Fn(&NodeId) -> bool) -> Result<Owners> {
        let node = |key: &'static str, id: &str| -> Result<NodeId> {
            let id: NodeId = id.parse().context(key)?;
            ensure!(is_node(&id), "{key}: {id} is no node of this cluster");
            Ok(id)
        };
        let primary = node("primary", &self.primary)?;
        let mut replicas = Vec::new();
        for (key, nodes, state) in [
            ("replicas", &self.replicas, ReplicaState::InSync),
            ("catching_up", &self.catching_up, ReplicaState::CatchingUp),
        ] {
            for id in nodes {
                replicas.push(Replica { node: node(key, id)?, state });
            }
        }
        Ok(Owners::new(primary, replicas)?)
    }
}

/// `0-99,200` for slots in order.
fn ranges(slots: &[u16]) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for slot in slots {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *slot => *last = *slot,
            _ => ranges.push((*slot, *slot)),
        }
    }
    let texts = ranges
        .into_iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    texts.collect::<Vec<_>>().join(",")
}

/// The slots of a text of ranges.
pub(crate) fn slots(ranges: &str) -> Result<Vec<Slot>> {
    let mut slots = Vec::new();
    for range in ranges.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let slot = |text: &str| text.trim().parse().ok().and_then(Slot::new);
        let (Some(first), Some(last)) = (slot(first), slot(last)) else {
            bail!("{range:?} is no range of slots: use numbers from 0 to 16383, like 0-99,200");
        };
        ensure!(first <= last, "{range:?} runs backwards");
        slots.extend((first.number()..=last.number()).filter_map(Slot::new));
        ensure!(slots.len() <= homing::SLOTS, "there are more slots than 16384: one stands twice");
    }
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use homing::routing_table::RoutingTable;

    use super::*;

    fn doc(text: &str) -> Result<Diff> {
        toml::from_str::<TableDoc>(text)?.to_diff()
    }

    #[test]
    fn a_table_survives_its_document() {
        let diff = doc(r#"
            groups = [
                { slots = "0-16383", epoch = 3, primary = "n1", replicas = ["n2"], catching_up = ["n3"] },
            ]
            pins = [{ space = "acme", primary = "n2" }]
            "#)
        .unwrap();
        let table = RoutingTable::new();
        table.apply(&diff).unwrap();
        let document = TableDoc::of(&table.snapshot());
        assert_eq!(document.groups.len(), 1);
        assert_eq!(document.to_diff().unwrap(), diff);
        let json = serde_json::to_string(&document).unwrap();
        assert_eq!(serde_json::from_str::<TableDoc>(&json).unwrap(), document);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            (r#"groups = [{ slots = "5-", epoch = 1, primary = "n1" }]"#, "groups[0].slots"),
            (r#"groups = [{ slots = "5-4", epoch = 1, primary = "n1" }]"#, "backwards"),
            (r#"groups = [{ slots = "16384", epoch = 1, primary = "n1" }]"#, "0 to 16383"),
            (r#"groups = [{ slots = "1,1", epoch = 1, primary = "n1" }]"#, "slot 1 stands twice"),
            (r#"groups = [{ slots = "1", epoch = 0, primary = "n1" }]"#, "epoch 0"),
            (r#"groups = [{ slots = "1", epoch = 1, primary = "N1" }]"#, "primary"),
            (
                r#"groups = [{ slots = "1", epoch = 1, primary = "n1", replicas = ["n1"] }]"#,
                "n1 stands twice",
            ),
            ("groups = []\npins = [{ space = \"acme\", primary = \"n1\" }]", "is not in groups"),
            ("groups = []\npins = [{ primary = \"n1\" }]", "pins[0]: give the space's name"),
        ] {
            let error = format!("{:#}", doc(text).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn no_epoch_is_so_high_that_none_could_follow() {
        let table = |epoch: u64| {
            let text = format!(r#"{{ "groups": [{{ "slots": "1", "epoch": {epoch}, "primary": "n1" }}] }}"#);
            TableDoc::parse(&text).unwrap().to_diff()
        };
        assert!(table((u64::from(RESERVED) << 48) - 1).is_ok());
        for reserved in [u64::from(RESERVED) << 48, u64::MAX] {
            let error = table(reserved).unwrap_err().to_string();
            assert!(error.contains("groups[0].epoch") && error.contains("reserved"), "{error}");
        }
    }

    #[test]
    fn every_owner_is_a_node_of_the_cluster() {
        let table = |groups: &str, pins: &str| {
            let text = format!("groups = [{{ slots = \"0-16383\", epoch = 1, {groups} }}]\npins = [{pins}]");
            let diff = TableDoc::parse(&text).unwrap().to_diff_among(|node| node.as_str() == "n1");
            diff.map_err(|error| format!("{error:#}"))
        };
        assert!(table("primary = \"n1\"", "{ space = \"acme\", primary = \"n1\" }").is_ok());
        for (groups, pins, says) in [
            ("primary = \"n2\"", "", "groups[0]: primary: n2 is no node"),
            ("primary = \"n1\", replicas = [\"n3\"]", "", "groups[0]: replicas: n3 is no node"),
            ("primary = \"n1\", catching_up = [\"n4\"]", "", "groups[0]: catching_up: n4 is no node"),
            ("primary = \"n1\"", "{ space = \"acme\", primary = \"n5\" }", "pins[0]: primary: n5 is no node"),
        ] {
            let error = table(groups, pins).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
