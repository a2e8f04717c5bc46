//! What an S3 vault refuses before it asks its store.

use super::*;
use crate::place::Secret;

fn place(endpoint: &str, bucket_style: BucketStyle) -> S3Place {
    S3Place {
        endpoint: endpoint.to_owned(),
        region: "r".to_owned(),
        bucket: "b".to_owned(),
        prefix: String::new(),
        access_key: "a".to_owned(),
        secret_key: Secret::new("s"),
        bucket_style,
        http: Http::Allow,
        cluster_id: "c".to_owned(),
        former_clusters: Vec::new(),
    }
}

#[test]
fn what_is_no_address_is_refused_before_anything_is_sent_there() {
    let refused = |place: &S3Place| validate(place).err().map(|error| error.to_string());
    assert_eq!(refused(&place("http://10.0.0.5:9000", BucketStyle::Path)), None);
    assert_eq!(refused(&place("https://s3.example.org", BucketStyle::VirtualHost)), None);
    let by_name = refused(&place("http://10.0.0.5:9000", BucketStyle::VirtualHost)).expect("http://b.10.0.0.5:9000 is no address");
    assert!(by_name.contains("use path style"), "{by_name}");
    for damage in ["a\nb", "a b", "\u{e9}"] {
        let mut place = place("https://s3.example.org", BucketStyle::Path);
        place.access_key = damage.to_owned();
        assert!(refused(&place).is_some(), "{damage:?} is signed with");
    }
}

#[test]
fn what_makes_a_url_and_no_uri_is_no_address_either() {
    let good = "https://s3.example.org";
    for style in [BucketStyle::Path, BucketStyle::VirtualHost] {
        for (endpoint, bucket) in [
            ("https://s3.example.org ", "b"),
            (" https://s3.example.org", "b"),
            ("https://s3.example.org\t/", "b"),
            ("https://s3.example .org", "b"),
            ("https://bücher.example", "b"),
            ("https://s3.example.org?a=b", "b"),
            ("https://s3.example.org#a", "b"),
            ("https://s3.example.org:port", "b"),
            (good, "my bucket"),
            (good, "b "),
            (good, "b\n"),
            (good, "bücher"),
            (good, "b<c"),
            (good, "b`c"),
            (good, "b?c"),
        ] {
            let place = S3Place {
                bucket: bucket.to_owned(),
                ..place(endpoint, style)
            };
            let error = S3Vault::open(place, Patience::default()).expect_err(endpoint);
            assert_eq!(error.kind, ObjectErrorKind::Invalid, "{endpoint:?} {bucket:?}: {error}");
            assert!(!error.message.contains(char::is_control), "{error:?}");
        }
        for (endpoint, bucket) in [
            ("https://s3.example.org/", "b"),
            ("http://s3.example.org:9000/below/here/", "b"),
            ("", "b"),
            (good, "B_1.c-d"),
        ] {
            let place = S3Place {
                bucket: bucket.to_owned(),
                ..place(endpoint, style)
            };
            assert_eq!(validate(&place), Ok(()), "{endpoint:?} {bucket:?}");
        }
    }
}
