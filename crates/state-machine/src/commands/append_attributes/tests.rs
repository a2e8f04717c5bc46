use super::*;
use crate::testing::{Bench, DROPPED, INSTANCE, OTHER_INSTANCE, prepare};

fn append(instance: &str, name: &str, suffix: &[u8]) -> AppendAttribute {
    AppendAttribute {
        instance_id: instance.into(),
        name: name.into(),
        suffix: Bytes::copy_from_slice(suffix),
    }
}

#[test]
fn appends_to_several_instances_at_one_revision() {
    let mut bench = Bench::new();
    let both = AppendAttributes {
        appends: vec![append(INSTANCE, "a", b"1"), append(OTHER_INSTANCE, "a", b"2")],
    };
    let first = bench.run(&both).expect("append").attributes;
    let second = bench.run(&both).expect("append").attributes;
    assert_eq!(second[0].revision, first[0].revision + 1);
    assert_eq!(second[0].revision, second[1].revision);
    assert_eq!((second[0].value.as_ref(), second[1].value.as_ref()), (&b"11"[..], &b"22"[..]));
}

#[test]
fn one_refused_part_leaves_the_others_unwritten() {
    let mut bench = Bench::new();
    let before = bench.machine.revision();
    let half = AppendAttributes {
        appends: vec![append(INSTANCE, "a", b"1"), append(DROPPED, "a", b"2")],
    };
    assert_eq!(bench.refusal(&half), ErrorCode::NotFound);
    let twice = AppendAttributes {
        appends: vec![append(INSTANCE, "a", b"1"), append(INSTANCE, "a", b"2")],
    };
    assert_eq!(bench.refusal(&twice), ErrorCode::InvalidArgument);
    assert_eq!(bench.refusal(&AppendAttributes { appends: vec![] }), ErrorCode::InvalidArgument);
    assert_eq!(bench.machine.revision(), before);
}

#[test]
fn appending_nothing_reads_and_takes_no_revision() {
    let mut bench = Bench::new();
    let read = AppendAttributes {
        appends: vec![append(INSTANCE, "a", b"")],
    };
    assert_eq!(
        bench.run(&read).expect("read").attributes,
        vec![Appended {
            value: Bytes::new(),
            revision: 0
        }]
    );
    let written = bench
        .run(&AppendAttributes {
            appends: vec![append(INSTANCE, "a", b"x")],
        })
        .expect("append")
        .attributes;
    assert_eq!(bench.run(&read).expect("read").attributes, written);
    assert_eq!(bench.machine.revision().0, written[0].revision);
}

#[test]
fn values_and_answers_are_bounded() {
    let mut bench = Bench::new();
    let long = vec![b'x'; limits::MAX_ATTRIBUTE_VALUE_BYTES];
    for name in ["a", "b", "c"] {
        bench
            .run(&AppendAttributes {
                appends: vec![append(INSTANCE, name, &long)],
            })
            .expect("fits");
    }
    assert_eq!(
        bench.refusal(&AppendAttributes {
            appends: vec![append(INSTANCE, "a", b"x")]
        }),
        ErrorCode::TooLarge
    );
    let all = ["a", "b", "c"].map(|name| append(INSTANCE, name, b"")).to_vec();
    assert_eq!(bench.refusal(&AppendAttributes { appends: all }), ErrorCode::TooLarge);
    let asked = |append: AppendAttribute| Append {
        instance_id: append.instance_id,
        name: append.name,
        suffix: append.suffix,
    };
    let many = (0..17).map(|number| asked(append(INSTANCE, &number.to_string(), b"x"))).collect();
    let refused = prepare::<AppendAttributes>(AppendAttributesRequest { appends: many }).map_err(|error| error.code);
    assert_eq!(refused, Err(ErrorCode::InvalidArgument));
    let large = ["a", "b", "c"].map(|name| asked(append(INSTANCE, name, &long))).to_vec();
    let refused = prepare::<AppendAttributes>(AppendAttributesRequest { appends: large }).map_err(|error| error.code);
    assert_eq!(refused, Err(ErrorCode::TooLarge));
}
