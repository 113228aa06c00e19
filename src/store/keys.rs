//! Which keys a store uses. There is no default key: without one of somebody's own, nothing is written.
//!
//! Pure: no I/O.

use age::x25519::{Identity, Recipient};
use secrecy::{ExposeSecret, SecretString};

/// To whom payloads are encrypted, and with what they are read. No Debug.
#[derive(Clone)]
pub struct Keys {
    recipients: Vec<Recipient>,
    identity: Option<Identity>,
}

/// Why keys cannot be used, in words that say what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no key at all.
    #[error(
        "there is no key: set spec.encryption of the BackupStore, or give the operator its own identity (--identity-file); nothing is written without"
    )]
    NoKey,
    /// A recipient is not a public key of the age format.
    #[error("spec.encryption.recipients[{0}] is not an age public key (age1…, as age-keygen prints it)")]
    Recipient(usize),
    /// What is to be an identity is none.
    #[error("the identity is not an age identity (AGE-SECRET-KEY-1…, as age-keygen writes it)")]
    Identity,
    /// What is written could not be read back.
    #[error("the identity belongs to {0}, which is not among spec.encryption.recipients: add it")]
    NotARecipient(String),
}

impl Keys {
    /// Keys of a store: its own recipients and identity, or else the operator's identity.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn choose(
        recipients: Option<&[String]>,
        identity: Option<&SecretString>,
        operators_own: Option<&SecretString>,
    ) -> Result<Self, KeyError> {
        let Some(recipients) = recipients else {
            let identity = parse_identity(operators_own.ok_or(KeyError::NoKey)?)?;
            return Ok(Self { recipients: vec![identity.to_public()], identity: Some(identity) });
        };
        let parsed =
            recipients.iter().enumerate().map(|(index, text)| text.parse().map_err(|_| KeyError::Recipient(index)));
        let recipients: Vec<Recipient> = parsed.collect::<Result<_, _>>()?;
        let identity = identity.map(parse_identity).transpose()?;
        match &identity {
            _ if recipients.is_empty() => Err(KeyError::NoKey),
            Some(identity) if !recipients.contains(&identity.to_public()) => {
                Err(KeyError::NotARecipient(identity.to_public().to_string()))
            }
            _ => Ok(Self { recipients, identity }),
        }
    }

    /// To whom payloads are encrypted: at least one.
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// What payloads are read with. `None`: they can be written and checked by digest, not opened.
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }
}

/// A whole file of `age-keygen` will do: its lines of comment are passed over.
fn parse_identity(text: &SecretString) -> Result<Identity, KeyError> {
    let line = text.expose_secret().lines().map(str::trim).find(|line| line.starts_with("AGE-SECRET-KEY-1"));
    line.and_then(|line| line.parse().ok()).ok_or(KeyError::Identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(identity: &Identity) -> SecretString {
        let text = format!("# created: today\n# public key: …\n{}\n", identity.to_string().expose_secret());
        SecretString::from(text)
    }

    #[test]
    fn without_a_key_of_somebodys_own_there_is_none() {
        assert_eq!(Keys::choose(None, None, None).err(), Some(KeyError::NoKey));
        assert_eq!(Keys::choose(Some(&[]), None, Some(&secret(&Identity::generate()))).err(), Some(KeyError::NoKey));
    }

    #[test]
    fn the_stores_own_keys_come_before_the_operators() {
        let (own, operators) = (Identity::generate(), Identity::generate());
        let recipients = [own.to_public().to_string()];
        let keys = Keys::choose(Some(&recipients), Some(&secret(&own)), Some(&secret(&operators))).unwrap();
        assert_eq!(keys.recipients(), [own.to_public()]);
        assert_eq!(keys.identity().unwrap().to_public(), own.to_public());
        let keys = Keys::choose(Some(&recipients), None, Some(&secret(&operators))).unwrap();
        assert!(keys.identity().is_none(), "the operator's identity cannot open what is not encrypted to it");
        let keys = Keys::choose(None, None, Some(&secret(&operators))).unwrap();
        assert_eq!(keys.recipients(), [operators.to_public()]);
    }

    #[test]
    fn keys_that_do_not_fit_are_refused() {
        let (one, two) = (Identity::generate(), Identity::generate());
        let recipients = [one.to_public().to_string()];
        let refused = Keys::choose(Some(&recipients), Some(&secret(&two)), None).err().unwrap();
        assert_eq!(refused, KeyError::NotARecipient(two.to_public().to_string()));
        let refused = Keys::choose(Some(&recipients), Some(&"hunter2".to_owned().into()), None).err().unwrap();
        assert_eq!(refused, KeyError::Identity);
        assert!(!refused.to_string().contains("hunter2"));
        let both = [recipients[0].clone(), "age1nonsense".into()];
        assert_eq!(Keys::choose(Some(&both), None, None).err(), Some(KeyError::Recipient(1)));
    }
}
