//! Where a cloud's own credentials come from: fixed answers of the services that exist only within one.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::listening::Listening;

/// What is answered to a request, by its method and the beginning of its path.
pub(crate) type Answers = Vec<(&'static str, &'static str, String)>;

/// A service that gives the same answers until it is dropped.
pub(crate) struct Metadata(Listening);

impl Metadata {
    /// Starts one. Of several answers that fit, the first is given.
    pub(crate) fn start(answers: Answers) -> Self {
        Self(Listening::new(move |socket| {
            let answers = answers.clone();
            async move {
                let answer = service_fn(move |request: Request<Incoming>| {
                    let answer = answer(&answers, &request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await);
            }
        }))
    }

    /// Returns the address with its scheme.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.endpoint())
    }
}

fn answer(answers: &Answers, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let fits = |(method, path, _): &&(&str, &str, String)| {
        request.method() == *method && request.uri().path().starts_with(path)
    };
    match answers.iter().find(fits) {
        // The service of a machine says how long its word is good for.
        Some((_, _, body)) => Response::builder()
            .header("x-aws-ec2-metadata-token-ttl-seconds", "600")
            .body(Full::from(body.clone()))
            .unwrap(),
        None => Response::builder().status(StatusCode::NOT_FOUND).body(Full::default()).unwrap(),
    }
}
