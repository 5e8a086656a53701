//! TLS at the client listener: who is let in, what they are shown, and how it is renewed.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use homing::ca::{CertificateAuthority, Validity};
use homing::tls::Roots;
use homing::{Body, Client, NODE_INFO_PATH};
use http::{Request, Version};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Cluster, Kv, Layout, Process, assert_says, homing, output, said, usage};

const WIRE: &str = if cfg!(feature = "grpc") { "grpc" } else { "quic" };

/// The longest that anything here may take.
const SOON: Duration = Duration::from_secs(20);

/// A node whose client listener has TLS, and the CA that vouches for it.
struct Secure {
    cluster: Cluster,
    ca: CertificateAuthority,
}

impl Secure {
    /// Makes its files, and starts nothing.
    fn prepare() -> Self {
        let edit = |_, config: &mut toml::Table| {
            let listen = config["listen"].as_table_mut().unwrap();
            listen.insert("certificate".to_owned(), "client.pem".into());
            listen.insert("key".to_owned(), "client.key".into());
        };
        let cluster = Cluster::prepare(Layout { nodes: 1, edit, ..Layout::five(WIRE) });
        let secure = Self { cluster, ca: authority() };
        secure.renew();
        std::fs::write(secure.file("clients-ca.pem"), secure.ca.certificate_pem()).unwrap();
        secure
    }

    async fn start() -> Self {
        let mut secure = Self::prepare();
        secure.cluster.nodes[0].start();
        secure.node().logs("ready id=").await;
        secure
    }

    fn node(&self) -> &Process {
        &self.cluster.nodes[0]
    }

    fn address(&self) -> String {
        format!("https://{}", self.node().client)
    }

    /// A file beside the configuration.
    fn file(&self, name: &str) -> PathBuf {
        self.node().config.with_file_name(name)
    }

    fn ca_file(&self) -> String {
        self.file("clients-ca.pem").to_str().unwrap().to_owned()
    }

    /// Makes the node a certificate.
    fn renew(&self) {
        let host = self.node().client.rsplit_once(':').unwrap().0;
        let issued = self.ca.issue_for_names(vec![host.to_owned()], for_a_day()).unwrap();
        std::fs::write(self.file("client.pem"), issued.certificate_pem).unwrap();
        std::fs::write(self.file("client.key"), issued.key_pem).unwrap();
    }

    fn client(&self) -> Client {
        Client::with_tls(&self.address(), &self.roots()).unwrap()
    }

    fn roots(&self) -> Roots {
        Roots::from_pem(self.ca.certificate_pem().as_bytes()).unwrap()
    }

    /// Runs the binary against the node, with the CA, to its end.
    fn asks(&self, arguments: &[&str]) -> Vec<u8> {
        let ended = output(&[arguments, &["--node", &self.address(), "--ca", &self.ca_file()]].concat());
        assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
        ended.stdout
    }
}

/// A connection on which the two sides have agreed what to speak.
struct Spoken(TlsStream<TcpStream>);

impl Spoken {
    async fn connect(secure: &Secure, alpn: &[u8]) -> std::io::Result<Self> {
        let connector = TlsConnector::from(Arc::new(secure.roots().client_config(alpn).unwrap()));
        let tcp = TcpStream::connect(&secure.node().client).await.unwrap();
        let host = tcp.peer_addr().unwrap().ip();
        let connecting = connector.connect(host.into(), tcp);
        tokio::time::timeout(SOON, connecting).await.expect("the handshake hangs").map(Self)
    }

    fn agreed(&self) -> &[u8] {
        self.0.get_ref().1.alpn_protocol().unwrap()
    }

    /// The certificate that the node has shown.
    fn shown(&self) -> Vec<u8> {
        self.0.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    /// Asks over HTTP/1.1 who the node is.
    async fn who(&mut self) -> String {
        let asks = format!("GET {NODE_INFO_PATH} HTTP/1.1\r\nhost: node\r\n\r\n");
        self.0.write_all(asks.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let reading = async {
            while !answer.ends_with(b"}") {
                assert!(self.0.read_buf(&mut answer).await.unwrap() > 0, "it was closed");
            }
        };
        tokio::time::timeout(SOON, reading).await.expect("no answer");
        String::from_utf8(answer).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_work_over_tls_with_the_ca() {
    let secure = Secure::start().await;
    secure.asks(&["kv", "put", "acme", "greeting", "hello"]);
    assert_eq!(secure.asks(&["kv", "get", "acme", "greeting"]), b"hello\n");
    // By way of the client listener to the admin listener, which has no TLS.
    let status: Value = serde_json::from_slice(&secure.asks(&["status", "-o", "json"])).unwrap();
    assert_eq!(status["nodes"][0]["state"], "alive");
    let mut by_environment = homing();
    by_environment.env("HOMING_NODE", secure.address()).env("HOMING_CA", secure.ca_file());
    let ended = by_environment.args(["kv", "get", "acme", "greeting"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(ended.stdout, b"hello\n", "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(!secure.node().log().contains("insecure"), "{}", secure.node().log());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_vouched_for_is_not_asked() {
    let secure = Secure::start().await;
    let address = secure.address();
    let other = secure.file("other-ca.pem");
    std::fs::write(&other, authority().certificate_pem()).unwrap();
    let other = other.to_str().unwrap();
    for command in [["kv", "get", "acme", "key"].as_slice(), &["status"]] {
        let says = usage(&[command, &["--node", &address]].concat());
        assert_says(&says, &[&address, "--ca FILE"]);
        let says = said(&[command, &["--node", &address, "--ca", other]].concat());
        assert_says(&says, &[&address, "can't be trusted", "it does not come from this CA"]);
        let says = said(&[command, &["--node", &address, "--ca", "nowhere.pem"]].concat());
        assert_says(&says, &["--ca", "can't read nowhere.pem"]);
        let key = secure.file("client.key");
        let says = said(&[command, &["--node", &address, "--ca", key.to_str().unwrap()]].concat());
        assert_says(&says, &["--ca", "client.key", "BEGIN CERTIFICATE"]);
        // The admin listener has no TLS.
        let plain = format!("https://{}", secure.node().admin);
        let says = said(&[command, &["--node", &plain, "--ca", &secure.ca_file()]].concat());
        assert_says(&says, &[&plain, "speaks no TLS"]);
    }
    // The CA's word is for another host.
    let host = secure.node().client.rsplit_once(':').unwrap().0;
    let issued = secure.ca.issue_for_names(vec!["127.0.0.1".to_owned()], for_a_day()).unwrap();
    std::fs::write(secure.file("client.pem"), issued.certificate_pem).unwrap();
    std::fs::write(secure.file("client.key"), issued.key_pem).unwrap();
    secure.node().logs("listen: the new certificates are in use").await;
    let says = said(&["status", "--node", &address, "--ca", &secure.ca_file()]);
    assert_says(&says, &["can't be trusted", host]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_no_tls_is_refused_and_harms_nobody() {
    let secure = Secure::start().await;
    let plain = &secure.node().client;
    for command in [["kv", "put", "acme", "key", "secret"].as_slice(), &["status"]] {
        let says = said(&[command, &["--node", plain]].concat());
        assert_says(
            &says,
            &[plain, "broke off", &format!("if it has TLS, name it with --node {}", secure.address())],
        );
    }
    let mut http = TcpStream::connect(plain).await.unwrap();
    http.write_all(format!("GET {NODE_INFO_PATH} HTTP/1.1\r\nhost: node\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // It may be reset, too: the node does not read what it can't understand.
    let _ = tokio::time::timeout(SOON, http.read_to_end(&mut answer)).await.expect("it is left open");
    assert!(!answer.windows(4).any(|part| part == b"HTTP"), "{answer:?}");

    let kv = Kv::with_client(secure.client());
    assert_eq!(kv.get("acme", "key").await.unwrap().value, None);
    assert!(!secure.node().log().contains("WARN"), "{}", secure.node().log());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_are_agreed_on() {
    let secure = Secure::start().await;
    let mut old = Spoken::connect(&secure, b"http/1.1").await.unwrap();
    assert_eq!(old.agreed(), b"http/1.1");
    let answer = old.who().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_says(&answer, &["\"id\":\"n1\""]);

    assert_eq!(Spoken::connect(&secure, b"h2").await.unwrap().agreed(), b"h2");
    let asks = Request::get(NODE_INFO_PATH).body(Body::empty()).unwrap();
    let answer = secure.client().send(asks).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    let info: Value =
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(info["id"], "n1");

    assert!(Spoken::connect(&secure, b"spdy/3").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_and_connections_stand() {
    let secure = Secure::start().await;
    let mut standing = Spoken::connect(&secure, b"http/1.1").await.unwrap();
    standing.who().await;
    let first = standing.shown();

    secure.renew();
    secure.node().logs("listen: the new certificates are in use").await;
    let second = Spoken::connect(&secure, b"h2").await.unwrap().shown();
    assert_ne!(second, first);
    assert_says(&standing.who().await, &["\"id\":\"n1\""]);

    std::fs::write(secure.file("client.pem"), "half a fi").unwrap();
    secure.node().logs("listen: the new certificates can't be used").await;
    assert_eq!(Spoken::connect(&secure, b"h2").await.unwrap().shown(), second);
    assert_says(&standing.who().await, &["\"id\":\"n1\""]);
}

/// What `check-config` says of a changed `[listen]`; `None` if that is right.
fn wrong(secure: &Secure, edit: impl FnOnce(&mut toml::Table)) -> Option<String> {
    let mut file: toml::Table =
        toml::from_str(&std::fs::read_to_string(&secure.node().config).unwrap()).unwrap();
    edit(file["listen"].as_table_mut().unwrap());
    let changed = secure.file("changed.toml");
    std::fs::write(&changed, toml::to_string(&file).unwrap()).unwrap();
    let arguments = ["check-config", changed.to_str().unwrap()];
    if output(&arguments).status.success() { None } else { Some(said(&arguments)) }
}

#[test]
fn a_wrong_certificate_for_clients_is_named_with_its_remedy() {
    let secure = Secure::prepare();
    assert_eq!(wrong(&secure, |_| {}), None);
    for (gone, stays) in [("key", "certificate"), ("certificate", "key")] {
        let says = wrong(&secure, |listen| drop(listen.remove(gone))).unwrap();
        assert_says(&says, &[&format!("listen.{stays} is set and listen.{gone} is not"), "set both"]);
    }
    let says = |key: &str, value: &str| {
        wrong(&secure, |listen| drop(listen.insert(key.to_owned(), value.into()))).unwrap()
    };
    for key in ["certificate", "key"] {
        assert_says(&says(key, "nowhere.pem"), &[&format!("listen.{key}: can't read"), "nowhere.pem"]);
    }
    assert_says(&says("certificate", "client.key"), &["listen.certificate: ", "BEGIN CERTIFICATE"]);
    assert_says(&says("key", "client.pem"), &["listen.key: ", "can't be read as PEM"]);
    assert_says(
        &says("key", "n1.key"),
        &["listen.certificate and listen.key", "the key is not the certificate's"],
    );
    let day = Duration::from_secs(24 * 60 * 60);
    let past = Validity { from: for_a_day().from - day, until: for_a_day().from };
    let expired = secure.ca.issue_for_names(vec!["127.0.0.1".to_owned()], past).unwrap();
    std::fs::write(secure.file("expired.pem"), expired.certificate_pem).unwrap();
    assert_says(&says("certificate", "expired.pem"), &["listen.certificate: ", "it has expired", "renew it"]);
}

#[test]
fn with_tls_clients_may_come_from_anywhere_and_the_operator_may_not() {
    let secure = Secure::prepare();
    let anywhere = |key: &'static str| {
        move |listen: &mut toml::Table| {
            listen.insert(key.to_owned(), "0.0.0.0:7401".into());
        }
    };
    assert_eq!(wrong(&secure, anywhere("client")), None);
    assert_says(&wrong(&secure, anywhere("admin")).unwrap(), &["listen.admin", "insecure = true"]);
    let says = wrong(&secure, |listen| {
        anywhere("client")(listen);
        listen.remove("certificate");
        listen.remove("key");
    });
    assert_says(&says.unwrap(), &["listen.client", "listen.certificate and listen.key", "insecure = true"]);
}

fn authority() -> CertificateAuthority {
    CertificateAuthority::create("clients.example".parse().unwrap(), for_a_day()).unwrap()
}

fn for_a_day() -> Validity {
    let day = Duration::from_secs(24 * 60 * 60);
    #[allow(clippy::disallowed_methods, reason = "certificates are valid by the wall clock")]
    let now = SystemTime::now();
    Validity { from: now - day, until: now + day }
}
