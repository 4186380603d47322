//! Every layout on small archives made in the test.

use super::{testing::*, *};
use crate::random::Draws;
use std::fs;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn listing(dir: &Path) -> Listing {
    Listing::open(dir, &ListConfig::default()).expect("a sound layout")
}

fn fails(dir: &Path) -> String {
    Listing::open(dir, &ListConfig::default()).expect_err("unsound").to_string()
}

fn labels(listing: &Listing, split: Split) -> Vec<u32> {
    (0..listing.len(split)).map(|i| listing.label(split, i)).collect()
}

/// The numbers that the pictures of a split tell of themselves.
fn numbers(listing: &Listing, split: Split) -> Vec<usize> {
    let mut bytes = Vec::new();
    let mut number = |i| {
        listing.read(split, i, &mut bytes).expect("readable");
        let pixel = image::load_from_memory(&bytes).expect("a picture").into_rgb8()[(0, 0)];
        usize::from(pixel[0]) + usize::from(pixel[1]) * 256
    };
    (0..listing.len(split)).map(&mut number).collect()
}

fn train_numbers() -> Vec<usize> {
    TRAIN.iter().flat_map(|(_, numbers)| numbers.iter().copied()).collect()
}

#[test]
fn the_archives_of_2012_are_read_as_downloaded() {
    let dir = folder();
    archives(dir.path());
    let found = listing(dir.path());
    let line = found.describe();
    assert!(
        line.ends_with("the ILSVRC-2012 archives, 8 train, 5 val images; 3 classes, sorted: n00000010 to n00000030"),
        "{line}"
    );
    assert_eq!(labels(&found, Split::Train), [0, 0, 0, 1, 1, 2, 2, 2]);
    assert_eq!(numbers(&found, Split::Train), train_numbers());
    assert_eq!(labels(&found, Split::Val), VAL_LABELS);
    assert_eq!(numbers(&found, Split::Val), [200, 201, 202, 203, 204]);
    assert_eq!(found.classes()[0].wnid, "n00000010");
    assert_eq!(found.classes()[1].name, "père");
    assert_eq!(found.ilsvrc_ids(), [2, 3, 1]);
    assert_eq!(found.train_expected(), [3, 2, 3]);
    assert_eq!(found.notes(), ["2 test images were left out: no ground truth"]);
    let place = found.place(Split::Train, 3);
    let wanted = "ILSVRC2012_img_train.tar/n00000020.tar/n00000020_060.JPEG at byte ";
    assert!(place.contains(wanted), "{place}");
    let at: usize = place.rsplit(' ').next().and_then(|at| at.parse().ok()).expect("a byte");
    let archive = fs::read(dir.path().join("ILSVRC2012_img_train.tar")).expect("the archive");
    assert!(archive[at..].starts_with(&picture(60)));
    let source = open(dir.path(), 8, 2).expect("a source");
    assert_eq!((source.statistics().images, source.len(Split::Val)), (8, 5));
    assert_eq!(source.next_of_class(Split::Val, 4), Some(0));
}

#[test]
fn an_unpacked_devkit_and_a_tree_with_flat_val_do_as_well() {
    let dir = folder();
    folders(dir.path());
    let text = fails(dir.path());
    assert!(text.contains("5 val images without ground truth: no devkit"), "{text}");
    let kit = dir.path().join("ILSVRC2012_devkit_t12/data");
    write(&kit.join("meta.mat"), mat(&ROWS, true, false));
    write(&kit.join("ILSVRC2012_validation_ground_truth.txt"), "2\r\n1\r\n3\r\n3\r\n2\r\n\r\n");
    let found = listing(dir.path());
    assert_eq!(found.layout(), Layout::Tree);
    assert_eq!(labels(&found, Split::Val), VAL_LABELS);
    assert_eq!(numbers(&found, Split::Train), train_numbers());
    fs::remove_dir_all(dir.path().join("train")).expect("removable");
    let class = |(class, numbers): (&str, &[usize])| {
        let pictures = numbers.iter().map(|n| (format!("{n:03}.JPEG"), picture(*n)));
        write(&dir.path().join(format!("train/{class}.tar")), tar(pictures));
    };
    TRAIN.into_iter().for_each(class);
    assert_eq!(numbers(&listing(dir.path()), Split::Train), train_numbers());
}

#[test]
fn ground_truth_that_does_not_fit_is_told_with_file_and_line() {
    let dir = folder();
    archives(dir.path());
    let with = |ids: &[u32]| {
        let kit = devkit(2012, "kit", ids);
        write(&dir.path().join("ILSVRC2012_devkit_t12.tar.gz"), kit);
        fails(dir.path())
    };
    let truth = "ILSVRC2012_devkit_t12.tar.gz/kit/data/ILSVRC2012_validation_ground_truth.txt";
    let text = with(&[2, 1, 3, 3]);
    assert!(text.ends_with(&format!("{truth}: 4 lines, and there are 5 images")), "{text}");
    let text = with(&[2, 1, 0, 3, 2]);
    assert!(text.ends_with(&format!("{truth}: line 3: class id 0, expected 1 to 3")), "{text}");
    let text = with(&[2, 1, 3, 3, 4]); // a class with children is none to be told apart
    assert!(text.ends_with("line 5: class id 4, expected 1 to 3"), "{text}");
    let kit = dir.path().join("ILSVRC2012_devkit_t12.tar.gz");
    fs::remove_file(kit).expect("removable");
    write(&dir.path().join("meta.mat"), mat(&ROWS, false, false));
    let file = dir.path().join("ILSVRC2012_validation_ground_truth.txt");
    write(&file, "2\n1\nthree\n");
    assert!(fails(dir.path()).ends_with("txt: line 3: \"three\" is no class id"));
    write(&file, "2\n1\n3\n3\n2\n");
    let renamed = flat("ILSVRC2012_val", 200, 6).into_iter().filter(|f| !f.0.contains("03."));
    write(&dir.path().join("ILSVRC2012_img_val.tar"), tar(renamed));
    let text = fails(dir.path());
    assert!(text.contains("line 3: ILSVRC2012_val_00000004.JPEG is in place 3"), "{text}");
    fs::remove_file(&file).expect("removable");
    assert!(fails(dir.path()).contains("without ground truth"));
    write(&dir.path().join("meta.mat"), "MATLAB 7.3 MAT-file");
    assert!(fails(dir.path()).contains("meta.mat: a MATLAB 7.3 file"));
}

#[test]
fn a_damaged_archive_is_named_with_offset_and_entry() {
    let dir = folder();
    archives(dir.path());
    let path = dir.path().join("ILSVRC2012_img_train.tar");
    let bytes = fs::read(&path).expect("the archive");
    write(&path, &bytes[..bytes.len() - 1500]);
    let text = fails(dir.path());
    assert!(text.contains("ILSVRC2012_img_train.tar: byte "), "{text}");
    assert!(text.contains("n00000010.tar: truncated: "), "{text}");
    let mut inner = bytes.clone();
    inner[512 + 512 + 1] ^= 1; // in the name of the first entry of the first inner archive: a header
    inner[512] ^= 1;
    write(&path, &inner);
    let text = fails(dir.path());
    assert!(
        text.contains("img_train.tar/n00000030.tar: byte 512, first entry: no tar"),
        "{text}"
    );
    write(&path, bytes);
    write(&dir.path().join("ILSVRC2010_images_val.tar"), tar(flat("ILSVRC2010_val", 0, 1)));
    assert!(fails(dir.path()).contains("two data sets in one folder"));
}

#[test]
fn kaggle_is_read_from_any_of_its_folders_as_the_archives_are() {
    let (dir, other) = (folder(), folder());
    kaggle(dir.path());
    archives(other.path());
    let archives = listing(other.path());
    for below in ["", "ILSVRC", "ILSVRC/Data/CLS-LOC"] {
        let found = listing(&dir.path().join(below));
        let layout = if below.ends_with("LOC") { Layout::Tree } else { Layout::Kaggle };
        assert_eq!(found.layout(), layout);
        assert_eq!(found.classes(), archives.classes());
        for split in Split::ALL {
            assert_eq!(labels(&found, split), labels(&archives, split));
            assert_eq!(numbers(&found, split), numbers(&archives, split));
        }
        assert_eq!(found.notes(), ["1 test images were left out: no ground truth"]);
    }
}

#[test]
fn kaggles_tables_that_do_not_fit_are_told_with_file_and_line() {
    let dir = folder();
    kaggle(dir.path());
    let path = dir.path().join("LOC_val_solution.csv");
    let sound = fs::read_to_string(&path).expect("the table");
    let with = |text: &str| {
        write(&path, text);
        fails(dir.path())
    };
    let text = with(&sound.replace("val_00000002,", "val_00000009,"));
    assert!(
        text.ends_with("solution.csv: no row for image ILSVRC2012_val_00000002.JPEG"),
        "{text}"
    );
    let text = with(&format!("{sound}ILSVRC2012_val_00000006,n00000010 1 1 1 1\n"));
    assert!(text.ends_with("line 7: there is no image ILSVRC2012_val_00000006"), "{text}");
    let text = with(&format!("{sound}ILSVRC2012_val_00000001,n00000010\n"));
    assert!(text.ends_with("line 7: ILSVRC2012_val_00000001 once more"), "{text}");
    let text = with(&format!("{sound}x,\n"));
    assert!(text.ends_with("line 7: expected an image and a class"), "{text}");
    assert!(with("a,b\n").ends_with("line 1: expected ImageId,PredictionString"));
    assert!(with(&format!("{sound}a,b,c\n")).contains("line 7: CSV error"), "{}", with(&sound));
    let text = with(&sound.replace("n00000030", "n00000099"));
    assert!(text.contains("ILSVRC2012_val_00000002.JPEG: class n00000099 is not"), "{text}");
    write(&path, sound);
    let mapping = dir.path().join("LOC_synset_mapping.txt");
    write(&mapping, "n00000010 tench\nn00000020\n");
    assert!(fails(dir.path()).ends_with("mapping.txt: line 2: expected a WNID and a name"));
    write(&mapping, "n00000010 tench\n");
    assert!(fails(dir.path()).contains("class n00000020 is not in the table of class names"));
}

#[test]
fn ilsvrc_2010_has_a_labelled_test_split_and_patched_pictures() {
    let dir = folder();
    let within = |folder: &str, files: Vec<(String, Vec<u8>)>| {
        tar(files.into_iter().map(|(name, bytes)| (format!("{folder}/{name}"), bytes)))
    };
    let mut val = flat("ILSVRC2010_val", 200, 5);
    val[1].1 = gz(&val[1].1); // as a few of the real ones are
    write(&dir.path().join("ILSVRC2010_images_train.tar"), train_tar());
    write(&dir.path().join("ILSVRC2010_images_val.tar"), within("val", val));
    let test = flat("ILSVRC2010_test", 300, 4);
    write(&dir.path().join("ILSVRC2010_images_test.tar"), within("test", test));
    let kit = devkit(2010, "devkit-1.0", &VAL_IDS);
    write(&dir.path().join("ILSVRC2010_devkit-1.0.tar.gz"), kit);
    write(&dir.path().join("ILSVRC2010_test_ground_truth.txt"), "3\n3\n1\n2\n");
    let patch = [
        ("patch_images/train/n00000020_061.JPEG", picture(999)),
        ("patch_images/val/ILSVRC2010_val_00000005.JPEG", picture(998)),
        ("patch_images/val/ILSVRC2010_val_00000009.JPEG", picture(997)),
        ("patch_images/readme.txt", b"of no use".to_vec()),
    ];
    write(&dir.path().join("patch_images.tar"), tar(patch));
    let found = listing(dir.path());
    let line = found.describe();
    assert!(line.contains("ILSVRC-2010 archives, 8 train, 5 val, 4 test images; 3 classes"));
    assert_eq!(labels(&found, Split::Test), [1, 1, 2, 0]);
    assert_eq!(numbers(&found, Split::Test), [300, 301, 302, 303]);
    assert_eq!(labels(&found, Split::Val), VAL_LABELS);
    assert_eq!(numbers(&found, Split::Val), [200, 201, 202, 203, 998]);
    assert_eq!(numbers(&found, Split::Train), [0, 1, 2, 60, 999, 120, 121, 122]);
    assert!(found.notes()[0].starts_with("2 images were replaced"), "{:?}", found.notes());
    assert!(found.notes()[1].ends_with("such as ILSVRC2010_val_00000009.JPEG"));
}

#[test]
fn one_archive_per_synset_is_split_in_exact_halves_by_the_seed() {
    let dir = folder();
    for (class, count) in [("n00000010", 7), ("n00000020", 4), ("n00000030", 0)] {
        let pictures = (0..count).map(|i| (format!("{class}_{i}.JPEG"), picture(i)));
        write(&dir.path().join(format!("{class}.tar")), tar(pictures));
    }
    write(&dir.path().join("words.txt"), "n00000010\ttench\nn00000020\tfather\nn1\tthing\n");
    let all = listing(dir.path());
    assert_eq!(
        (all.layout(), all.len(Split::Train), all.len(Split::Val)),
        (Layout::Synsets, 11, 0)
    );
    assert_eq!(all.notes(), ["1 synsets without images were left out"]);
    assert_eq!(all.classes()[1].name, "father");
    let halves = |dir: &Path, seed| {
        let config = ListConfig { halves: Some(seed) };
        let found = Listing::open(dir, &config).expect("sound");
        assert_eq!(found.per_class(Split::Train), [4, 2]);
        assert_eq!(found.per_class(Split::Val), [3, 2]);
        Split::ALL.map(|split| numbers(&found, split))
    };
    let one = halves(dir.path(), 1);
    let mut both = [&one[0][..4], &one[1][..3]].concat();
    both.sort_unstable();
    assert_eq!(both, [0, 1, 2, 3, 4, 5, 6]);
    assert!((2..9).any(|seed| halves(dir.path(), seed) != one));
    let whole = folder();
    let archives: Vec<_> = ["n00000010.tar", "n00000020.tar"]
        .map(|name| (name, fs::read(dir.path().join(name)).expect("the archive")))
        .into();
    write(&whole.path().join("fall11_whole.tar"), tar(archives));
    assert_eq!(halves(whole.path(), 1), one);
    let tree = folder();
    write(&tree.path().join("train/a/1.JPEG"), picture(1));
    let error = Listing::open(tree.path(), &ListConfig { halves: Some(1) });
    let error = error.expect_err("a tree is not split").to_string();
    assert!(error.contains("a tree of image files, and only one tar a synset"), "{error}");
}

#[test]
fn a_test_folder_counts_if_it_has_the_classes_of_train() {
    let dir = folder();
    tree(dir.path(), &["n1", "n2"]);
    write(&dir.path().join("test/n2/0.JPEG"), picture(7));
    let found = listing(dir.path());
    assert_eq!((labels(&found, Split::Test), numbers(&found, Split::Test)), (vec![1], vec![7]));
    fs::rename(dir.path().join("test/n2"), dir.path().join("test/images")).expect("movable");
    let found = listing(dir.path());
    assert_eq!(found.len(Split::Test), 0);
    assert_eq!(found.notes(), ["test was left out: its folders are no classes of train"]);
}

#[cfg(unix)]
#[test]
fn odd_names_are_read_and_litter_is_left_out() {
    use std::os::unix::ffi::OsStrExt as _;
    let (dir, archive) = (folder(), folder());
    let odd = std::ffi::OsStr::from_bytes(b"caf\xE9.JPEG");
    for class in ["n1", "n2"] {
        let class = dir.path().join("train").join(class);
        write(&class.join(odd), picture(1));
        for litter in [".hidden", "._caf.JPEG", "Thumbs.db", "sub/x.JPEG"] {
            write(&class.join(litter), "of no use");
        }
        write(&class.join("empty.JPEG"), "");
    }
    let found = listing(dir.path());
    assert_eq!(found.len(Split::Train), 4);
    assert_eq!(found.name(Split::Train, 0).as_os_str().as_bytes(), b"train/n1/caf\xE9.JPEG");
    let mut bytes = vec![1];
    found.read(Split::Train, 0, &mut bytes).expect("readable");
    assert_eq!(bytes, picture(1));
    found.read(Split::Train, 1, &mut bytes).expect("an empty file can be read");
    assert!(bytes.is_empty());
    let inner = |n| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut folder = tar::Header::new_gnu();
        folder.set_entry_type(tar::EntryType::Directory);
        folder.set_size(0);
        builder.append_data(&mut folder, "pictures/", &b""[..]).expect("room");
        let files = [(odd, picture(n)), ("._x.JPEG".as_ref(), vec![1]), ("e".as_ref(), vec![])];
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            let name = Path::new("pictures").join(name);
            builder.append_data(&mut header, name, &bytes[..]).expect("room");
        }
        builder.into_inner().expect("room")
    };
    let train = tar([("n1.tar", inner(1)), ("._n1.tar", vec![7; 100]), ("n2.tar", inner(2))]);
    write(&archive.path().join("ILSVRC2012_img_train.tar"), train);
    let found = listing(archive.path());
    assert_eq!(found.len(Split::Train), 4);
    found.read(Split::Train, 0, &mut bytes).expect("readable");
    assert_eq!(bytes, picture(1));
    let name = dir.path().join("train").join(std::ffi::OsStr::from_bytes(b"\xFF"));
    fs::create_dir(name).expect("a folder");
    assert!(fails(dir.path()).ends_with("the name of a class is not UTF-8"));
}

#[test]
fn a_file_that_shrinks_after_the_listing_is_an_error_of_its_sample() {
    let dir = folder();
    archives(dir.path());
    let found = listing(dir.path());
    write(&dir.path().join("ILSVRC2012_img_val.tar"), "shrunk");
    let error = found.read(Split::Val, 2, &mut vec![]).expect_err("gone").to_string();
    assert!(
        error.contains("ILSVRC2012_img_val.tar/ILSVRC2012_val_00000003.JPEG at"),
        "{error}"
    );
}

/// Whole layouts with bytes changed anywhere: an error or a listing, never a panic, and what is
/// listed can be read or is an error of the sample.
#[test]
fn no_mutation_of_archives_or_tables_leads_to_a_panic() {
    let (tars, tables) = (folder(), folder());
    archives(tars.path());
    let kit = tars.path().join("ILSVRC2012_devkit_t12.tar.gz");
    fs::remove_file(kit).expect("removable");
    write(&tars.path().join("meta.mat"), mat(&ROWS, false, false));
    write(&tars.path().join("ILSVRC2012_validation_ground_truth.txt"), "2\n1\n3\n3\n2\n");
    kaggle(tables.path());
    let (mut sound, mut unsound) = (0, 0);
    for (dir, name) in [
        (&tars, "ILSVRC2012_img_train.tar"),
        (&tars, "ILSVRC2012_img_val.tar"),
        (&tars, "meta.mat"),
        (&tars, "ILSVRC2012_validation_ground_truth.txt"),
        (&tables, "LOC_val_solution.csv"),
        (&tables, "LOC_synset_mapping.txt"),
    ] {
        let path = dir.path().join(name);
        let original = fs::read(&path).expect("the file");
        for i in 0..150 {
            let mut draws = Draws::new(2, 0, 0, i);
            let mut bytes = original.clone();
            for _ in 0..=draws.below(8) {
                let at = draws.below(bytes.len() as u32) as usize;
                bytes[at] = draws.below(256) as u8;
            }
            bytes.truncate(bytes.len() - (i as usize % 3) * (bytes.len() / 7));
            write(&path, bytes);
            match Listing::open(dir.path(), &ListConfig::default()) {
                Err(_) => unsound += 1,
                Ok(found) => {
                    sound += 1;
                    let mut bytes = Vec::new();
                    for split in Split::ALL {
                        (0..found.len(split)).for_each(|i| {
                            let _ = found.read(split, i, &mut bytes); // either will do
                        });
                    }
                }
            }
        }
        write(&path, original);
    }
    assert!(sound > 20 && unsound > 200, "{sound} sound, {unsound} unsound");
}
