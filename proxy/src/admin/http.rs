//! ◆ Serves the admin pages over HTTP.

#![expect(clippy::disallowed_types, reason = "I/O: owns the admin socket")]

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::pages;
use crate::drain::Drain;
use crate::shared::Shared;

#[derive(Clone)]
struct Admin {
    shared: Arc<Shared>,
    drain: Drain,
}

/// Serves until the process ends.
///
/// # Errors
/// Where the listener breaks.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>, drain: Drain) -> io::Result<()> {
    let pages = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .with_state(Admin { shared, drain });
    axum::serve(listener, pages).await
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    // The version that prometheus-client writes.
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match pages::metrics(&admin.shared) {
        Ok(page) => Ok(([(CONTENT_TYPE, OPEN_METRICS)], page)),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    match pages::readiness(&admin.shared, admin.drain.has_begun()) {
        Ok(page) => (StatusCode::OK, page),
        Err(page) => (StatusCode::SERVICE_UNAVAILABLE, page),
    }
}
