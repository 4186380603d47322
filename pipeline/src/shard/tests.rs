use super::*;
use std::{fs, io::Read as _};

fn shard(dir: &Path) -> PathBuf {
    let path = dir.join("a.shard");
    let mut writer = ShardWriter::create(&path, Encoding::Original, 8).expect("a folder");
    for label in 0..5_u32 {
        writer.push(label, &vec![label as u8; 10 + label as usize]).expect("room");
    }
    let info = writer.finish().expect("room");
    assert_eq!((info.records, info.bytes), (5, 64 + 60 + 5 * 24));
    path
}

#[test]
fn records_come_back_in_any_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let shard = Shard::open(&shard(dir.path())).expect("its own file");
    assert_eq!((shard.len(), shard.size(), shard.encoding()), (5, 8, Encoding::Original));
    for record in [3, 0, 4, 1, 2] {
        let found = shard.record(record).expect("whole");
        assert_eq!((found.label, found.bytes.len()), (record, 10 + record as usize));
        assert!(found.bytes.iter().all(|byte| *byte == record as u8));
    }
}

#[test]
fn every_flipped_byte_and_every_truncation_is_noticed() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = shard(dir.path());
    let whole = fs::read(&path).expect("the file");
    let read_all = || -> Result<(), ShardError> {
        let shard = Shard::open(&path)?;
        (0..shard.len()).try_for_each(|record| shard.record(record).map(drop))
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).expect("room");
        let error = read_all().expect_err("flipped").to_string();
        assert!(error.contains("a.shard"), "{error}");
        fs::write(&path, &whole[..at]).expect("room");
        assert!(read_all().is_err(), "cut at {at}");
    }
    fs::write(&path, &whole).expect("room");
    read_all().expect("whole again");
}

#[test]
fn a_damaged_record_is_named_with_its_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = shard(dir.path());
    let mut bytes = fs::read(&path).expect("the file");
    bytes[64 + 10 + 11 + 3] ^= 0x80; // in record 2
    fs::write(&path, bytes).expect("room");
    let error = Shard::open(&path).expect("sound index").record(2).expect_err("damaged");
    assert!(error.to_string().contains("record 2 at byte 85: checksum"), "{error}");
}

#[test]
fn a_record_is_checked_when_it_is_first_read_and_again_until_it_is_sound() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = shard(dir.path());
    let shard = Shard::open(&path).expect("its own file");
    let flip = || {
        let mut file = fs::OpenOptions::new().read(true).write(true).open(&path).expect("it");
        let mut byte = [0];
        file.seek(SeekFrom::Start(64 + 3))
            .and_then(|_| file.read_exact(&mut byte))
            .expect("it");
        let flipped = file.seek(SeekFrom::Start(64 + 3));
        flipped.and_then(|_| file.write_all(&[byte[0] ^ 1])).expect("room");
    };
    flip();
    shard.record(1).expect("another record");
    assert!(shard.record(0).is_err() && shard.record(0).is_err());
    flip();
    shard.record(0).expect("mended");
    flip();
    shard.record(0).expect("found sound before");
    assert!(Shard::open(&path).expect("a sound index").record(0).is_err());
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = shard(dir.path());
    let mut bytes = fs::read(&path).expect("the file");
    bytes[8] = 2;
    fs::write(&path, bytes).expect("room");
    let error = Shard::open(&path).expect_err("newer");
    assert!(matches!(error, ShardError::Newer { found: 2, .. }), "{error}");
}
