//! ◆ Serves the admin pages over HTTP.

#![expect(clippy::disallowed_types, reason = "I/O: owns the admin socket")]

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::{fleet, pages};
use crate::drain::Drain;
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
        .route("/ready/{cluster}", get(cluster_ready))
        .with_state(Admin { latest, drain, reload });
    axum::serve(listener, pages).await
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

async fn entries(State(admin): State<Admin>) -> impl IntoResponse {
    answer(fleet::page(&admin.latest.home().process))
}

async fn config(State(admin): State<Admin>) -> impl IntoResponse {
    admin.reload.page(&admin.latest.home().process)
}
