//! The command line. What it says here is what `--help` prints.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use homing::tls::ClusterName;
use homing::{ClientError, IdempotencyKey, NodeId, Space, Wire};

use crate::config::REPLICAS;
use crate::{entry, output};

/// Any node takes any request, and Homing brings it to the node that owns its space.
#[derive(Debug, Parser)]
#[command(name = "homing", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) asked: Asked,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Asked {
    /// The client address of the node to ask, HOST:PORT, or https://HOST:PORT where that has TLS [default: the cluster
    /// of `homing dev`]
    #[arg(long, global = true, env = "HOMING_NODE", value_name = "ADDR", value_parser = address)]
    pub(crate) node: Option<String>,
    /// The CA certificates, as PEM, that vouch for a node at https://HOST:PORT
    #[arg(long, global = true, env = "HOMING_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// How to print the answer
    #[arg(short, long, global = true, env = "HOMING_OUTPUT", value_enum, default_value_t)]
    pub(crate) output: Output,
}

/// How to print an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Table,
    /// For scripts: one stable JSON document
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a local cluster of real processes, with mutual TLS
    Dev(DevArgs),
    /// Run the command of `homing dev`, and end it when that is gone
    #[command(hide = true)]
    Attend(AttendArgs),
    /// Make a CA, certificates and one configuration per node
    Init(InitArgs),
    /// Run one node
    Node(NodeArgs),
    /// Check a configuration and the files it names
    CheckConfig(CheckConfigArgs),
    /// Use the reference service
    Kv(KvArgs),
    /// Show who lives
    Status,
    /// Show who owns what, or give nodes another table
    Table(TableArgs),
    /// Show where a request would go now, and why
    Route(RouteArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// How many nodes
    #[arg(long, env = "HOMING_NODES", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub(crate) nodes: u16,
    /// Over how many zones
    #[arg(long, env = "HOMING_ZONES", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub(crate) zones: u16,
    /// The wire between nodes: quic or grpc [default: quic, if this build has it]; several, separated by commas, are
    /// dealt out in turn
    #[arg(long, env = "HOMING_TRANSPORT", value_delimiter = ',')]
    pub(crate) transport: Vec<Wire>,
    /// Replicas of each space
    #[arg(long, default_value_t = REPLICAS, value_parser = clap::value_parser!(u8).range(0..=7))]
    pub(crate) replicas: u8,
    /// The folder of the cluster; existing data is picked up
    #[arg(long, env = "HOMING_DATA", default_value = "homing-dev", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Run a command against the cluster (with HOMING_NODE set), and end with its status
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AttendArgs {
    /// The pid of `homing dev`
    #[arg(long)]
    pub(crate) parent: i32,
    /// The command
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// How many nodes; each configuration lists them all
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) nodes: u16,
    /// Over how many zones
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) zones: u16,
    /// Where to write; must be empty or new
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// The cluster's name, a DNS name
    #[arg(long, default_value = "homing.local")]
    pub(crate) cluster: ClusterName,
    /// The address of each node, by `{}` for its number; ports 7400, 7401 and 7402 are added [default: 127.0.0.1, with
    /// ports 10 apart]
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// The wire between nodes: quic or grpc [default: quic, if this build has it]
    #[arg(long)]
    pub(crate) transport: Option<Wire>,
    /// For how many days the certificates are valid
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(crate) days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The node's configuration
    #[arg(long, env = "HOMING_CONFIG", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// How to log: as text or JSON
    #[arg(long, env = "HOMING_LOG_FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    /// Overrides listen.client
    #[arg(long, env = "HOMING_CLIENT", value_name = "ADDR")]
    pub(crate) client: Option<SocketAddr>,
    /// Overrides listen.admin
    #[arg(long, env = "HOMING_ADMIN", value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,
    /// Stops when its standard input ends, so that no node outlives `homing dev`
    #[arg(long, hide = true)]
    pub(crate) stop_with_stdin: bool,
}

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct CheckConfigArgs {
    /// The configuration
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct KvArgs {
    #[command(subcommand)]
    pub(crate) command: KvCommand,
    /// By when there must be an answer, in milliseconds
    #[arg(long, global = true, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub(crate) timeout_ms: u64,
}

/// How a read may be served.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// Read at the primary, not at the nearest replica
    #[arg(long)]
    pub(crate) primary: bool,
    /// The oldest answer that will do, in milliseconds: a replica that last heard from its primary longer ago asks it first
    #[arg(long, value_name = "MS", conflicts_with = "primary")]
    pub(crate) max_age_ms: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KvCommand {
    /// Store a value
    Put {
        /// The space
        #[arg(value_parser = Space::new)]
        space: Space,
        /// The key
        key: String,
        /// The value; `-` reads it from standard input
        value: String,
        /// A UUIDv7 that names this write, so that its retry is known [default: a new one]
        #[arg(long, value_name = "UUID")]
        idempotency_key: Option<IdempotencyKey>,
    },
    /// Read a value; exits with 1 if there is none
    Get {
        /// The space
        #[arg(value_parser = Space::new)]
        space: Space,
        /// The key
        key: String,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Delete a value
    Del {
        /// The space
        #[arg(value_parser = Space::new)]
        space: Space,
        /// The key
        key: String,
        /// A UUIDv7 that names this write, so that its retry is known [default: a new one]
        #[arg(long, value_name = "UUID")]
        idempotency_key: Option<IdempotencyKey>,
    },
    /// List keys
    List {
        /// The space
        #[arg(value_parser = Space::new)]
        space: Space,
        /// Only keys that begin with this
        #[arg(default_value = "")]
        prefix: String,
        #[command(flatten)]
        read: ReadArgs,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct TableArgs {
    /// Only what is known of this space
    #[arg(value_parser = Space::new)]
    pub(crate) space: Option<Space>,
    #[command(subcommand)]
    pub(crate) command: Option<TableCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TableCommand {
    /// Give nodes another table: a file as `homing table -o json` prints it, or the same as TOML
    Apply {
        /// The table
        file: PathBuf,
        /// To which nodes, by id
        #[arg(long, required = true, num_args = 1.., value_delimiter = ',', value_name = "NODE")]
        to: Vec<NodeId>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    /// The space
    #[arg(value_parser = Space::new)]
    pub(crate) space: Space,
    /// For a read, at any in-sync replica
    #[arg(long, conflicts_with = "write")]
    pub(crate) read: bool,
    /// For a write, the default
    #[arg(long)]
    pub(crate) write: bool,
}

fn address(text: &str) -> Result<String, ClientError> {
    entry::check(text).map(|()| text.to_owned())
}

/// Prints completions for a shell.
pub(crate) fn completions(shell: clap_complete::Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "homing", &mut script);
    output::say_bytes(&script);
}
