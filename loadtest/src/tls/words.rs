//! What is wrong with a TLS session, in words: which of the two sides is to be changed, and how.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

use crate::report::origin::utc;

/// An error of a session for the person at the terminal.
pub fn in_words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(wrong) => {
            format!("the server's certificate is refused: {}", certificate(wrong))
        }
        Error::AlertReceived(alert) => format!("the server ended the TLS session: {}", alerted(*alert)),
        Error::InvalidMessage(_) => {
            "its answer is no TLS message; perhaps it does not speak TLS at this port".to_owned()
        }
        Error::NoCertificatesPresented => {
            "the server has no certificate; it must have one for TLS".to_owned()
        }
        Error::PeerIncompatible(why) => {
            format!("the server's TLS does not fit: {}", spaced(&format!("{why:?}")))
        }
        Error::PeerMisbehaved(why) => format!("the server breaks TLS: {}", spaced(&format!("{why:?}"))),
        other => other.to_string(),
    }
}

/// What is wrong with a certificate, and what to do.
fn certificate(wrong: &CertificateError) -> String {
    match wrong {
        CertificateError::UnknownIssuer => {
            "no authority in the file given with --cacert has signed it".to_owned()
        }
        CertificateError::BadSignature => {
            "the authority in the file given with --cacert has the right name, but has not signed it"
                .to_owned()
        }
        CertificateError::Expired => "it has expired".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("it expired at {}, and it is {} now", date(*not_after), date(*time))
        }
        CertificateError::NotValidYet => "it is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("it is valid from {} on, and it is {} now", date(*not_before), date(*time))
        }
        CertificateError::NotValidForName => format!("it is one for another name; {OTHER_NAME}"),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let whose = match presented.as_slice() {
                [] => "for no name at all (it has no subjectAltName)".to_owned(),
                names => {
                    format!("for {}", names.iter().map(|name| bare(name)).collect::<Vec<_>>().join(", "))
                }
            };
            format!("it is {whose}, not for {}; {OTHER_NAME}", expected.to_str())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not meant for a server (its extendedKeyUsage lacks serverAuth)".to_owned()
        }
        CertificateError::Revoked => "it has been revoked".to_owned(),
        CertificateError::BadEncoding => "it is not encoded as it should be".to_owned(),
        // Certificates are checked by a library of rustls', whose own errors can only be told by their names.
        CertificateError::Other(other) => match other.to_string().as_str() {
            "CaUsedAsEndEntity" => {
                "it is that of an authority (CA:TRUE), which must not be a server's own: give the \
                                    server one with CA:FALSE, or take any with --insecure"
                    .to_owned()
            }
            other => spaced(other),
        },
        other => spaced(&other.to_string()),
    }
}

const OTHER_NAME: &str = "connect to a name that it has, or say with --sni which one to look for";

/// What a server says when it refuses.
fn alerted(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "it wants a certificate, give one with --cert and --key".to_owned()
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => {
            format!("it does not take the certificate given with --cert ({})", spaced(&format!("{alert:?}")))
        }
        AlertDescription::CertificateExpired => "the certificate given with --cert has expired".to_owned(),
        AlertDescription::CertificateRevoked => {
            "the certificate given with --cert has been revoked".to_owned()
        }
        AlertDescription::HandshakeFailure => {
            "handshake failure; perhaps it wants a certificate (--cert and --key), or has no cipher in common"
                .to_owned()
        }
        AlertDescription::UnrecognisedName => "it knows no such name (--sni)".to_owned(),
        AlertDescription::ProtocolVersion => "it speaks neither TLS 1.2 nor 1.3".to_owned(),
        other => spaced(&format!("{other:?}")),
    }
}

/// A time of a certificate.
fn date(time: UnixTime) -> String {
    utc(time.as_secs())
}

/// A name without its kind: `cache.test` of `DnsName("cache.test")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// The words of a name such as `PathLenConstraintViolated`; other texts stay as they are.
fn spaced(name: &str) -> String {
    if !name.chars().all(|c| c.is_ascii_alphanumeric()) {
        return name.to_owned();
    }
    let mut out = String::new();
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter.is_ascii_uppercase() && out.ends_with(|before: char| before.is_ascii_lowercase()) {
            out.push(' ');
        }
        // Abbreviations stay as they are.
        let is_word = letters.peek().is_some_and(char::is_ascii_lowercase);
        out.push(if is_word { letter.to_ascii_lowercase() } else { letter });
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::{CertificateDer, ServerName};

    use super::*;

    /// 2026-11-21 08:40 UTC.
    const NOW: u64 = 1_795_250_400;

    fn authority() -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the authority");
        (params, KeyPair::generate().unwrap())
    }

    fn of_server() -> CertificateParams {
        CertificateParams::new(vec!["cache.test".into(), "127.0.0.1".into()]).unwrap()
    }

    /// What is said of this certificate where `root` is the authority.
    fn refusal(
        root: &CertificateDer<'static>,
        shown: &CertificateDer<'static>,
        name: &str,
    ) -> Option<String> {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
        verifier.verify_server_cert(shown, &[], &name, &[], now).err().map(|error| in_words(&error))
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_in_words() {
        let (params, key) = authority();
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let own = KeyPair::generate().unwrap();
        let signed = |params: CertificateParams| params.signed_by(&own, &issuer).unwrap().der().clone();
        assert_eq!(refusal(root.der(), &signed(of_server()), "cache.test"), None);
        let told = |shown: &CertificateDer<'static>, name: &str| {
            let told = refusal(root.der(), shown, name).unwrap();
            told.strip_prefix("the server's certificate is refused: ").expect("so it begins").to_owned()
        };
        assert_eq!(
            told(&signed(of_server()), "localhost"),
            "it is for cache.test, 127.0.0.1, not for localhost; connect to a name that it has, or say with --sni which \
             one to look for"
        );
        assert!(
            told(&signed(CertificateParams::new(Vec::new()).unwrap()), "a.test")
                .starts_with("it is for no name at all")
        );
        let mut old = of_server();
        old.not_after = date_time_ymd(2026, 3, 1);
        assert_eq!(
            told(&signed(old), "cache.test"),
            "it expired at 2026-03-01 00:00 UTC, and it is 2026-11-21 08:40 UTC now"
        );
        let mut new = of_server();
        new.not_before = date_time_ymd(2027, 3, 1);
        assert_eq!(
            told(&signed(new), "cache.test"),
            "it is valid from 2027-03-01 00:00 UTC on, and it is 2026-11-21 08:40 UTC now"
        );
        let mut other = of_server();
        other.distinguished_name.push(DnType::CommonName, "somebody");
        let foreign = other.self_signed(&own).unwrap();
        assert_eq!(
            told(foreign.der(), "cache.test"),
            "no authority in the file given with --cacert has signed it"
        );
        // As `openssl req -x509` makes them.
        let mut both = of_server();
        both.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let both = both.self_signed(&own).unwrap();
        let refused = refusal(both.der(), both.der(), "cache.test").unwrap();
        assert_eq!(
            refused,
            "the server's certificate is refused: it is that of an authority (CA:TRUE), which must not be a server's \
             own: give the server one with CA:FALSE, or take any with --insecure"
        );
        // And one that is its own authority and no other's is taken.
        let single = of_server().self_signed(&own).unwrap();
        assert_eq!(refusal(single.der(), single.der(), "cache.test"), None);
    }

    #[test]
    fn nothing_is_told_by_the_names_of_a_program() {
        for (error, words) in [
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                "the server ended the TLS session: it wants a certificate, give one with --cert and --key",
            ),
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                "the server ended the TLS session: it does not take the certificate given with --cert (unknown CA)",
            ),
            (
                Error::AlertReceived(AlertDescription::InternalError),
                "the server ended the TLS session: internal error",
            ),
            (
                Error::PeerIncompatible(rustls::PeerIncompatible::NoCipherSuitesInCommon),
                "the server's TLS does not fit: no cipher suites in common",
            ),
            (
                Error::InvalidCertificate(CertificateError::UnhandledCriticalExtension),
                "the server's certificate is refused: unhandled critical extension",
            ),
            (Error::DecryptError, "cannot decrypt peer's message"),
        ] {
            assert_eq!(in_words(&error), words);
        }
    }
}
