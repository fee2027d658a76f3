//! Reading one answer, and when each part of it came.

use crate::clock::now_nanos;
use std::io::{Error, ErrorKind};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// What one answer was like. Times are of the monotonic clock, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// When the first byte of the body was there.
    pub(crate) first: u64,
    pub(crate) done: u64,
    /// How long each stamped piece of a stream was under way.
    pub(crate) lags: Vec<u64>,
    /// True when the connection cannot be used again.
    pub(crate) closes: bool,
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
    Close,
}

/// Reads one answer; `buffer` is kept between answers so that none allocates.
pub(crate) async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Answer, Error> {
    buffer.clear();
    let mut answer = Answer::default();
    let mut head = None;
    let (mut chunk, mut looked) = (0, 0);
    loop {
        let n = stream.read_buf(buffer).await?;
        let now = now_nanos();
        if head.is_none() {
            head = parse_head(buffer, &mut answer)?;
            if let Some((end, _)) = head {
                (chunk, looked) = (end, end);
            }
        }
        let Some((end, framing)) = head else {
            if n == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            continue;
        };
        if answer.first == 0 && buffer.len() > end {
            answer.first = now;
        }
        looked = take_stamps(buffer, looked, now, &mut answer.lags);
        let whole = match framing {
            Framing::Length(length) => buffer.len() >= end + length,
            Framing::Chunked => last_chunk(buffer, &mut chunk)?,
            Framing::Close => n == 0,
        };
        if whole {
            answer.done = now;
            return Ok(answer);
        }
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn parse_head(buffer: &[u8], answer: &mut Answer) -> Result<Option<(usize, Framing)>, Error> {
    let Some(end) = find(buffer, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&buffer[..end]).map_err(|_| ErrorKind::InvalidData)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    answer.status = status
        .and_then(|s| s.parse().ok())
        .ok_or(ErrorKind::InvalidData)?;
    let mut framing = Framing::Close;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            framing = Framing::Length(value.parse().map_err(|_| ErrorKind::InvalidData)?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("connection") {
            answer.closes = value.eq_ignore_ascii_case("close");
        }
    }
    answer.closes |= matches!(framing, Framing::Close);
    Ok(Some((end + 4, framing)))
}

/// Steps from chunk to chunk; true when the last one is there.
fn last_chunk(buffer: &[u8], at: &mut usize) -> Result<bool, Error> {
    loop {
        let Some(rest) = buffer.get(*at..) else {
            return Ok(false);
        };
        let Some(line) = find(rest, b"\r\n") else {
            return Ok(false);
        };
        let size = std::str::from_utf8(&rest[..line]).ok();
        let size = size.and_then(|s| usize::from_str_radix(s.split(';').next()?.trim(), 16).ok());
        let size = size.ok_or(ErrorKind::InvalidData)?;
        let next = line + 2 + size + 2;
        if rest.len() < next {
            return Ok(false);
        }
        *at += next;
        if size == 0 {
            return Ok(true);
        }
    }
}

/// Stamps look like `t=<nanoseconds>;`. Returns from where to look next time.
fn take_stamps(buffer: &[u8], mut from: usize, now: u64, lags: &mut Vec<u64>) -> usize {
    while let Some(at) = find(&buffer[from..], b"t=") {
        let start = from + at + 2;
        let digits = buffer[start..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let Some(after) = buffer.get(start + digits) else {
            return from + at;
        };
        if *after == b';' && digits > 8 {
            let stamp = std::str::from_utf8(&buffer[start..start + digits])
                .unwrap()
                .parse::<u64>();
            lags.push(now.saturating_sub(stamp.unwrap_or(now)));
        }
        from = start + digits;
    }
    // A `t` at the very end may be the beginning of a stamp.
    buffer.len().saturating_sub(1).max(from)
}
