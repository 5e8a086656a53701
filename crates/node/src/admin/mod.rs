//! The operator's listener: plain HTTP on loopback.

mod answers;
mod guard;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use homing::Node;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

pub(crate) use self::answers::{APPLY_TIMEOUT, AppliedAt, Route, SpaceTable, Status};
use crate::config::ConfigFile;

/// The largest table that can be applied, in bytes of JSON.
const MAX_TABLE: usize = 256 << 20;

/// What the operator's listener answers from.
pub(crate) struct Admin {
    node: Node,
    config: ConfigFile,
    metrics: PrometheusHandle,
    ready: AtomicBool,
}

impl Admin {
    pub(crate) fn new(node: Node, config: ConfigFile, metrics: PrometheusHandle) -> Arc<Self> {
        Arc::new(Self { node, config, metrics, ready: AtomicBool::new(true) })
    }

    pub(crate) const fn node(&self) -> &Node {
        &self.node
    }

    /// The host by which other nodes know this one.
    fn known_as(&self) -> Arc<str> {
        let members = self.node.members();
        let me = members.iter().find(|member| member.id == *self.node.id());
        me.and_then(|me| me.address.rsplit_once(':')).map_or("localhost", |(host, _)| host).into()
    }

    /// From here on `/ready` says no, so that load balancers stop sending.
    pub(crate) fn stopping(&self) {
        self.ready.store(false, Ordering::Relaxed);
    }
}

/// Records metrics from here on. To be called before anything that counts is made.
pub(crate) fn metrics() -> Result<PrometheusHandle> {
    PrometheusBuilder::new().install_recorder().context("can't record metrics")
}

/// Binds the operator's address.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen.admin: can't listen on {address}"))
}

/// Serves the operator until `stopped` ends.
pub(crate) async fn serve(
    listener: TcpListener,
    admin: Arc<Admin>,
    stopped: impl Future<Output = ()> + Send + 'static,
) {
    let routes = Router::new()
        .route("/live", get(answers::live))
        .route("/ready", get(answers::ready))
        .route("/metrics", get(answers::metrics))
        .route("/config", get(answers::config))
        .route("/status", get(answers::status))
        .route("/route", get(answers::route))
        .route("/table", get(answers::table).layer(DefaultBodyLimit::max(MAX_TABLE)))
        .route("/table", post(answers::apply).layer(DefaultBodyLimit::max(MAX_TABLE)))
        .layer(middleware::from_fn_with_state(admin.known_as(), guard::guard))
        .with_state(admin);
    if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the admin listener failed");
    }
}
