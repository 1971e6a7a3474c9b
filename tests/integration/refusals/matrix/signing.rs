//! Who signed a token, and what its header says of that.

use aws_lc_rs::{
    hmac,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rallypoint::auth::DEVELOPMENT_SECRET;
use serde_json::json;

use super::{
    keys::{Keys, ONE, Public, SHARED, Signer, claims, header, hs256, jws, part, pem},
    tokens::{Row, bad, good},
};
use crate::support::{ISSUER, SECRET};

/// Each key does what it is for, and only that.
pub(super) fn algorithms(keys: &Keys) -> Vec<Row> {
    let payload = claims(json!({}));
    let mut rows = Vec::new();
    for (alg, kid, signer) in keys.all() {
        rows.push(good(format!("{alg} with its key"), jws(header(alg, kid), &payload, signer)));
        for (_, other, _) in keys.all().into_iter().filter(|(_, other, _)| *other != kid) {
            rows.push(bad(format!("{alg} under the kid {other}"), jws(header(alg, other), &payload, signer)));
        }
        for (other, ..) in keys.all().into_iter().filter(|(other, ..)| *other != alg) {
            rows.push(bad(format!("{alg} that calls itself {other}"), jws(header(other, kid), &payload, signer)));
        }
    }
    let of_one = claims(json!({ "iss": ONE }));
    let one = Signer::Ecdsa(&keys.one);
    rows.extend([
        good("the only key of an issuer, without kid", jws(r#"{"alg":"ES256"}"#, &of_one, one)),
        good("the only key of an issuer, by its kid", jws(header("ES256", "only"), &of_one, one)),
        bad(
            "HS512 with the right secret",
            jws(header("HS512", "hs"), &payload, Signer::Hmac(hmac::HMAC_SHA512, SHARED)),
        ),
        bad(
            "HS384 with the right secret",
            jws(header("HS384", "hs"), &payload, Signer::Hmac(hmac::HMAC_SHA384, SHARED)),
        ),
        bad("RS512 with the right key", jws(header("RS512", "rs"), &payload, Signer::Rsa(&keys.rs, &RSA_PKCS1_SHA512))),
        bad("PS256 with the right key", jws(header("PS256", "rs"), &payload, Signer::Rsa(&keys.rs, &RSA_PSS_SHA256))),
        bad(
            "PSS that calls itself RS256",
            jws(header("RS256", "rs"), &payload, Signer::Rsa(&keys.rs, &RSA_PSS_SHA256)),
        ),
    ]);
    rows
}

/// The header chooses: no signature at all, or a public key as a secret.
pub(super) fn confusion(keys: &Keys) -> Vec<Row> {
    let payload = claims(json!({}));
    let mut rows = Vec::new();
    for Public { kid, der, bare } in keys.public() {
        let armoured = pem(&der);
        let forms = [
            ("in PEM", armoured.clone().into_bytes()),
            ("in PEM without its last line end", armoured.trim_end().as_bytes().to_vec()),
            ("in DER", der.clone()),
            ("in base64", STANDARD.encode(&der).into_bytes()),
            ("as the library keeps it", bare),
        ];
        for (form, secret) in forms {
            rows.push(bad(
                format!("HS256 with the public key {kid} {form}"),
                jws(header("HS256", kid), &payload, hs256(&secret)),
            ));
        }
    }
    for alg in ["none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "HS1"] {
        let text = header(alg, "hs");
        rows.push(bad(format!("alg {alg:?} without a signature"), jws(&text, &payload, Signer::Bytes(&[]))));
        rows.push(bad(format!("alg {alg:?} with a good signature"), keys.headed(&text, &payload)));
    }
    for header in [
        r#"{"typ":"JWT","kid":"hs"}"#,
        r#"{"alg":null,"kid":"hs"}"#,
        r#"{"alg":["HS256"],"kid":"hs"}"#,
        r#"{"alg":256,"kid":"hs"}"#,
        r#"{"alg":"none","alg":"HS256","kid":"hs"}"#,
        r#"{"alg":"HS256","alg":"none","kid":"hs"}"#,
        r#"{"ALG":"HS256","kid":"hs"}"#,
    ] {
        rows.push(bad(format!("the header {header}"), keys.headed(header, &payload)));
    }
    rows.push(bad("without a second dot", {
        let unsigned = jws(r#"{"alg":"none"}"#, &payload, Signer::Bytes(&[]));
        unsigned.trim_end_matches('.').to_owned()
    }));
    rows
}

/// Signatures of somebody else, and none that is one.
pub(super) fn signatures(keys: &Keys) -> Vec<Row> {
    let payload = claims(json!({}));
    let token = keys.token(&payload);
    let (message, signature) = token.rsplit_once('.').expect("three parts");
    let other = keys.token(claims(json!({ "sub": "bob" })));
    let (_, others_signature) = other.rsplit_once('.').expect("three parts");
    let zeros = [0; 256];
    let p256 = |algorithm| EcdsaKeyPair::generate(algorithm).expect("randomness");
    let (foreign_es, foreign_ed) =
        (p256(&ECDSA_P256_SHA256_FIXED_SIGNING), Ed25519KeyPair::generate().expect("randomness"));
    let foreign_rs = RsaKeyPair::generate(KeySize::Rsa2048).expect("randomness");
    let as_asn1 = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        keys.es.to_pkcs8v1().expect("a key has this form").as_ref(),
    )
    .expect("the same key");
    vec![
        bad("HS256 with another secret", jws(header("HS256", "hs"), &payload, hs256(SECRET.as_bytes()))),
        bad("HS256 with no secret", jws(header("HS256", "hs"), &payload, hs256(b""))),
        bad("HS256 with the development secret", {
            jws(header("HS256", "development"), &payload, hs256(DEVELOPMENT_SECRET.as_bytes()))
        }),
        bad("RS256 with another key", {
            jws(header("RS256", "rs"), &payload, Signer::Rsa(&foreign_rs, &RSA_PKCS1_SHA256))
        }),
        bad("ES256 with another key", jws(header("ES256", "es"), &payload, Signer::Ecdsa(&foreign_es))),
        bad("EdDSA with another key", jws(header("EdDSA", "ed"), &payload, Signer::Ed(&foreign_ed))),
        // A verifier that forgets to look for zero takes these for good ones (CVE-2022-21449).
        bad("ES256 with zeros", jws(header("ES256", "es"), &payload, Signer::Bytes(&zeros[..64]))),
        bad("EdDSA with zeros", jws(header("EdDSA", "ed"), &payload, Signer::Bytes(&zeros[..64]))),
        bad("RS256 with zeros", jws(header("RS256", "rs"), &payload, Signer::Bytes(&zeros))),
        bad("HS256 with zeros", jws(header("HS256", "hs"), &payload, Signer::Bytes(&zeros[..32]))),
        bad("ES256 in ASN.1", jws(header("ES256", "es"), &payload, Signer::Ecdsa(&as_asn1))),
        bad("no signature", format!("{message}.")),
        bad("a signature cut short", format!("{message}.{}", &signature[..signature.len() - 4])),
        bad("one letter of a signature missing", format!("{message}.{}", &signature[..signature.len() - 1])),
        bad("a longer signature", format!("{message}.{signature}AAAA")),
        bad("a padded signature", format!("{message}.{signature}=")),
        bad("the signature of another token", format!("{message}.{others_signature}")),
        bad("a signature over another header", {
            let (_, rest) = token.split_once('.').expect("three parts");
            format!("{}.{rest}", part(r#"{"alg":"HS256","kid":"hs"}"#))
        }),
        bad("a signature over other claims", {
            let head = message.split_once('.').expect("two parts").0;
            format!("{head}.{}.{signature}", part(claims(json!({ "sub": "root" }))))
        }),
    ]
}

/// The name of the key is a name: it opens no file, asks no database and reaches no other issuer's key.
pub(super) fn kids(keys: &Keys) -> Vec<Row> {
    let payload = claims(json!({}));
    let of_pass = claims(json!({ "iss": ISSUER }));
    let one = Signer::Ecdsa(&keys.one);
    let mut rows = vec![
        bad("no kid, and the issuer has several keys", keys.headed(r#"{"alg":"HS256"}"#, &payload)),
        bad("the kid null", keys.headed(r#"{"alg":"HS256","kid":null}"#, &payload)),
        bad("the kid twice", keys.headed(r#"{"alg":"HS256","kid":"rs","kid":"hs"}"#, &payload)),
        bad("the kid of another issuer", jws(header("ES256", "only"), &payload, one)),
        bad("the kid and the key of another issuer", jws(header("ES256", "only"), &of_pass, one)),
        bad("a wrong kid for an only key", jws(header("ES256", "es"), claims(json!({ "iss": ONE })), one)),
        // A key without a name takes every name, as its issuer's only one.
        good("any kid for a key without one", jws(header("HS256", "2026"), &of_pass, hs256(SECRET.as_bytes()))),
        good("a path for a key without a name", {
            jws(header("HS256", "../../dev/null"), &of_pass, hs256(SECRET.as_bytes()))
        }),
    ];
    for kid in [
        json!("unknown"),
        json!(""),
        json!("HS"),
        json!(" hs"),
        json!("hs\u{0}"),
        json!("../../../../../../dev/null"),
        json!("file:///dev/null"),
        json!("hs' UNION SELECT 'secret' --"),
        json!("$(cat /dev/null)"),
        json!("h".repeat(4096)),
        json!(1),
        json!(["hs"]),
        json!({ "kid": "hs" }),
        json!(true),
    ] {
        let head = json!({ "alg": "HS256", "kid": kid }).to_string();
        let shown: String = kid.to_string().chars().take(40).collect();
        rows.push(bad(format!("the kid {shown}"), keys.headed(&head, &payload)));
        // What stands in /dev/null would be an empty secret.
        rows.push(bad(format!("the kid {shown} and no secret"), jws(&head, &payload, hs256(b""))));
    }
    rows
}

/// Keys that the token brings along or points to, and the rest of the header.
pub(super) fn embedded(keys: &Keys) -> Vec<Row> {
    let payload = claims(json!({}));
    let own = b"a secret that the attacker brings along, long enough";
    let evil = "https://evil.example/keys.json";
    let fields = [
        ("jku", json!(evil)),
        ("jwk", json!({ "kty": "oct", "k": part(own), "alg": "HS256", "kid": "hs" })),
        ("x5u", json!(evil)),
        ("x5c", json!([STANDARD.encode(own)])),
        ("x5t", json!(part(own))),
    ];
    let mut rows = Vec::new();
    for (field, value) in fields {
        let head = json!({ "alg": "HS256", "kid": "hs", field: value }).to_string();
        rows.push(bad(format!("{field} and the key it names"), jws(&head, &payload, hs256(own))));
        rows.push(good(format!("{field} beside the right key"), keys.headed(&head, &payload)));
    }
    for crit in [json!([]), json!(["exp"]), json!(["b64"]), json!("exp"), json!({})] {
        let head = json!({ "alg": "HS256", "kid": "hs", "crit": crit, "b64": true }).to_string();
        rows.push(bad(format!("crit {crit}"), keys.headed(head, &payload)));
    }
    for (name, head) in [
        ("no typ", r#"{"alg":"HS256","kid":"hs"}"#),
        ("another typ", r#"{"alg":"HS256","kid":"hs","typ":"at+jwt"}"#),
        ("a cty", r#"{"alg":"HS256","kid":"hs","cty":"JWT"}"#),
        ("an unknown header field", r#"{"alg":"HS256","kid":"hs","tenant":[1,2]}"#),
    ] {
        rows.push(good(name, keys.headed(head, &payload)));
    }
    for head in [r#"{"alg":"HS256","kid":"hs","typ":5}"#, r#"["HS256","hs"]"#, r#""HS256""#, "{}", "null", "", "{"] {
        rows.push(bad(format!("the header {head:?}"), keys.headed(head, &payload)));
    }
    rows
}
