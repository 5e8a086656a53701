//! `homing init`: a CA, certificates and one configuration per node.

mod files;
mod plan;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use homing::ca::CertificateAuthority;
use homing::{NodeId, WIRES};

pub(crate) use self::files::{read_ca, validity, write_ca, write_certificate, write_config};
pub(crate) use self::plan::{Addresses, Plan, PlannedNode};

use crate::Usage;
use crate::cli::InitArgs;
use crate::config::REPLICAS;
use crate::output;

/// How many days the CA outlives the certificates it signs first, so that new ones can follow them.
pub(crate) const CA_DAYS: u32 = 3_650;

/// Makes the files of a cluster in a new or empty folder.
pub(crate) fn run(args: &InitArgs) -> Result<()> {
    let plan = plan(args)?;
    make_empty(&args.out)?;
    let ca = CertificateAuthority::create(plan.cluster.clone(), validity(args.days.saturating_add(CA_DAYS)))?;
    write_ca(&args.out, &ca)?;
    for node in &plan.nodes {
        write_certificate(&args.out, &ca, &node.id, args.days)?;
        write_config(&args.out, &plan, node)?;
    }
    tell(args, &plan);
    Ok(())
}

fn plan(args: &InitArgs) -> Result<Plan> {
    let wire = args.transport.unwrap_or(WIRES[0]);
    let addresses = addresses(args)?;
    Ok(Plan {
        cluster: args.cluster.clone(),
        replicas: REPLICAS.into(),
        source: "placement",
        data: "data",
        nodes: PlannedNode::deal(addresses, args.zones, &[wire])?,
    })
}

fn addresses(args: &InitArgs) -> Result<Vec<Addresses>> {
    let Some(pattern) = &args.host else {
        return Ok((0..args.nodes).map(Addresses::local).collect());
    };
    if args.nodes > 1 && !pattern.contains("{}") {
        bail!(Usage(format!(
            "--host: {pattern:?} gives every node one address: put {{}} where its number belongs, like 10.0.0.{{}}"
        )));
    }
    (1..=args.nodes).map(|number| Ok(Addresses::on_host(&host(pattern, number)?))).collect()
}

/// The host of a node, as it stands before a port.
fn host(pattern: &str, number: u16) -> Result<String> {
    let host = pattern.replace("{}", &number.to_string());
    match host.parse() {
        Ok(IpAddr::V4(_)) => Ok(host),
        Ok(IpAddr::V6(_)) => Ok(format!("[{host}]")),
        Err(_) if is_dns_name(&host) => Ok(host),
        Err(_) => bail!(Usage(format!(
            "--host: {host:?} is no host: use an IP address or a DNS name in lower case, without a port"
        ))),
    }
}

/// What ends in a number is an IP address with a slip in it, like `10.0.0.256`.
fn is_dns_name(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    host.split('.').all(|label| NodeId::new(label).is_ok()) && !last.bytes().all(|b| b.is_ascii_digit())
}

/// Makes the folder. One that holds something is not touched: it may be a cluster whose CA must not be lost.
fn make_empty(folder: &Path) -> Result<()> {
    let holds_something = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(|| format!("--out: can't read {}", folder.display())),
    };
    ensure!(!holds_something, "--out: {} is not empty: choose a new folder", folder.display());
    fs::create_dir_all(folder).with_context(|| format!("--out: can't make {}", folder.display()))
}

fn tell(args: &InitArgs, plan: &Plan) {
    let folder = args.out.display();
    output::say(&format!("made the CA, {} certificates and configurations in {folder}", plan.nodes.len()));
    if args.host.is_none() {
        output::say(&format!("start each node: homing node --config {folder}/n1.toml"));
    } else {
        output::say("take ca.pem, n1.pem, n1.key and n1.toml to the host of n1, and so on");
        output::say("start each node there: homing node --config n1.toml");
    }
    output::say(&format!("keep {folder}/ca.key to yourself: who has it can become any node"));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Config, Overrides};

    fn args(out: PathBuf) -> InitArgs {
        InitArgs {
            nodes: 3,
            zones: 2,
            out,
            cluster: "prod.example".parse().unwrap(),
            host: None,
            transport: None,
            days: 365,
        }
    }

    #[test]
    fn each_configuration_that_was_made_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new");
        run(&args(out.clone())).unwrap();
        for number in 1..=3_u16 {
            let config = Config::load(&out.join(format!("n{number}.toml")), Overrides::default()).unwrap();
            assert_eq!(config.id.as_str(), format!("n{number}"));
            assert_eq!(config.client.to_string(), format!("127.0.0.1:74{}1", number - 1));
            assert_eq!(config.data, out.join(format!("data/n{number}")));
            let zones: Vec<_> =
                config.nodes.iter().map(|node| node.locality.zone.clone().unwrap().to_string()).collect();
            assert_eq!(zones, ["a", "b", "a"]);
        }
    }

    #[test]
    fn only_its_owner_reads_a_key() {
        let folder = tempfile::tempdir().unwrap();
        run(&args(folder.path().to_owned())).unwrap();
        for key in ["ca.key", "n1.key", "n3.key"] {
            let mode = fs::metadata(folder.path().join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn a_folder_that_holds_something_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.key"), "precious").unwrap();
        let error = run(&args(folder.path().to_owned())).unwrap_err().to_string();
        assert!(error.contains("is not empty"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn with_hosts_all_nodes_have_the_same_ports() {
        for (pattern, address, listens_on) in [
            ("10.0.0.{}", "10.0.0.2:7400", "10.0.0.2:7400"),
            ("fd00::{}", "[fd00::2]:7400", "[fd00::2]:7400"),
            ("node-{}.example", "node-2.example:7400", "0.0.0.0:7400"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let host = Some(pattern.to_owned());
            run(&InitArgs { host, ..args(folder.path().to_owned()) }).unwrap();
            let config = Config::load(&folder.path().join("n2.toml"), Overrides::default()).unwrap();
            assert_eq!(config.nodes[1].address, address);
            assert_eq!(config.listen.to_string(), listens_on);
            assert_eq!(config.client.to_string(), "127.0.0.1:7401");
            assert_eq!(config.admin.to_string(), "127.0.0.1:7402");
        }
    }

    #[test]
    fn a_host_is_an_address_or_a_name_and_differs_from_node_to_node() {
        for wrong in ["", "10.0.0.1", "10.0.0.{}:7400", "http://n{}", "10.0.0.25{}0", "n{}_", "n {}"] {
            let folder = tempfile::tempdir().unwrap();
            let host = Some(wrong.to_owned());
            let error = run(&InitArgs { host, ..args(folder.path().to_owned()) }).unwrap_err();
            assert!(error.is::<Usage>() && error.to_string().starts_with("--host: "), "{wrong}: {error}");
        }
    }
}
