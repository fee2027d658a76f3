//! `mock-upstream PORT [PIECES [GAP_MS]]`: a model provider for benches, on 127.0.0.1.

use std::time::Duration;
use testkit::upstream::bench::{Pace, serve};

fn main() -> Result<(), &'static str> {
    let numbers = std::env::args()
        .skip(1)
        .map(|word| word.parse::<u16>())
        .collect::<Result<Vec<_>, _>>();
    let (port, pieces, gap) = match numbers.as_deref() {
        Ok([port]) => (*port, 20, 0),
        Ok([port, pieces]) => (*port, *pieces, 0),
        Ok([port, pieces, gap]) => (*port, *pieces, *gap),
        Ok(_) | Err(_) => {
            return Err("usage: mock-upstream PORT [PIECES [GAP_MS]]");
        }
    };
    serve(
        port,
        Pace {
            pieces: pieces.into(),
            gap: Duration::from_millis(gap.into()),
        },
    );
    Ok(())
}
