//! A model provider that does what a test tells it, in both public dialects, and remembers what it
//! was asked.

mod answer;
mod anthropic;
pub mod bench;
mod body;
mod openai;

pub use answer::{Dialect, Form, Reply, ToolUse};

use crate::http;
use answer::Wire;
use body::Paced;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its path, with the query.
    pub target: String,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Seen {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(n, _)| n == name);
        named.next().map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// In which dialect it is asked.
    pub fn dialect(&self) -> Dialect {
        let path = self.target.split('?').next().unwrap_or_default();
        if path.ends_with("/messages") {
            Dialect::Anthropic
        } else {
            Dialect::OpenAi
        }
    }

    /// How it wants its answer.
    pub fn form(&self) -> Form {
        let body = self.json();
        let yes = |pointer: &str| body.pointer(pointer) == Some(&Value::Bool(true));
        if yes("/stream") {
            Form::Events {
                usage: yes("/stream_options/include_usage"),
            }
        } else {
            Form::Whole
        }
    }
}

/// What to answer to a request, given how many came before it.
type Brain = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

struct Mind {
    brain: Box<Brain>,
    seen: Mutex<Vec<Seen>>,
}

/// A running provider; gone when dropped.
pub struct Upstream {
    port: u16,
    mind: Arc<Mind>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    /// A provider with this brain, on a free port of this machine.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn thinking(brain: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let mind = Arc::new(Mind {
            brain: Box::new(brain),
            seen: Mutex::default(),
        });
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let port = socket
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&mind);
        let thread = std::thread::spawn(move || serve(socket, &serving, stopped));
        Self {
            port,
            mind,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// A provider that gives these replies in order, and the last one from then on.
    ///
    /// # Panics
    /// When there is none.
    pub fn replying(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies = replies.into_iter().collect::<Vec<_>>();
        let last = replies.len().checked_sub(1).expect("at least one reply");
        Self::thinking(move |_, nth| replies[nth.min(last)].clone())
    }

    /// A provider that always says this.
    pub fn saying(text: &str) -> Self {
        Self::replying([Reply::say(text)])
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every model request so far, oldest first. Questions after its models are no model requests.
    ///
    /// # Panics
    /// When the provider's own thread has panicked.
    pub fn seen(&self) -> Vec<Seen> {
        self.mind
            .seen
            .lock()
            .expect("the brain has not panicked")
            .clone()
    }

    /// Asks it directly, past any gateway.
    pub fn ask(&self, call: &http::Call) -> http::Answer {
        call.send(self.port)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of its brain is shown by its thread already.
            let _ = thread.join();
        }
    }
}

fn serve(socket: std::net::TcpListener, mind: &Arc<Mind>, mut stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime.expect("a runtime can be built"), async {
        let socket = TcpListener::from_std(socket).expect("a listening socket");
        loop {
            let stream = tokio::select! {
                accepted = socket.accept() => accepted.expect("accept").0,
                _ = &mut stopped => return,
            };
            let mind = Arc::clone(mind);
            let answering = service_fn(move |request| answer(Arc::clone(&mind), request));
            let mut http = hyper::server::conn::http1::Builder::new();
            // A replayed cut must look like a crash, not like a wish to close.
            let _ = http.half_close(true);
            tokio::task::spawn_local(async move {
                let _ = http.serve_connection(TokioIo::new(stream), answering).await;
            });
        }
    });
}

async fn answer(
    mind: Arc<Mind>,
    request: Request<Incoming>,
) -> Result<Response<Paced>, Infallible> {
    let seen = take_in(request).await;
    if seen.method == "GET" {
        return Ok(models(&seen).respond().await);
    }
    let nth = {
        let mut all = mind.seen.lock().expect("the brain has not panicked");
        all.push(seen.clone());
        all.len() - 1
    };
    let wire = (mind.brain)(&seen, nth).wire(seen.dialect(), seen.form());
    Ok(wire.respond().await)
}

async fn take_in(request: Request<Incoming>) -> Seen {
    let (parts, body) = request.into_parts();
    let text =
        |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    // A client that goes away while it sends has sent nothing to remember.
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes().to_vec())
        .unwrap_or_default();
    Seen {
        method: parts.method.to_string(),
        target: parts
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        headers: parts
            .headers
            .iter()
            .map(|(n, v)| (n.to_string(), text(v)))
            .collect(),
        body,
    }
}

fn models(seen: &Seen) -> Wire {
    let list = if seen.header("anthropic-version").is_some() {
        anthropic::models()
    } else {
        openai::models()
    };
    Wire::json(200, &list)
}
