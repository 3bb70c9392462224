//! The addresses of names, and for how long they are valid.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use tokio::time::Instant;

use crate::config::{NameServer, NodeAddress};

/// No name is looked up more often than this, whatever its TTL.
const SHORTEST: Duration = Duration::from_secs(1);
/// Each is looked up at least this often.
const LONGEST: Duration = Duration::from_secs(3600);

/// Looks up names.
#[derive(Debug, Clone)]
pub struct Resolver(TokioResolver);

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// In order, each once.
    pub addresses: Vec<SocketAddr>,
    /// When to ask again.
    pub again: Duration,
}

/// Why a look-up found no addresses.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The system's configuration can't be used.
    #[error(
        "the system's configuration of name servers can't be used: {0}; write [nodes] name_servers"
    )]
    System(#[source] NetError),
    /// No answer, or an error.
    #[error(transparent)]
    Lookup(#[from] NetError),
    /// The name has no addresses.
    #[error("it has no addresses")]
    Empty,
}

impl Resolver {
    /// A resolver that asks these name servers; without any, those of the system.
    ///
    /// # Errors
    /// [`ResolveError::System`].
    pub fn new(servers: &[NameServer]) -> Result<Self, ResolveError> {
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(ResolveError::System)?
        } else {
            let servers = servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        builder.build().map(Self).map_err(ResolveError::System)
    }

    /// The addresses of a node, or of several that share a name.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn resolve(&self, address: &NodeAddress) -> Result<Found, ResolveError> {
        let mut addresses = Vec::new();
        let mut until = Instant::now() + LONGEST;
        match address {
            NodeAddress::Fixed(_) => return Err(ResolveError::Empty),
            NodeAddress::Name { host, port } => {
                self.add(host, *port, &mut addresses, &mut until).await?;
            }
            NodeAddress::Srv(name) => {
                let hosts = self.0.srv_lookup(name.as_str()).await?;
                until = until.min(hosts.valid_until().into());
                let mut failed = None;
                for record in hosts.answers() {
                    if let RData::SRV(srv) = &record.data {
                        let host = srv.target.to_utf8();
                        let added = self.add(&host, srv.port, &mut addresses, &mut until);
                        // The other hosts may have some.
                        failed = added.await.err().or(failed);
                    }
                }
                if let Some(error) = failed.filter(|_| addresses.is_empty()) {
                    return Err(error);
                }
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return Err(ResolveError::Empty);
        }
        let again = until.saturating_duration_since(Instant::now());
        Ok(Found {
            addresses,
            again: again.clamp(SHORTEST, LONGEST),
        })
    }

    async fn add(
        &self,
        host: &str,
        port: u16,
        addresses: &mut Vec<SocketAddr>,
        until: &mut Instant,
    ) -> Result<(), ResolveError> {
        let found = self.0.lookup_ip(host).await?;
        *until = (*until).min(found.valid_until().into());
        addresses.extend(found.iter().map(|ip| SocketAddr::new(ip, port)));
        Ok(())
    }
}

fn name_server(server: &NameServer) -> NameServerConfig {
    let with_port = |mut connection: ConnectionConfig| {
        connection.port = server.0.port();
        connection
    };
    let connections = vec![
        with_port(ConnectionConfig::udp()),
        with_port(ConnectionConfig::tcp()),
    ];
    NameServerConfig::new(server.0.ip(), true, connections)
}
