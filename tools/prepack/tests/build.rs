//! What `prepack build` writes and says of sound and nearly sound trees.

use crate::common::{build, class, entries, files, flat_png, tree};
use pipeline::{
    dataset::{Dataset, Encoding, Split},
    source::{ListConfig, Listing, Shards, Source as _},
};
use std::fs;

#[test]
fn any_number_of_jobs_writes_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a folder");
    // More pictures than 1 job has under way; one of another format, and one of none.
    let tree = tree(dir.path(), 3, 14, 4);
    flat_png(&class(&tree, "train", 1).join("000003.jpg"), 200);
    fs::write(class(&tree, "train", 2).join("000005.jpg"), "no picture").expect("room");
    for encoding in Encoding::ALL.map(Encoding::name) {
        let written = |jobs: usize| {
            let out = dir.path().join(format!("{encoding}-{jobs}"));
            let ran = build(&tree, &out, &format!("--encoding {encoding} --jobs {jobs}"));
            ran.failed(&["more than 0.1 %"]); // and written all the same
            files(&out)
        };
        let one = written(1);
        assert_eq!(one.len(), 3, "two shards and dataset.json");
        assert!(one == written(2), "{encoding}: 2 jobs");
        assert!(one == written(7), "{encoding}: 7 jobs");
    }
}

#[test]
fn records_are_what_their_encoding_says() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = tree(dir.path(), 2, 3, 1);
    let open = |name: &str, flags: &str| {
        let out = dir.path().join(name);
        build(&tree, &out, flags).well();
        Shards::open(&out).expect("its own folder")
    };
    let raw = open("raw", "");
    let original = open("original", "--encoding original");
    let (rough, fine) =
        (open("rough", "--encoding jpeg --quality 10"), open("fine", "--encoding jpeg"));
    assert_eq!(
        [&raw, &original, &rough, &fine].map(|set| set.dataset().quality),
        [None, None, Some(10), Some(90)]
    );
    let listing = Listing::open(&tree, &ListConfig::default()).expect("a tree");
    let mut scratch = vec![];
    for index in 0..6 {
        let file = fs::read(tree.join(listing.name(Split::Train, index))).expect("a file");
        let mut length = |set: &Shards| {
            let encoded = set.read(Split::Train, index, &mut scratch).expect("whole");
            (encoded.encoding, encoded.bytes.len(), encoded.bytes == file)
        };
        assert_eq!(length(&raw), (Encoding::Raw, 16 * 16 * 3, false));
        assert_eq!(length(&original), (Encoding::Original, file.len(), true));
        assert!(length(&rough).1 < length(&fine).1);
    }
}

#[test]
fn a_png_named_jpeg_is_packed() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = tree(dir.path(), 2, 2, 0);
    flat_png(&class(&tree, "train", 0).join("a.JPEG"), 77);
    let (mut scratch, mut square) = (vec![], vec![]);
    for encoding in ["raw", "jpeg", "original"] {
        let out = dir.path().join(encoding);
        build(&tree, &out, &format!("--encoding {encoding}")).well();
        let set = Shards::open(&out).expect("its own folder");
        assert_eq!(set.of_class(Split::Train, 0), [0, 1, 2]);
        let encoded = set.read(Split::Train, 2, &mut scratch).expect("whole");
        let mut stored = pipeline::resize::Stored::new();
        stored.square(encoded, 16, &mut square).expect("a picture");
        assert!(square.iter().all(|level| level.abs_diff(77) <= 1), "{encoding}");
    }
}

#[test]
fn an_undecodable_file_is_told_listed_and_left_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, out) = (tree(dir.path(), 2, 4, 1), dir.path().join("out"));
    let bad = class(&tree, "train", 1).join("000002.jpg");
    let whole = fs::read(&bad).expect("a file");
    fs::write(&bad, &whole[..whole.len() / 2]).expect("room");
    let ran = build(&tree, &out, "").failed(&["more than 0.1 %", "square_stripes 1 of 4"]);
    let told = ran.err.lines().find(|line| line.contains("left out")).expect("it is told");
    assert!(told.contains(bad.to_str().expect("UTF-8")) && told.contains("JPEG: "), "{told}");
    assert!(
        ran.out.contains("7 train, 2 val") && ran.out.contains("1 file left out"),
        "{ran:?}"
    );
    let dataset = Dataset::load(&out).expect("written all the same");
    let [train, val] = &dataset.splits[..] else { panic!("two splits") };
    assert_eq!((train.per_class.as_slice(), train.records), (&[4, 3][..], 7));
    assert_eq!(val.skipped, []);
    let [skipped] = &train.skipped[..] else { panic!("{:?}", train.skipped) };
    assert_eq!(skipped.path, "train/n90000001_square_stripes/000002.jpg");
    assert!(skipped.reason.starts_with("JPEG: "), "{}", skipped.reason);
}

#[test]
fn an_undecodable_file_ends_the_run_where_that_is_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, out) = (tree(dir.path(), 2, 4, 1), dir.path().join("out"));
    let bad = class(&tree, "val", 1).join("000000.jpg");
    fs::write(&bad, "").expect("room");
    let because = format!("because: {}: an empty file", bad.display());
    build(&tree, &out, "--on-corrupt fail")
        .failed(&[&because, "hint: mend or remove the file"]);
    assert!(!out.exists());
    flat_png(&bad, 9);
    build(&tree, &out, "--on-corrupt fail").well(); // on, or anew
    assert_eq!(entries(dir.path()), [out, tree]);
}

#[test]
fn a_thousandth_of_a_class_may_be_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = tree(dir.path(), 2, 1, 0);
    let folder = class(&tree, "train", 0);
    flat_png(&folder.join("a.png"), 9);
    let png = fs::read(folder.join("a.png")).expect("a file");
    for i in 1..999 {
        fs::write(folder.join(format!("{i:06}.png")), &png).expect("room");
    }
    fs::write(folder.join("bad"), "").expect("room"); // the 1001st
    let ran = build(&tree, &dir.path().join("one"), "--size 4").well();
    assert!(ran.err.contains("left out") && ran.out.contains("1 file left out"), "{ran:?}");
    fs::write(folder.join("bad2"), "").expect("room");
    let ran = build(&tree, &dir.path().join("two"), "--size 4");
    ran.failed(&["two is written, but", "disc_plain 2 of 1002", "hint: see why"]);
    assert_eq!(
        Dataset::load(&dir.path().join("two")).expect("written").splits[0].records,
        1001
    );
}
