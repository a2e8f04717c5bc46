use super::*;
use crate::catalog_fixture::*;
use crate::testing::{Bench, INSTANCE, OTHER_INSTANCE};

fn known(bench: &Bench) -> Vec<(KnownKind, String)> {
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let page = scan_vault(&bench.store, INSTANCE, "", &token).expect("scans");
        found.extend(page.known.into_iter().map(|known| (known.kind, known.path)));
        token = page.next_page_token;
        if token.is_empty() {
            return found;
        }
    }
}

#[test]
fn everything_that_is_kept_written_or_deleted_is_known() {
    let mut bench = bench_with_collection();
    create_collection(&mut bench, OTHER_INSTANCE, "o", &[]).expect("creates");
    let kept = add_segments(&mut bench, INSTANCE, "c", "p", 1_500 / 2).expect("adds");
    let pinned = add_segments(&mut bench, INSTANCE, "c", "q", 900).expect("adds");
    let others = add_segments(&mut bench, OTHER_INSTANCE, "o", "", 1).expect("adds");
    let snapshot = pin(&mut bench, 1);
    drop_segments(&mut bench, INSTANCE, "c", "q", &pinned).expect("drops");
    let short = add_segments(&mut bench, INSTANCE, "c", "p", 2).expect("adds");
    drop_segments(&mut bench, INSTANCE, "c", "p", &short).expect("drops");
    collect_later(&mut bench);
    let upload = prepare_segments(&mut bench, INSTANCE, "c", "p", 1).expect("prepares");
    let found = known(&bench);
    let of = |kind| found.iter().filter(|(other, _)| *other == kind).count();
    assert_eq!((of(KnownKind::Upload), of(KnownKind::Condemned)), (1, 2));
    assert_eq!(
        of(KnownKind::Segment),
        kept.len() + pinned.len() + others.len(),
        "the local directory is one store for all"
    );
    assert!(found.contains(&(KnownKind::Upload, upload.segments[0].path.clone())));
    bench.run(&snapshot).expect("releases");
    collect_all(&mut bench);
    let found = known(&bench);
    let condemned = found.iter().filter(|(kind, _)| *kind == KnownKind::Condemned).count();
    assert_eq!(condemned, 2 + pinned.len());
    assert!(scan_vault(&bench.store, "nobody", "", "").is_err());
    assert!(scan_vault(&bench.store, INSTANCE, "nowhere", "").is_err());
    assert!(scan_vault(&bench.store, INSTANCE, "", "x").is_err());
}
