use std::time::Duration;

use anyhow::Result;
use homing::Access;
use http::Method;

use crate::admin::Route;
use crate::cli::{Asked, Output, RouteArgs};
use crate::commands::query;
use crate::{ask, output};

/// `homing route`: where a request would go now, and why.
pub(crate) async fn run(args: RouteArgs, asked: &Asked) -> Result<()> {
    let access = if args.read { Access::Read } else { Access::Write };
    let path = format!("/route?space={}&access={access}", query(args.space.as_str()));
    let route: Route = ask::admin(asked, Method::GET, &path, Vec::new()).await?;
    if asked.output == Output::Json {
        return output::say_json(&route);
    }
    let pinned = if route.pinned { ", pinned" } else { "" };
    output::say(&format!("space {}: slot {}{pinned}, epoch {}", route.space, route.slot, route.epoch));
    let primary = route.primary.unwrap_or_else(|| "unknown".to_owned());
    output::say(&format!("primary {primary}, replicas {}", route.replicas.join(" ")));
    output::say("");
    let rows = route.plan.into_iter().enumerate().map(|(i, placed)| {
        let latency = placed.latency_us.map(|us| format!("{:.1?}", Duration::from_micros(us)));
        vec![
            (i + 1).to_string(),
            placed.node,
            placed.tier,
            latency.unwrap_or_else(|| "unknown".to_owned()),
            placed.in_flight.to_string(),
            placed.breaker,
            placed.why,
        ]
    });
    output::say_table(&["TRY", "NODE", "TIER", "LATENCY", "IN FLIGHT", "BREAKER", "WHY"], rows);
    Ok(())
}
