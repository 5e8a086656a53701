//! `homing node`: one node, from its configuration to its end.

use std::io::Read;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures_util::future::OptionFuture;
use homing::{Mounts, Node, NodeOptions, Peers, StaticAuthority, Upstream};
use homing_kv::{Identity, Kv, REPLICA_PATH, Store};
use serde_json::json;
use tokio::sync::oneshot;

use crate::admin::{self, Admin};
use crate::cli::{CheckConfigArgs, NodeArgs};
use crate::config::{Config, Overrides, Serve};
use crate::signals::Signals;
use crate::start_table::start_table;
use crate::table_file::{Kept, TableFile};
use crate::{logs, output};

/// Runs a node until it is told to stop.
pub(crate) async fn run(args: NodeArgs) -> Result<ExitCode> {
    logs::start(args.log_format);
    let config = Config::load(&args.config, Overrides { client: args.client, admin: args.admin })?;
    let mut stop = Stop::listen(args.stop_with_stdin)?;
    if config.exposed {
        tracing::warn!(
            "listen.insecure: clients or the operator are served without TLS, and others can reach it"
        );
    }
    std::fs::create_dir_all(&config.data)
        .with_context(|| format!("data: can't make the folder {}", config.data.display()))?;

    // Counters bind to the recorder when they are made, so it comes first.
    let metrics = admin::metrics()?;
    let admin_socket = admin::bind(config.admin).await?;
    let admin_address = admin_socket.local_addr()?;
    let drain = config.drain;
    let file = config.file.clone();
    let table_file = TableFile::new(&config.data);
    let renewing = config.certificates.clone().follow(Arc::clone(&config.credentials));
    let renewing_client = config.client_tls.clone().map(|(files, tls)| files.follow(tls));
    let node = start(config, admin_address, &table_file).await?;
    let following = tokio::spawn(table_file.clone().follow(Arc::clone(node.table())));
    let renewing = tokio::spawn(async {
        tokio::join!(renewing, OptionFuture::from(renewing_client));
    });
    tracing::info!(
        id = %node.id(),
        node = node.address(),
        client = node.client_address().map(tracing::field::display),
        admin = %admin_address,
        "ready"
    );

    let admin = Admin::new(node, file, metrics);
    let (stop_admin, admin_stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(admin::serve(admin_socket, Arc::clone(&admin), async {
        let _ = admin_stopped.await;
    }));
    stop.told().await;
    admin.stopping();
    tracing::info!(in_flight = admin.node().in_flight(), "stopping: running requests may finish");
    let code = tokio::select! {
        () = admin.node().shutdown(drain) => ExitCode::SUCCESS,
        () = stop.told() => {
            tracing::warn!("stopped at once, as told again");
            ExitCode::FAILURE
        }
    };
    following.abort();
    renewing.abort();
    // What was learned since it last looked.
    if let Err(error) = table_file.write(admin.node().table()) {
        tracing::error!(%error, "the table can't be written");
    }
    let _ = stop_admin.send(());
    serving.abort();
    Ok(code)
}

/// `homing check-config`: all that can be told without starting.
pub(crate) fn check(args: &CheckConfigArgs) -> Result<()> {
    let config = Config::load(&args.file, Overrides::default())?;
    start_table(&config, &TableFile::new(&config.data))?;
    output::say(&format!("{}: {} of cluster {} is right", args.file.display(), config.id, config.cluster));
    Ok(())
}

async fn start(config: Config, admin: SocketAddr, table_file: &TableFile) -> Result<Node> {
    let Kept { table, conflicts } = start_table(&config, table_file)?;
    let authority = StaticAuthority::new(&table);
    let keeping = table_file.clone();
    let info = json!({
        "id": config.id.as_str(),
        "cluster": config.cluster.as_str(),
        "admin": admin.to_string(),
    });
    let options = NodeOptions {
        id: config.id.clone(),
        nodes: config.nodes.clone(),
        credentials: Arc::clone(&config.credentials),
        listen: config.listen,
        wire: config.wire,
        client_listen: Some(config.client),
        table: vec![table],
        conflicts,
        client_tls: config.client_tls.as_ref().map(|(_, tls)| Arc::clone(tls)),
        authority: Arc::new(authority),
        keep_table: Some(Arc::new(move |table| {
            let path = keeping.path().display();
            keeping.write(table).map_err(|error| format!("can't write {path}: {error}"))
        })),
        info: info.to_string().into_bytes().into(),
        limits: config.limits.clone(),
        client_limits: config.client_limits.clone(),
        pool: config.pool.clone(),
        router: config.router.clone(),
    };
    Ok(Node::start(options, async |peers| mounts(&config, peers).map_err(|error| format!("{error:#}")))
        .await?)
}

fn mounts(config: &Config, peers: Arc<dyn Peers>) -> Result<Mounts> {
    match &config.serve {
        Serve::Upstream { address, dedupes } => {
            let upstream = Upstream::new(address, *dedupes).context("service")?;
            Ok(Mounts { service: Arc::new(upstream), direct: Vec::new() })
        }
        Serve::Kv => {
            let identity = Identity { cluster: config.cluster.to_string(), node: config.id.clone() };
            let store = Store::open(&config.data, &identity).context("data")?;
            let kv = Kv::new(store, config.id.clone(), peers).context("can't start a thread")?;
            let replica = kv.replica();
            Ok(Mounts { service: Arc::new(kv), direct: vec![(REPLICA_PATH, replica)] })
        }
    }
}

/// When to stop: on SIGTERM, ctrl-C, or the end of standard input if that was asked for.
struct Stop {
    signals: Signals,
    stdin: Option<oneshot::Receiver<()>>,
}

impl Stop {
    fn listen(with_stdin: bool) -> Result<Self> {
        Ok(Self { signals: Signals::listen()?, stdin: with_stdin.then(stdin_ends) })
    }

    /// Ends once for each time that the node is told to stop.
    async fn told(&mut self) {
        tokio::select! {
            _ = self.signals.next() => {}
            () = ended(&mut self.stdin) => self.stdin = None,
        }
    }
}

async fn ended(stdin: &mut Option<oneshot::Receiver<()>>) {
    match stdin {
        Some(stdin) => {
            let _ = stdin.await;
        }
        None => std::future::pending().await,
    }
}

/// Whoever started this node holds its standard input open for as long as it lives itself.
fn stdin_ends() -> oneshot::Receiver<()> {
    let (ended, told) = oneshot::channel();
    std::thread::spawn(move || {
        let mut unread = [0; 64];
        while std::io::stdin().read(&mut unread).is_ok_and(|read| read > 0) {}
        let _ = ended.send(());
    });
    told
}
