//! The peers' own configuration: their defaults, one thread, nothing logged a request. Timeouts are long: a
//! machine that is busy otherwise shall make a run slow, not fail it.

use std::net::SocketAddr;

/// Twemproxy: consistent hashing over `servers`, which all stay in it whatever happens; `by_tag` by the braces of a key,
/// which it is to look for then.
pub fn twemproxy_yaml(listen: SocketAddr, servers: &[SocketAddr], by_tag: bool) -> String {
    let tag = if by_tag { "  hash_tag: \"{}\"\n" } else { "" };
    let servers: String = servers
        .iter()
        .enumerate()
        .map(|(index, server)| format!("   - {server}:1 server{index}\n"))
        .collect();
    format!(
        "pool:\n  listen: {listen}\n  redis: true\n  hash: fnv1a_64\n  distribution: ketama\n  \
         auto_eject_hosts: false\n  preconnect: true\n  server_connections: 1\n  backlog: 2048\n  \
         timeout: 30000\n{tag}  servers:\n{servers}"
    )
}

/// Envoy: its Redis Cluster discovery, its Redis filter, no admin port, no access log.
pub fn envoy_yaml(listen: SocketAddr, seeds: &[SocketAddr]) -> String {
    let seeds: String = seeds.iter().map(|seed| format!("{}\n", envoy_seed(seed))).collect();
    let (host, port) = (listen.ip(), listen.port());
    format!(
        r#"static_resources:
  listeners:
  - name: redis
    address: {{ socket_address: {{ address: "{host}", port_value: {port} }} }}
    tcp_backlog_size: 2048
    filter_chains:
    - filters:
      - name: envoy.filters.network.redis_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
          stat_prefix: redis
          settings: {{ op_timeout: 30s, enable_redirection: true }}
          prefix_routes: {{ catch_all_route: {{ cluster: backends }} }}
  clusters:
  - name: backends
    connect_timeout: 1s
    lb_policy: CLUSTER_PROVIDED
    cluster_type:
      name: envoy.clusters.redis
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.clusters.redis.v3.RedisClusterConfig
        cluster_refresh_rate: 30s
    load_assignment:
      cluster_name: backends
      endpoints:
      - lb_endpoints:
{seeds}"#
    )
}

fn envoy_seed(seed: &SocketAddr) -> String {
    let (host, port) = (seed.ip(), seed.port());
    format!(
        r#"        - endpoint: {{ address: {{ socket_address: {{ address: "{host}", port_value: {port} }} }} }}"#
    )
}
