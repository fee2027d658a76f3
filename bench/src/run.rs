//! One run: warm up, measure, tell.

use crate::answer::{self, Answer};
use crate::body;
use crate::clock::now_nanos;
use crate::cost::{self, Cost};
use crate::spread::Spread;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};

/// What to do.
pub(crate) struct Plan {
    pub(crate) port: u16,
    pub(crate) request: Vec<u8>,
    pub(crate) connections: usize,
    pub(crate) rate: Option<f64>,
    pub(crate) warm: Duration,
    pub(crate) measured: Duration,
    pub(crate) pids: Vec<i32>,
}

/// What was seen while it was measured.
#[derive(Default)]
struct Tally {
    latency: Spread,
    first: Spread,
    lag: Spread,
    statuses: BTreeMap<u16, u64>,
    broken: u64,
}

/// The result of a run.
pub(crate) struct Told {
    tally: Tally,
    seconds: f64,
    before: [Cost; 2],
    after: [Cost; 2],
    open: bool,
}

/// When requests are due: at once, or at a given moment.
type Due = Option<Rc<Mutex<mpsc::UnboundedReceiver<u64>>>>;

pub(crate) async fn run(plan: Plan) -> Told {
    let begin = now_nanos() + nanos(plan.warm);
    let end = begin + nanos(plan.measured);
    let tally = Rc::new(RefCell::new(Tally::default()));
    let due = plan.rate.map(|rate| {
        let (schedule, due) = mpsc::unbounded_channel();
        std::thread::spawn(move || arrive(&schedule, rate, end));
        Rc::new(Mutex::new(due))
    });
    let places = Rc::new(body::places(&plan.request));
    // No two runs send the same.
    let number = Rc::new(Cell::new(now_nanos()));
    let clients = (0..plan.connections).map(|_| {
        let client = Client {
            port: plan.port,
            request: plan.request.clone(),
            places: Rc::clone(&places),
            number: Rc::clone(&number),
            tally: Rc::clone(&tally),
            due: due.clone(),
            window: (begin, end),
        };
        tokio::task::spawn_local(client.ask_until_the_end())
    });
    let clients = clients.collect::<Vec<_>>();
    let own = [i32::try_from(std::process::id()).unwrap()];
    let costs = || [cost::of(&plan.pids), cost::of(&own)];
    sleep_until(begin).await;
    let (before, started) = (costs(), now_nanos());
    sleep_until(end).await;
    let (after, ended) = (costs(), now_nanos());
    for client in clients {
        client.abort();
        // It was told to stop in the middle of a request.
        let _ = client.await;
    }
    let tally = std::mem::take(&mut *tally.borrow_mut());
    let seconds = (ended - started) as f64 / 1e9;
    Told {
        tally,
        seconds,
        before,
        after,
        open: plan.rate.is_some(),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}

async fn sleep_until(at: u64) {
    tokio::time::sleep(Duration::from_nanos(at.saturating_sub(now_nanos()))).await;
}

/// Arrivals at random moments with a fixed seed, so that two systems meet the same ones. On a thread
/// of its own, because the timer of the runtime is a millisecond coarse.
fn arrive(schedule: &mpsc::UnboundedSender<u64>, rate: f64, end: u64) {
    let finest = std::num::NonZeroU64::new(1);
    // Without it arrivals are up to 50 microseconds late, which is counted as latency.
    let _ = rustix::thread::set_current_timer_slack(finest);
    let mut random = 88_172_645_463_325_252_u64;
    let mut at = now_nanos();
    while at < end {
        std::thread::sleep(Duration::from_nanos(at.saturating_sub(now_nanos())));
        if schedule.send(at).is_err() {
            return;
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let uniform = ((random >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        #[allow(
            clippy::cast_sign_loss,
            reason = "the logarithm of at most one is not positive"
        )]
        let gap = (-uniform.ln() / rate * 1e9) as u64;
        at += gap;
    }
}

/// One connection.
struct Client {
    port: u16,
    request: Vec<u8>,
    places: Rc<Vec<usize>>,
    number: Rc<Cell<u64>>,
    tally: Rc<RefCell<Tally>>,
    due: Due,
    window: (u64, u64),
}

impl Client {
    async fn ask_until_the_end(mut self) {
        let mut connection = None;
        let mut buffer = Vec::with_capacity(64 << 10);
        while now_nanos() < self.window.1 {
            let Some(start) = self.next().await else {
                return;
            };
            let number = self.number.get();
            self.number.set(number + 1);
            body::freshen(&mut self.request, &self.places, number);
            if let Ok(answer) = self.ask(&mut connection, &mut buffer).await {
                self.count(start, answer);
            } else {
                connection = None;
                self.tally.borrow_mut().broken += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    async fn next(&self) -> Option<u64> {
        match &self.due {
            Some(due) => due.lock().await.recv().await,
            None => Some(now_nanos()),
        }
    }

    async fn ask(
        &self,
        connection: &mut Option<TcpStream>,
        buffer: &mut Vec<u8>,
    ) -> std::io::Result<Answer> {
        if connection.is_none() {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.set_nodelay(true)?;
            *connection = Some(stream);
        }
        let stream = connection.as_mut().unwrap();
        stream.write_all(&self.request).await?;
        let answer = answer::read(stream, buffer).await?;
        if answer.closes {
            *connection = None;
        }
        Ok(answer)
    }

    fn count(&self, start: u64, answer: Answer) {
        if answer.done < self.window.0 || answer.done >= self.window.1 {
            return;
        }
        let mut tally = self.tally.borrow_mut();
        *tally.statuses.entry(answer.status).or_default() += 1;
        tally.latency.add(answer.done - start);
        tally.first.add(answer.first.saturating_sub(start));
        for lag in answer.lags {
            tally.lag.add(lag);
        }
    }
}

impl Told {
    /// As one JSON object; durations in microseconds.
    pub(crate) fn json(mut self, label: &str) -> Value {
        let all = self.tally.statuses.values().sum::<u64>();
        let statuses = self
            .tally
            .statuses
            .iter()
            .map(|(s, n)| (s.to_string(), Value::from(*n)));
        let statuses = statuses.collect::<serde_json::Map<_, _>>();
        let cpu = |at: usize| {
            let micros = self.after[at]
                .cpu_micros
                .saturating_sub(self.before[at].cpu_micros);
            (micros as f64 / all.max(1) as f64 * 10.0).round() / 10.0
        };
        json!({
            "label": label, "loop": if self.open { "open" } else { "closed" },
            "seconds": self.seconds, "answers": all, "statuses": statuses, "broken": self.tally.broken,
            "rps": (all as f64 / self.seconds).round(),
            "cpu_us": cpu(0), "driver_cpu_us": cpu(1),
            "rss_mb": self.after[0].rss_kb as f64 / 1024.0,
            "peak_mb": self.after[0].peak_kb as f64 / 1024.0,
            "threads": self.after[0].threads,
            "latency_us": self.tally.latency.json(), "first_us": self.tally.first.json(),
            "lag_us": self.tally.lag.json(),
        })
    }
}
