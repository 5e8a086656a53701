use anyhow::Result;
use http::Method;

use crate::admin::Status;
use crate::cli::{Asked, Output};
use crate::{ask, output};

/// `homing status`: who lives, as the node that is asked sees it.
pub(crate) async fn run(asked: &Asked) -> Result<()> {
    let status: Status = ask::admin(asked, Method::GET, "/status", Vec::new()).await?;
    if asked.output == Output::Json {
        return output::say_json(&status);
    }
    output::say(&format!("table version {}, digest {}", status.table_version, status.digest));
    output::say("");
    let rows = status.nodes.into_iter().map(|node| vec![node.id, node.zone.unwrap_or_default(), node.state]);
    output::say_table(&["NODE", "ZONE", "STATE"], rows);
    Ok(())
}
