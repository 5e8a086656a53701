//! Somebody else's proxies in our node's place, where they are installed: TLS up to them, HTTP/2 without TLS to the service.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::contestants::Contestant;
use crate::credentials::owner;
use crate::process::Process;
use crate::processors;

/// How long one may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a program is installed.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian puts servers where only root looks.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Starts it, with as many worker threads as it has processors, and waits until it listens.
pub(crate) async fn start(
    proxy: Contestant,
    binary: &Path,
    folder: &Path,
    service: SocketAddr,
) -> Result<(Process, SocketAddr)> {
    // None of them tells which port it was given, so one is chosen that is free now.
    let at = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = folder.join(format!("{}.conf", proxy.name()));
    let workers = processors::of_others()?;
    let id = owner(0)?;
    let [certificate, key, both] = ["pem", "key", "both.pem"].map(|kind| folder.join(format!("{id}.{kind}")));
    fs::write(&both, [fs::read(&certificate)?, fs::read(&key)?].concat())?;
    let (certificate, key, both) = (certificate.display(), key.display(), both.display());
    let text = match proxy {
        Contestant::Nginx => format!(
            "daemon off; worker_processes {workers}; pid {folder}/nginx.pid; error_log stderr error;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; keepalive_time 1d; client_max_body_size 0;\n\
             client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy; fastcgi_temp_path {folder}/nginx-fastcgi;\n\
             uwsgi_temp_path {folder}/nginx-uwsgi; scgi_temp_path {folder}/nginx-scgi;\n\
             upstream service {{ server {service}; keepalive 64; keepalive_requests 1000000000; }}\n\
             server {{ listen {at} ssl http2; ssl_protocols TLSv1.3; ssl_certificate {certificate}; ssl_certificate_key {key};\n\
             location / {{ grpc_pass grpc://service; }} }} }}\n",
            folder = folder.display(),
        ),
        Contestant::Haproxy => format!(
            "global\n  nbthread {workers}\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             frontend clients\n  bind {at} ssl crt {both} alpn h2 ssl-min-ver TLSv1.3\n  default_backend service\n\
             backend service\n  server service {service} proto h2\n",
        ),
        _ => envoy(at, service, &certificate.to_string(), &key.to_string()),
    };
    fs::write(&config, text)?;
    let mut command = with_us(binary);
    match proxy {
        Contestant::Nginx => command.args(["-e", "stderr", "-c"]).arg(&config),
        Contestant::Haproxy => command.arg("-f").arg(&config),
        _ => command.args(["--log-level", "error", "--concurrency", &workers.to_string(), "-c"]).arg(&config),
    };
    let mut process = Process::start(&mut command)?;
    let since = Instant::now();
    while TcpStream::connect(at).await.is_err() {
        ensure!(process.lives(), "{} ended at once: what it said stands above", proxy.name());
        ensure!(since.elapsed() < PATIENCE, "{} does not listen after {PATIENCE:?}", proxy.name());
        sleep(Duration::from_millis(20)).await;
    }
    Ok((process, at))
}

/// A program that ends when this one does, however that is: it doesn't read its standard input.
fn with_us(binary: &Path) -> Command {
    match installed("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "TERM"]).arg(binary);
            command
        }
        None => Command::new(binary),
    }
}

fn envoy(at: SocketAddr, service: SocketAddr, certificate: &str, key: &str) -> String {
    let address = |at: SocketAddr| serde_json::json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } });
    let http2 = serde_json::json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} }
        }
    });
    let manager = serde_json::json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "codec_type": "HTTP2",
        "stat_prefix": "bench",
        "route_config": { "virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "service" } }]
        }] },
        "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
        } }]
    });
    let tls = serde_json::json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_params": { "tls_minimum_protocol_version": "TLSv1_3" },
            "tls_certificates": [{
                "certificate_chain": { "filename": certificate }, "private_key": { "filename": key }
            }]
        }
    });
    serde_json::json!({ "static_resources": {
        "listeners": [{
            "address": address(at),
            "filter_chains": [{
                "filters": [{ "name": "http", "typed_config": manager }],
                "transport_socket": { "name": "tls", "typed_config": tls }
            }]
        }],
        "clusters": [{
            "name": "service", "type": "STATIC", "connect_timeout": "5s",
            "typed_extension_protocol_options": http2,
            "load_assignment": { "cluster_name": "service", "endpoints": [{
                "lb_endpoints": [{ "endpoint": { "address": address(service) } }]
            }] }
        }]
    } })
    .to_string()
}
