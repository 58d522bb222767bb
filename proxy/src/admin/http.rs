//! ◆ Serves the admin pages over HTTP.

#![expect(clippy::disallowed_types, reason = "I/O: owns the admin socket")]

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::request::Parts;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::IncomingStream;
use tokio::net::TcpListener;

use super::{fleet, pages};
use crate::drain::Drain;
use crate::entry::publish::said::Hints;
use crate::latest::Latest;
use crate::reload::status::Status;

#[derive(Clone)]
struct Admin {
    latest: Latest,
    drain: Drain,
    reload: Arc<Status>,
}

/// Serves until the process ends.
///
/// # Errors
/// Where the listener breaks.
pub async fn serve(
    listener: TcpListener,
    latest: Latest,
    drain: Drain,
    reload: Arc<Status>,
) -> io::Result<()> {
    let pages = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/config", get(config))
        .route("/entries", get(entries))
        .route("/dns-weight", get(weight))
        .route("/dns-weight/{entry}", get(weight))
        .route("/healthz", get(healthz))
        .route("/healthz/{entry}", get(healthz))
        .route("/ready/{cluster}", get(cluster_ready))
        .with_state(Admin { latest, drain, reload });
    axum::serve(listener, pages.into_make_service_with_connect_info::<Own>()).await
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    // The version that prometheus-client writes.
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match pages::metrics(&admin.latest.clusters()) {
        Ok(page) => Ok(([(CONTENT_TYPE, OPEN_METRICS)], page)),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    answer(pages::readiness(&admin.latest.clusters(), admin.drain.has_begun()))
}

async fn cluster_ready(State(admin): State<Admin>, Path(name): Path<String>) -> impl IntoResponse {
    match admin.latest.clusters().iter().find(|shared| shared.cluster.name == name) {
        Some(shared) => answer(pages::cluster_readiness(shared, admin.drain.has_begun())),
        None => (StatusCode::NOT_FOUND, "no cluster has this name\n".to_owned()),
    }
}

fn answer(page: Result<String, String>) -> (StatusCode, String) {
    match page {
        Ok(page) => (StatusCode::OK, page),
        Err(page) => (StatusCode::SERVICE_UNAVAILABLE, page),
    }
}

/// Our address that a request came to.
#[derive(Clone, Copy)]
struct Own(Option<IpAddr>);

impl Connected<IncomingStream<'_, TcpListener>> for Own {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(stream.io().local_addr().ok().map(|address| address.ip()))
    }
}

/// By it a balancer that forwards requests can say which entry it is.
const ENTRY: &str = "slotway-entry";

/// What a request tells of the entry that it is about.
struct About {
    id: Option<String>,
    host: Option<String>,
    own: Option<IpAddr>,
}

impl<S: Send + Sync> FromRequestParts<S> for About {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let path: Result<Path<String>, _> = Path::from_request_parts(parts, state).await;
        let query = parts.uri.query().unwrap_or_default();
        let named = query.split('&').find_map(|pair| pair.strip_prefix("entry="));
        let told = parts.headers.get(ENTRY).and_then(|id| id.to_str().ok());
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        Ok(Self {
            id: path.ok().map(|Path(id)| id).or_else(|| named.or(told).map(str::to_owned)),
            host: host.map(str::to_owned),
            own: parts.extensions.get::<ConnectInfo<Own>>().and_then(|own| own.0.0),
        })
    }
}

impl About {
    fn hints(&self) -> Hints<'_> {
        Hints { id: self.id.as_deref(), host: self.host.as_deref(), own: self.own }
    }
}

async fn weight(State(admin): State<Admin>, about: About) -> impl IntoResponse {
    fleet::weight(&admin.latest.home().process, about.hints()).map_err(|said| (StatusCode::NOT_FOUND, said))
}

/// Without an entry it is this proxy itself that is asked about.
async fn healthz(State(admin): State<Admin>, about: About) -> impl IntoResponse {
    match fleet::health(&admin.latest.home().process, about.hints()) {
        Some(page) => answer(page),
        None if about.id.is_some() => (StatusCode::NOT_FOUND, "no entry has this id\n".to_owned()),
        None => answer(pages::readiness(&admin.latest.clusters(), admin.drain.has_begun())),
    }
}

async fn entries(State(admin): State<Admin>) -> impl IntoResponse {
    answer(fleet::page(&admin.latest.home().process))
}

async fn config(State(admin): State<Admin>) -> impl IntoResponse {
    admin.reload.page(&admin.latest.home().process)
}
