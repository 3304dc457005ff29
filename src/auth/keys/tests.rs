//! Which keys are taken, and for which algorithms.

use serde_json::json;

use super::*;
use crate::{
    auth::{
        jwt::{self, Expected},
        testing::{Signer, key_set},
    },
    quota::Wall,
};

#[test]
fn each_key_verifies_what_it_has_signed_and_nothing_else() {
    let signers = [Signer::rsa(), Signer::p256(), Signer::p384(), Signer::ed25519()];
    let algorithms: [&[&str]; 4] = [
        &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
        &["ES256"],
        &["ES384"],
        &["EdDSA"],
    ];
    let all = algorithms.concat();
    let audiences = ["quotagate".to_owned()];
    let expected = Expected { issuer: "i", audiences: &audiences, claim: "sub" };
    let claims = json!({"iss": "i", "aud": "quotagate", "sub": "s", "exp": 2_000_000_000});
    for (signer, own) in signers.iter().zip(algorithms) {
        for algorithm in &all {
            for said in [None, Some("RS256"), Some("ES256"), Some("EdDSA"), Some("RSA-OAEP")] {
                let mut jwk = signer.jwk("k");
                if let Some(said) = said {
                    jwk["alg"] = json!(said);
                }
                let keys = KeySet::parse(key_set(&[jwk]).as_bytes()).expect("a set");
                let token = signer.token(&json!({"alg": algorithm, "kid": "k"}), &claims);
                let head = jwt::parse(&token).expect("it can be read");
                let verified = keys
                    .find(&head)
                    .and_then(|key| jwt::verify(&token, head.algorithm, key, expected, Wall(0)));
                let fits = own.contains(algorithm) && said.is_none_or(|said| said == *algorithm);
                let expected = if fits { Ok("s") } else { Err(Refused::Algorithm) };
                let subject = verified.as_ref().map(|proved| proved.subject.as_str());
                assert_eq!(subject.map_err(|why| *why), expected, "{algorithm} {said:?}");
            }
        }
    }
}

#[test]
fn keys_that_are_no_use_are_passed_over() {
    let p256 = Signer::p256().jwk("a");
    let with = |name: &str, value: Value| {
        let mut jwk = p256.clone();
        jwk[name] = value;
        jwk
    };
    for (jwk, taken) in [
        (p256.clone(), true),
        (with("use", json!("sig")), true),
        (with("use", json!("enc")), false),
        (with("key_ops", json!(["verify"])), true),
        (with("key_ops", json!(["sign"])), false),
        (with("kty", json!("XYZ")), false),
        (with("x", json!("not base64!")), false),
        (json!({"kty": "oct", "kid": "a", "k": "c2VjcmV0"}), false),
        (json!({"kty": "RSA", "kid": "a"}), false),
        (json!("a"), false),
        (json!(null), false),
    ] {
        // A bad neighbour harms nobody.
        let set = key_set(&[jwk.clone(), Signer::ed25519().jwk("b")]);
        let keys = KeySet::parse(set.as_bytes()).expect("a set");
        assert_eq!(keys.len(), 1 + usize::from(taken), "{jwk}");
    }
}

#[test]
fn a_key_of_a_wrong_length_verifies_nothing() {
    let signer = Signer::p256();
    let mut jwk = signer.jwk("k");
    jwk["x"] = json!("AAAA");
    let keys = KeySet::parse(key_set(&[jwk]).as_bytes()).expect("a set");
    let claims = json!({"iss": "i", "aud": "quotagate", "sub": "s", "exp": 2_000_000_000});
    let token = signer.token(&json!({"alg": "ES256"}), &claims);
    let head = jwt::parse(&token).expect("it can be read");
    let key = keys.find(&head).expect("the only key");
    let expected = Expected { issuer: "i", audiences: &[], claim: "sub" };
    let verified = jwt::verify(&token, head.algorithm, key, expected, Wall(0));
    assert_eq!(verified, Err(Refused::Signature));
}
