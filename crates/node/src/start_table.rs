//! The table that a node starts with.
//!
//! **What a node kept is its table.** What the configuration gives, placed from its nodes or read from a file, is all
//! there is where nothing was kept yet; afterwards it only adds groups of a higher epoch. Where it gives other owners
//! under an epoch that was kept, the node does not start: an epoch is minted once, and of two nodes that took its owners
//! from one or the other, both would be primary under it. So neither an edited list of nodes nor a version that places
//! otherwise moves an owner silently; `table.source = "none"` goes on with what was kept, whatever would be placed now.
//!
//! A node that kept nothing can't tell. One that joins a cluster with tables of its own, or comes back without its data,
//! must be given `table.source = "none"` and learns from the others.

use anyhow::{Context, Result, bail};
use homing::routing_table::{Diff, RoutingTable};
use homing::{Epoch, Slot, placement};

use crate::config::{Config, TableSource};
use crate::table_doc::TableDoc;
use crate::table_file::{Kept, TableFile};

/// The epoch of a table that every node computes for itself. A table that the operator applies has a higher one.
const FIRST_EPOCH: Epoch = Epoch::new(1);

/// The table that a node starts with. It may be empty: then the node learns from its peers. Changes nothing.
pub(crate) fn start_table(config: &Config, file: &TableFile) -> Result<Kept> {
    let kept = file.read()?.unwrap_or_default();
    let (slot, epoch, others) = match join(&kept, &given(config)?)? {
        Joined::Whole(whole) => return Ok(whole),
        Joined::Contradiction { slot, epoch, others: 0 } => (slot, epoch, String::new()),
        Joined::Contradiction { slot, epoch, others } => (slot, epoch, format!(" and {others} more")),
    };
    let kept = file.path().display();
    match &config.table {
        TableSource::File(path) => bail!(
            "table.source: {} gives slot {slot}{others} other owners than {kept} does, under the same epoch {epoch}: \
             give them a higher epoch, or set table.source = \"none\" to go on with what was kept",
            path.display()
        ),
        _ => bail!(
            "nodes: placed now, slot {slot}{others} would have other owners than in {kept}, under the same epoch {epoch}: \
             restore nodes and table.replicas as they were; or set table.source = \"none\" on every node to go on with \
             what was kept, and give spaces other owners with `homing table apply`"
        ),
    }
}

/// The table that the configuration gives.
fn given(config: &Config) -> Result<Diff> {
    match &config.table {
        TableSource::None => Ok(Diff::default()),
        TableSource::File(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("table.source: can't read {}", path.display()))?;
            TableDoc::parse(&text)
                .and_then(|table| table.to_diff_among(|id| config.nodes.iter().any(|node| node.id == *id)))
                .with_context(|| format!("table.source: {} is no table", path.display()))
        }
        TableSource::Placement { replicas } => {
            let members: Vec<_> = config
                .nodes
                .iter()
                .map(|node| placement::Member {
                    node: node.id.clone(),
                    locality: node.locality.clone(),
                    weight: node.weight,
                })
                .collect();
            let goal = placement::Goal { replicas: *replicas };
            placement::place(&members, goal, &RoutingTable::new().snapshot(), |_| FIRST_EPOCH)
                .context("the nodes can't be given their spaces")
        }
    }
}

/// Two tables as one.
#[derive(Debug, PartialEq, Eq)]
enum Joined {
    Whole(Kept),
    /// They give a slot, and so many others, different owners under one epoch.
    Contradiction {
        slot: Slot,
        epoch: Epoch,
        others: usize,
    },
}

fn join(kept: &Kept, given: &Diff) -> Result<Joined> {
    let table = RoutingTable::new();
    table.apply(&kept.table).context("the table that was kept")?;
    table.mark_conflicts(&kept.conflicts);
    let applied = table.apply(given).context("the table of the configuration")?;
    let snapshot = table.snapshot();
    Ok(match applied.conflicts.as_slice() {
        [] => Joined::Whole(Kept::of(&snapshot)),
        [slot, others @ ..] => {
            Joined::Contradiction { slot: *slot, epoch: snapshot.epoch(*slot), others: others.len() }
        }
    })
}

#[cfg(test)]
mod tests {
    use homing::Owners;
    use homing::routing_table::Group;

    use super::*;

    fn alone(groups: &[(u16, u64, &str)]) -> Kept {
        let groups = groups.iter().map(|(slot, epoch, primary)| {
            let owners = Owners::new(primary.parse().unwrap(), Vec::new()).unwrap();
            (Slot::new(*slot).unwrap(), Group::new(Epoch::new(*epoch), owners))
        });
        Kept { table: Diff::new(groups).unwrap(), conflicts: Vec::new() }
    }

    #[test]
    fn what_was_kept_goes_before_what_is_given_unless_its_epoch_is_lower() {
        // Two slots were in conflict, and one of them has a higher epoch now.
        let conflicts = [1, 2].map(|slot| Slot::new(slot).unwrap());
        let kept =
            Kept { conflicts: conflicts.to_vec(), ..alone(&[(0, 1, "n1"), (1, 2, "n1"), (2, 3, "n1")]) };
        let given = alone(&[(0, 1, "n1"), (1, 1, "n2"), (2, 4, "n2"), (3, 1, "n2")]);
        let whole = alone(&[(0, 1, "n1"), (1, 2, "n1"), (2, 4, "n2"), (3, 1, "n2")]);
        let whole = Kept { conflicts: conflicts[..1].to_vec(), ..whole };
        assert_eq!(join(&kept, &given.table).unwrap(), Joined::Whole(whole));
        assert_eq!(join(&Kept::default(), &given.table).unwrap(), Joined::Whole(given));
        assert_eq!(join(&kept, &Diff::default()).unwrap(), Joined::Whole(kept));
    }

    #[test]
    fn other_owners_under_the_same_epoch_are_a_contradiction() {
        let kept = alone(&[(0, 1, "n1"), (5, 1, "n1"), (7, 1, "n1")]);
        let given = alone(&[(0, 1, "n1"), (5, 1, "n2"), (7, 1, "n2")]);
        let (slot, epoch) = (Slot::new(5).unwrap(), Epoch::new(1));
        assert_eq!(join(&kept, &given.table).unwrap(), Joined::Contradiction { slot, epoch, others: 1 });
    }
}
