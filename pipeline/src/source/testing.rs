//! Small data sets in every layout, made on the spot.

use std::{fs, io::Write as _, path::Path};

/// A PNG of one colour that tells its own number, named `.JPEG` as ILSVRC does.
pub(crate) fn picture(number: usize) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(12, 9, image::Rgb([number as u8, (number >> 8) as u8, 60]))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("room");
    bytes.into_inner()
}

pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, bytes).expect("room");
}

/// `train/<class>/{0,1,2}.JPEG` and `val/<class>/0.JPEG`.
pub(crate) fn tree(dir: &Path, classes: &[&str]) {
    for (split, count) in [("train", 3), ("val", 1)] {
        for (label, class) in classes.iter().enumerate() {
            for i in 0..count {
                let path = dir.join(split).join(class).join(format!("{i}.JPEG"));
                write(&path, picture(label * 60 + i));
            }
        }
    }
}

/// An archive of files.
pub(crate) fn tar<N: AsRef<str>, B: AsRef<[u8]>>(
    files: impl IntoIterator<Item = (N, B)>,
) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.as_ref().len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name.as_ref(), bytes.as_ref()).expect("room");
    }
    builder.into_inner().expect("room")
}

pub(crate) fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).expect("room");
    packer.finish().expect("room")
}

/// A class of the devkit: id, WNID, words, children, training pictures.
pub(crate) type Row = (u32, &'static str, &'static str, u32, u32);

/// Three classes whose ids are not in the order of their WNIDs, and their parent.
pub(crate) const ROWS: [Row; 4] = [
    (1, "n00000030", "crane", 0, 3),
    (2, "n00000010", "tench, Tinca tinca", 0, 3),
    (3, "n00000020", "père", 0, 2),
    (4, "n00000001", "thing", 3, 0),
];

/// `meta.mat` with these classes behind another variable, in either byte order.
pub(crate) fn mat(rows: &[Row], big: bool, compressed: bool) -> Vec<u8> {
    let word = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let element = |kind: u32, body: &[u8]| -> Vec<u8> {
        let mut bytes = Vec::new();
        match body.len() {
            1..=4 => {
                bytes.extend(word((body.len() as u32) << 16 | kind));
                bytes.extend(body);
            }
            len => {
                bytes.extend(word(kind));
                bytes.extend(word(len as u32));
                bytes.extend(body);
            }
        }
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    };
    let array = |class: u32, sides: [u32; 2], name: &str, data: &[u8]| {
        let flags = element(6, &[word(class), word(0)].concat());
        let sides = element(5, &sides.map(word).concat());
        element(14, &[flags, sides, element(1, name.as_bytes()), data.to_vec()].concat())
    };
    let text = |text: &str| {
        let units: Vec<_> = text.encode_utf16().collect();
        let bytes = units.iter().map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() });
        let data = element(4, &bytes.collect::<Vec<_>>().concat());
        array(4, [1, units.len() as u32], "", &data)
    };
    let number = |n: u32| {
        let double = f64::from(n);
        let bytes = if big { double.to_be_bytes() } else { double.to_le_bytes() };
        array(6, [1, 1], "", &element(9, &bytes))
    };
    let fields = ["ILSVRC2012_ID", "WNID", "words", "num_children", "num_train_images"];
    let mut data = element(5, &word(32));
    let mut names = Vec::new();
    for field in fields {
        names.extend(field.as_bytes());
        names.resize(names.len().next_multiple_of(32), 0);
    }
    data.extend(element(1, &names));
    for (id, wnid, words, children, images) in rows {
        let cells = [number(*id), text(wnid), text(words), number(*children), number(*images)];
        data.extend(cells.concat());
    }
    let synsets = array(2, [rows.len() as u32, 1], "synsets", &data);
    let mut bytes = vec![b' '; 124];
    bytes.extend(if big { [1, 0, b'M', b'I'] } else { [0, 1, b'I', b'M'] });
    for variable in [array(9, [1, 1], "cost_matrix", &element(2, &[7])), synsets] {
        if compressed {
            let mut packer =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(&variable).expect("room");
            let packed = packer.finish().expect("room");
            bytes.extend(word(15));
            bytes.extend(word(packed.len() as u32));
            bytes.extend(packed);
        } else {
            bytes.extend(variable);
        }
    }
    bytes
}

/// The devkit's archive, its files below `folder`.
pub(crate) fn devkit(year: u16, folder: &str, ids: &[u32]) -> Vec<u8> {
    let lines = ids.iter().map(u32::to_string).collect::<Vec<_>>().join("\n");
    let truth = format!("{folder}/data/ILSVRC{year}_validation_ground_truth.txt");
    let readme = (format!("{folder}/readme.txt"), b"of no use".to_vec());
    let meta = (format!("{folder}/data/meta.mat"), mat(&ROWS, false, true));
    gz(&tar([readme, meta, (truth, lines.into_bytes())]))
}

/// Classes and training pictures by their numbers, in the order of the labels.
pub(crate) const TRAIN: [(&str, &[usize]); 3] =
    [("n00000010", &[0, 1, 2]), ("n00000020", &[60, 61]), ("n00000030", &[120, 121, 122])];
/// Ids of the validation pictures 200, 201, .. and the labels that they mean.
pub(crate) const VAL_IDS: [u32; 5] = [2, 1, 3, 3, 2];
/// Labels of [`VAL_IDS`].
pub(crate) const VAL_LABELS: [u32; 5] = [0, 2, 1, 1, 0];

/// The archive of archives, its classes and pictures not in sorted order.
pub(crate) fn train_tar() -> Vec<u8> {
    let inner = |(class, numbers): (&str, &[usize])| {
        let pictures =
            numbers.iter().rev().map(|n| (format!("{class}_{n:03}.JPEG"), picture(*n)));
        (format!("{class}.tar"), tar(pictures))
    };
    tar(TRAIN.into_iter().rev().map(inner))
}

/// Flat pictures `<prefix>_00000001.JPEG` with the numbers from `first` on.
pub(crate) fn flat(prefix: &str, first: usize, count: usize) -> Vec<(String, Vec<u8>)> {
    (0..count).map(|i| (format!("{prefix}_{:08}.JPEG", i + 1), picture(first + i))).collect()
}

/// ILSVRC-2012 as downloaded, with a test archive without ground truth.
pub(crate) fn archives(dir: &Path) {
    write(&dir.join("ILSVRC2012_img_train.tar"), train_tar());
    write(&dir.join("ILSVRC2012_img_val.tar"), tar(flat("ILSVRC2012_val", 200, 5)));
    write(&dir.join("ILSVRC2012_img_test_v10102019.tar"), tar(flat("ILSVRC2012_test", 300, 2)));
    let devkit = devkit(2012, "ILSVRC2012_devkit_t12", &VAL_IDS);
    write(&dir.join("ILSVRC2012_devkit_t12.tar.gz"), devkit);
}

/// The training pictures of [`TRAIN`] and flat validation pictures below a folder.
pub(crate) fn folders(base: &Path) {
    for (class, numbers) in TRAIN {
        for n in numbers {
            let name = format!("{class}_{n:03}.JPEG");
            write(&base.join("train").join(class).join(name), picture(*n));
        }
    }
    for (name, bytes) in flat("ILSVRC2012_val", 200, 5) {
        write(&base.join("val").join(name), bytes);
    }
}

/// Kaggle's folders and tables below `dir`.
pub(crate) fn kaggle(dir: &Path) {
    folders(&dir.join("ILSVRC/Data/CLS-LOC"));
    write(&dir.join("ILSVRC/Data/CLS-LOC/test/ILSVRC2012_test_00000001.JPEG"), picture(300));
    let leaves = ROWS.iter().filter(|row| row.3 == 0);
    let mapping: Vec<_> = leaves.map(|row| format!("{} {}", row.1, row.2)).collect();
    write(&dir.join("LOC_synset_mapping.txt"), mapping.join("\n"));
    let mut solution = String::from("ImageId,PredictionString\n");
    for (i, label) in VAL_LABELS.iter().enumerate().rev() {
        let class = TRAIN[*label as usize].0;
        let row = format!("ILSVRC2012_val_{:08},{class} 1 2 3 4 {class} 5 6 7 8 \n", i + 1);
        solution.push_str(&row);
    }
    write(&dir.join("LOC_val_solution.csv"), solution);
}
