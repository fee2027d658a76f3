//! A string that must not be seen.

use std::fmt;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A secret from birth: `Debug` prints `[secret]`, it is wiped when dropped, compared in constant
/// time, and `expose()` is the one way in, so that a reviewer can grep for it.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Hands the secret out. Every call site is a place to look at in review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_never_shows_the_secret() {
        let shown = format!("{:?}", Secret::new("hunter2"));
        assert_eq!(shown, "[secret]");
    }
}
