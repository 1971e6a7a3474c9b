//! How a webhook is signed, so that its receiver knows whom it is from: as Standard Webhooks has it
//! (<https://www.standardwebhooks.com>), for which there are libraries in most languages.

use std::{fmt, path::Path};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};

use super::WebhookError;
use crate::auth::{Secret, keys};

/// What a secret begins with, so that it is known for what it is.
const PREFIX: &str = "whsec_";
/// Bytes of a secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Signs what is sent to one receiver.
#[derive(Clone)]
pub(super) struct SigningKey(hmac::Key);

impl SigningKey {
    /// From the configuration.
    pub(super) fn new(secret: Option<&Secret>, file: Option<&Path>) -> Result<Self, WebhookError> {
        let text = keys::one_of(secret.map(|secret| secret.0.as_str()), file).map_err(WebhookError::Secret)?;
        Self::read(&text.ok_or(WebhookError::NoSecret)?)
    }

    fn read(text: &str) -> Result<Self, WebhookError> {
        let key = text.strip_prefix(PREFIX).and_then(|key| STANDARD.decode(key).ok()).ok_or(WebhookError::BadSecret)?;
        if !SECRET_BYTES.contains(&key.len()) {
            return Err(WebhookError::BadSecret);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// The header `webhook-signature` for a delivery at this moment, in Unix seconds.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut signer = hmac::Context::with_key(&self.0);
        signer.update(format!("{id}.{timestamp}.").as_bytes());
        signer.update(body);
        format!("v1,{}", STANDARD.encode(signer.sign()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector that the reference implementations of Standard Webhooks share.
    #[test]
    fn the_public_vector_is_signed_as_everybody_does() {
        let key = SigningKey::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_so_many_bytes_in_base64() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for bytes in [24, 32, 64] {
            assert!(SigningKey::read(&of(bytes)).is_ok(), "{bytes}");
        }
        let without = STANDARD.encode([7; 32]);
        for bad in ["", "whsec_", "whsec_!", &of(23), &of(65), &without, &format!("{} ", of(32))] {
            assert_eq!(SigningKey::read(bad).unwrap_err(), WebhookError::BadSecret, "{bad}");
        }
    }
}
