use std::time::SystemTime;

use rustls::{ClientConnection, ServerConnection};

use super::*;
use crate::ca::{CertificateAuthority, Issued, Validity};

const YEAR: u64 = 31_556_952;

/// 2026.
const NOW: Duration = Duration::from_secs(56 * YEAR);

#[test]
fn a_nodes_own_certificate_is_good() {
    let ca = authority("prod.example");
    let credentials = read(&ca, &ca.issue(&id("n1"), valid()).unwrap()).unwrap();
    assert_eq!(credentials.peer(Some(&credentials.current.now().own.as_ref().unwrap().cert)), Ok(id("n1")));
    assert_eq!(format!("{credentials:?}"), "Credentials(n1.prod.example)");
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let ca = authority("prod.example");
    for (validity, why) in [(years(50, 51), "it has expired"), (years(60, 61), "it is not valid yet")] {
        let error = read(&ca, &ca.issue(&id("n1"), validity).unwrap()).unwrap_err();
        assert_eq!(error, CredentialsError::NotValid { node: id("n1"), why: why.to_owned() });
    }
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let foreign = authority("prod.example").issue(&id("n1"), valid()).unwrap();
    let error = read(&authority("prod.example"), &foreign).unwrap_err();
    let why = "it does not come from this CA".to_owned();
    assert_eq!(error, CredentialsError::NotValid { node: id("n1"), why });
}

#[test]
fn the_certificate_of_another_node_is_refused() {
    let ca = authority("prod.example");
    let error = read(&ca, &ca.issue(&id("n2"), valid()).unwrap()).unwrap_err();
    assert_eq!(error, CredentialsError::OtherNode { wanted: id("n1"), found: id("n2") });
}

#[test]
fn a_certificate_names_exactly_one_node_of_the_cluster() {
    let ca = authority("prod.example");
    let wrong: [&[&str]; 11] = [
        &[],
        &["n1.prod.example", "n2.prod.example"],
        &["n1.prod.example", "n1.prod.example"],
        &["n1.prod.example", "127.0.0.1"],
        &["127.0.0.1"],
        &["*.prod.example"],
        &["n1.other.example"],
        &["n1.evilprod.example"],
        &["n1.prod.example.evil"],
        &["a.n1.prod.example"],
        &["prod.example"],
    ];
    for names in wrong {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let error = read(&ca, &ca.issue_for_names(names.clone(), valid()).unwrap()).unwrap_err();
        assert!(matches!(error, CredentialsError::NotOneNode { .. }), "{names:?}: {error}");
        assert!(error.to_string().ends_with("it must have one DNS name, <node-id>.prod.example"), "{error}");
    }
}

#[test]
fn a_peer_without_a_certificate_is_nobody() {
    let ca = authority("prod.example");
    let credentials = read(&ca, &ca.issue(&id("n1"), valid()).unwrap()).unwrap();
    for chain in [None, Some(&[][..])] {
        assert!(matches!(credentials.peer(chain), Err(CredentialsError::NotOneNode { .. })));
    }
}

#[test]
fn a_key_must_fit_its_certificate() {
    let ca = authority("prod.example");
    let [one, other] = [(), ()].map(|()| ca.issue(&id("n1"), valid()).unwrap());
    let mixed = Issued { certificate_pem: one.certificate_pem, key_pem: other.key_pem };
    assert!(matches!(read(&ca, &mixed), Err(CredentialsError::Refused { .. })));
}

#[test]
fn an_error_names_the_text_at_fault_in_one_line() {
    let ca = authority("prod.example");
    let good = ca.issue(&id("n1"), valid()).unwrap();
    let (ca, certificate, key) = (ca.certificate_pem(), &*good.certificate_pem, &*good.key_pem);
    let broken = certificate.replacen("MII", "!!!", 1);
    let cases = [
        ("", certificate, key, "the CA holds no certificate"),
        (ca, key, key, "the certificate holds no certificate"),
        (ca, &*broken, key, "the certificate can't be read as PEM"),
        (ca, certificate, certificate, "the key can't be read as PEM"),
    ];
    for (ca, certificate, key, expected) in cases {
        let cluster = "prod.example".parse().unwrap();
        let (ca, certificate, key) = (ca.as_bytes(), certificate.as_bytes(), key.as_bytes());
        let error = Credentials::from_pem(cluster, id("n1"), ca, certificate, key, NOW).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
}

#[test]
fn a_handshake_tells_both_sides_who_the_other_is_and_leaves_nothing_to_resume() {
    let ca = authority("prod.example");
    let n1 = read(&ca, &ca.issue(&id("n1"), valid()).unwrap()).unwrap();
    let n2 = of(&ca, "n2", &ca.issue(&id("n2"), valid()).unwrap()).unwrap();
    for _ in 0..2 {
        let (client, server) = handshake(&n1, &n2).unwrap();
        assert_eq!(n1.peer(client.peer_certificates()), Ok(id("n2")));
        assert_eq!(n2.peer(server.peer_certificates()), Ok(id("n1")));
        assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(client.tls13_tickets_received(), 0);
    }
}

#[test]
fn a_handshake_refuses_a_foreign_certificate_in_both_directions() {
    let (ca, foreign) = (authority("prod.example"), authority("prod.example"));
    let member = read(&ca, &ca.issue(&id("n1"), valid()).unwrap()).unwrap();
    let issued = foreign.issue(&id("n1"), valid()).unwrap();
    let trusting = Credentials::unchecked(
        "prod.example".parse().unwrap(),
        id("n1"),
        ca.certificate_pem().as_bytes(),
        issued.certificate_pem.as_bytes(),
        issued.key_pem.as_bytes(),
    );
    let stranger = trusting.unwrap();
    assert!(handshake(&member, &member).is_ok());
    assert!(handshake(&stranger, &member).is_err());
    assert!(handshake(&member, &stranger).is_err());
}

#[test]
fn a_cluster_is_a_dns_name_with_room_for_a_node() {
    for good in ["a", "prod.example", "eu-1.prod.example", &["x"; 90].join(".")] {
        assert!(good.parse::<ClusterName>().is_ok(), "{good}");
    }
    for wrong in ["", ".", "a.", ".a", "a..b", "A.b", "a_b", "*.a", &["x"; 91].join(".")] {
        assert!(wrong.parse::<ClusterName>().is_err(), "{wrong}");
    }
}

fn id(id: &str) -> NodeId {
    NodeId::new(id).unwrap()
}

/// From one year after 1970 to another.
fn years(from: u64, until: u64) -> Validity {
    let at = |years| SystemTime::UNIX_EPOCH + Duration::from_secs(years * YEAR);
    Validity { from: at(from), until: at(until) }
}

fn valid() -> Validity {
    years(50, 150)
}

fn authority(cluster: &str) -> CertificateAuthority {
    CertificateAuthority::create(cluster.parse().unwrap(), valid()).unwrap()
}

/// The credentials of `n1`, checked.
fn read(ca: &CertificateAuthority, issued: &Issued) -> Result<Credentials, CredentialsError> {
    of(ca, "n1", issued)
}

fn of(ca: &CertificateAuthority, node: &str, issued: &Issued) -> Result<Credentials, CredentialsError> {
    Credentials::from_pem(
        "prod.example".parse().unwrap(),
        id(node),
        ca.certificate_pem().as_bytes(),
        issued.certificate_pem.as_bytes(),
        issued.key_pem.as_bytes(),
        NOW,
    )
}

/// Certificate, key and CA are replaced under configurations that were made before, on both sides.
#[test]
fn new_certificates_are_used_from_the_next_handshake_on() {
    let (old, new) = (authority("prod.example"), authority("prod.example"));
    let both = [old.certificate_pem(), new.certificate_pem()].concat();
    let [one, two] = ["n1", "n2"].map(|node| {
        let issued = old.issue(&id(node), valid()).unwrap();
        of(&old, node, &issued).unwrap()
    });
    let client = Arc::new(one.client_config(b"test").unwrap());
    let server = Arc::new(two.server_config(b"test").unwrap());
    let shake = || {
        let (client, server) =
            shake_hands(client.clone(), one.server_name(&id("n2")).unwrap(), server.clone())?;
        let leaf = |chain: Option<&[CertificateDer<'static>]>| chain.unwrap()[0].clone().into_owned();
        Ok::<_, rustls::Error>((leaf(client.peer_certificates()), leaf(server.peer_certificates())))
    };
    let before = shake().unwrap();

    let reload = |credentials: &Credentials, ca: &str, issued: &Issued| {
        let Issued { certificate_pem, key_pem } = issued;
        credentials.reload(ca.as_bytes(), certificate_pem.as_bytes(), key_pem.as_bytes(), NOW)
    };
    reload(&one, &both, &new.issue(&id("n1"), valid()).unwrap()).unwrap();
    assert!(shake().is_err(), "n2 doesn't believe the new authority yet");
    reload(&two, &both, &new.issue(&id("n2"), valid()).unwrap()).unwrap();
    let after = shake().unwrap();
    assert!(after.0 != before.0 && after.1 != before.1);

    for (ca, issued) in [
        ("no PEM", new.issue(&id("n1"), valid()).unwrap()),
        (&both, new.issue(&id("n2"), valid()).unwrap()),
        (&both, new.issue(&id("n1"), years(50, 51)).unwrap()),
    ] {
        reload(&one, ca, &issued).unwrap_err();
        assert_eq!(shake().unwrap(), after, "nothing has changed");
    }
}

#[test]
fn clients_are_shown_the_certificate_of_now() {
    let ca = authority("prod.example");
    let issue =
        || ca.issue_for_names(vec!["127.0.0.1".to_owned(), "homing.example".to_owned()], valid()).unwrap();
    let first = issue();
    let shown = ServerTls::from_pem(first.certificate_pem.as_bytes(), first.key_pem.as_bytes(), NOW).unwrap();
    let server = Arc::new(shown.server_config(&[b"h2", b"http/1.1"]).unwrap());
    let shake = |ca: &CertificateAuthority, name: &'static str, alpn: &[u8]| {
        let roots = Roots::from_pem(ca.certificate_pem().as_bytes()).unwrap();
        let client = Arc::new(roots.client_config(alpn).unwrap());
        let (client, server) = shake_hands(client, ServerName::try_from(name).unwrap(), Arc::clone(&server))?;
        assert_eq!(client.alpn_protocol(), Some(alpn));
        assert_eq!(server.peer_certificates(), None);
        Ok(client.peer_certificates().unwrap()[0].clone().into_owned())
    };
    let before = shake(&ca, "127.0.0.1", b"h2").unwrap();
    assert_eq!(shake(&ca, "homing.example", b"http/1.1"), Ok(before.clone()));
    let wrong: rustls::Error = shake(&authority("prod.example"), "127.0.0.1", b"h2").unwrap_err();
    assert_eq!(explain(&wrong), "it does not come from this CA");
    let wrong = shake(&ca, "127.0.0.2", b"h2").unwrap_err();
    assert!(explain(&wrong).contains("127.0.0.2"), "{wrong}");

    let reload = |certificate: &Issued, key: &Issued| {
        shown.reload(certificate.certificate_pem.as_bytes(), key.key_pem.as_bytes(), NOW)
    };
    let second = issue();
    let why = "the key is not the certificate's".to_owned();
    assert_eq!(reload(&second, &first), Err(CredentialsError::Refused { why }));
    let expired = ca.issue(&id("n1"), years(50, 51)).unwrap();
    assert_eq!(reload(&expired, &expired), Err(CredentialsError::NotNow { why: "it has expired" }));
    let early = ca.issue(&id("n1"), years(60, 61)).unwrap();
    assert_eq!(reload(&early, &early), Err(CredentialsError::NotNow { why: "it is not valid yet" }));
    assert_eq!(shake(&ca, "127.0.0.1", b"h2"), Ok(before.clone()), "nothing has changed");
    reload(&second, &second).unwrap();
    assert_ne!(shake(&ca, "127.0.0.1", b"h2").unwrap(), before);
}

/// Lets two sides shake hands, without a network.
fn handshake(
    dialler: &Credentials,
    listener: &Credentials,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = dialler.server_name(listener.node()).unwrap();
    let client = dialler.client_config(b"test").unwrap();
    let server = listener.server_config(b"test").unwrap();
    shake_hands(client.into(), name, server.into())
}

fn shake_hands(
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
    server: Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let mut client = ClientConnection::new(client, name)?;
    let mut server = ServerConnection::new(server)?;
    while client.wants_write() || server.wants_write() {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        let mut rest = &flight[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        let mut rest = &flight[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok((client, server))
}
