use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use homing::{NodeId, Space};
use http::Method;

use crate::admin::{AppliedAt, SpaceTable};
use crate::cli::{Asked, Output, TableArgs, TableCommand};
use crate::commands::query;
use crate::table_doc::{OwnersDoc, TableDoc, slots};
use crate::{ask, output};

/// `homing table`: who owns what, or give nodes another table.
pub(crate) async fn run(args: TableArgs, asked: &Asked) -> Result<ExitCode> {
    match (args.command, args.space) {
        (Some(TableCommand::Apply { file, to }), _) => return apply(&file, &to, asked).await,
        (None, Some(space)) => show_space(&space, asked).await?,
        (None, None) => show(asked).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(asked: &Asked) -> Result<()> {
    let table: TableDoc = ask::admin(asked, Method::GET, "/table", Vec::new()).await?;
    if asked.output == Output::Json {
        return output::say_json(&table);
    }
    output::say(&format!("version {}, digest {}, {} pins", table.version, table.digest, table.pins.len()));
    output::say("");
    let mut by_owners: Vec<(OwnersDoc, usize, u64)> = Vec::new();
    for groups in table.groups {
        let slots = slots(&groups.slots)?.len();
        match by_owners.iter_mut().find(|(owners, _, _)| *owners == groups.owners) {
            Some((_, number, epoch)) => {
                *number += slots;
                *epoch = groups.epoch.max(*epoch);
            }
            None => by_owners.push((groups.owners, slots, groups.epoch)),
        }
    }
    by_owners.sort();
    let rows = by_owners.into_iter().map(|(owners, slots, epoch)| {
        vec![
            owners.primary,
            owners.replicas.join(" "),
            owners.catching_up.join(" "),
            slots.to_string(),
            epoch.to_string(),
        ]
    });
    output::say_table(&["PRIMARY", "REPLICAS", "CATCHING UP", "SLOTS", "EPOCH"], rows);
    Ok(())
}

async fn show_space(space: &Space, asked: &Asked) -> Result<()> {
    let path = format!("/table?space={}", query(space.as_str()));
    let table: SpaceTable = ask::admin(asked, Method::GET, &path, Vec::new()).await?;
    if asked.output == Output::Json {
        return output::say_json(&table);
    }
    let Some(owners) = table.owners else {
        output::say(&format!("space {}: slot {}, nothing is known of it", table.space, table.slot));
        return Ok(());
    };
    let pinned = if table.pinned { ", pinned" } else { "" };
    output::say(&format!("space {}: slot {}{pinned}, epoch {}", table.space, table.slot, table.epoch));
    output::say(&format!("primary {}, replicas {}", owners.primary, owners.replicas.join(" ")));
    if table.conflict {
        output::say("two contents came with this epoch: writes stop until the group is minted anew");
    }
    Ok(())
}

async fn apply(file: &Path, to: &[NodeId], asked: &Asked) -> Result<ExitCode> {
    let text = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    let table = TableDoc::parse(&text).with_context(|| format!("{} is no table", file.display()))?;
    table.to_diff().with_context(|| format!("{} is no table", file.display()))?;
    let to: Vec<_> = to.iter().map(NodeId::as_str).collect();
    let path = format!("/table?to={}", query(&to.join(",")));
    let applied: AppliedAt = ask::admin(asked, Method::POST, &path, serde_json::to_vec(&table)?).await?;
    let all_took_it =
        applied.nodes.iter().all(|node| node.error.is_none() && node.older == 0 && node.conflicts == 0);
    if asked.output == Output::Json {
        output::say_json(&applied)?;
    } else {
        let rows = applied.nodes.into_iter().map(|node| {
            let numbers =
                [node.changed, node.same, node.older, node.conflicts].map(|number| number.to_string());
            let mut row = vec![node.id];
            row.extend(numbers);
            row.push(node.error.unwrap_or_default());
            row
        });
        output::say_table(&["NODE", "NEW", "KNOWN", "OLDER, REFUSED", "CONFLICTS", "ERROR"], rows);
    }
    Ok(if all_took_it { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
