//! Lists a folder: finds the parts of its layout, gathers their pictures and labels them.

use super::{
    OpenError,
    archive::{self, ArchiveError, Member},
    layout,
    listing::{Archive, FILE_BYTES_MAX, Folder, ListConfig, Listing, Place, Sample},
};
use crate::{
    dataset::{Class, Split},
    thread,
};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Archives that are kept open; with more, each is opened for each picture, as loose files are.
const OPEN_MAX: usize = 16;
/// Threads that read headers: enough to keep a disk's queue filled.
const HEADER_JOBS: usize = 8;

/// A picture whose label is not known yet.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) folder: u32,
    pub(super) leaf: Box<OsStr>,
    pub(super) place: Place,
}

/// Pictures by the name of their class.
pub(super) type ByClass = BTreeMap<String, Vec<Found>>;

/// What a file of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Folder,
    File,
    /// A link that leads nowhere.
    Broken,
}

/// What is known of a class beside its pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) ilsvrc_id: Option<u32>,
    pub(super) train_images: Option<u64>,
}

/// The parts of a layout: pictures by class, and what is known of the classes.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) layout: super::Layout,
    pub(super) splits: [ByClassOrder; Split::COUNT],
    pub(super) about: BTreeMap<String, About>,
}

/// The pictures of a split in order, each with its class.
pub(super) type ByClassOrder = Vec<(String, Vec<Found>)>;

/// A listing being made.
#[derive(Debug)]
pub(super) struct Lister<'a> {
    pub(super) dir: &'a Path,
    pub(super) config: &'a ListConfig,
    pub(super) notes: Vec<String>,
    folders: Vec<Folder>,
    archives: Vec<Archive>,
}

impl<'a> Lister<'a> {
    pub(super) fn open(dir: &'a Path, config: &'a ListConfig) -> Result<Listing, OpenError> {
        if !dir.is_dir() {
            return Err(OpenError::Missing { path: dir.into() });
        }
        let (notes, folders, archives) = (vec![], vec![], vec![]);
        let mut lister = Self { dir, config, notes, folders, archives };
        let parts = layout::find(&mut lister)?;
        lister.finish(parts)
    }

    /// The files and folders of a folder in sorted order. Hidden ones, and what file managers
    /// leave behind, are left out.
    pub(super) fn entries(&self, below: &Path) -> Result<Vec<(OsString, Kind)>, OpenError> {
        let folder = self.dir.join(below);
        let list = || -> io::Result<Vec<_>> {
            let mut all = Vec::new();
            for entry in fs::read_dir(&folder)? {
                let (entry, mut kind) = entry.and_then(|e| e.file_type().map(|k| (e, k)))?;
                if is_litter(entry.file_name().as_encoded_bytes()) {
                    continue;
                }
                if kind.is_symlink() {
                    match fs::metadata(entry.path()) {
                        Ok(target) => kind = target.file_type(),
                        Err(_) => all.push((entry.file_name(), Kind::Broken)),
                    }
                }
                match () {
                    () if kind.is_dir() => all.push((entry.file_name(), Kind::Folder)),
                    () if kind.is_file() => all.push((entry.file_name(), Kind::File)),
                    () => {} // a pipe, a socket or a device is no picture
                }
            }
            all.sort();
            Ok(all)
        };
        list().map_err(|source| OpenError::List { path: folder.clone(), source })
    }

    /// Loose files of a folder, in sorted order. A link that leads nowhere is kept: reading it tells
    /// why.
    pub(super) fn files(&mut self, below: &Path) -> Result<Vec<Found>, OpenError> {
        let entries = self.entries(below)?;
        let (inner, files): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(_, kind)| *kind == Kind::Folder);
        if let Some((name, _)) = inner.first() {
            let name = below.join(name);
            self.notes.push(format!("{}: folders within a class are not read", name.display()));
        }
        let folder = self.folder(below.into(), None);
        let found = |(leaf, _): (OsString, _)| Found {
            folder,
            leaf: leaf.into_boxed_os_str(),
            place: Place::File,
        };
        Ok(files.into_iter().map(found).collect())
    }

    pub(super) fn folder(&mut self, path: PathBuf, archive: Option<u32>) -> u32 {
        self.folders.push(Folder { path, archive });
        self.folders.len() as u32 - 1
    }

    /// The members of archives below the source, in sorted order, less hidden ones.
    pub(super) fn archives(
        &mut self, below: &[PathBuf],
    ) -> Result<Vec<(u32, Vec<Member>)>, OpenError> {
        let indices = thread::map(HEADER_JOBS, below.len(), |i| {
            let (path, file, len) = self.open_archive(&below[i])?;
            match archive::index(&file, 0..len) {
                Ok(index) => Ok((path, (i < OPEN_MAX).then_some(file), index)),
                Err(source) => Err(fault(&path, source)),
            }
        });
        let mut all = Vec::new();
        for (below, index) in below.iter().zip(indices) {
            let (path, file, index) = index?;
            self.note_left_out(below, index.left_out, &index.first_left_out);
            self.archives.push(Archive { path, file });
            all.push((self.archives.len() as u32 - 1, pictures(index.members)));
        }
        Ok(all)
    }

    /// The members of the archives within an archive, in the order of `inner`.
    pub(super) fn inner(
        &mut self, below: &Path, inner: &[Member],
    ) -> Result<Vec<Vec<Member>>, OpenError> {
        let (path, file, _) = self.open_archive(below)?;
        let indices = thread::map(HEADER_JOBS, inner.len(), |i| {
            archive::index(&file, inner[i].offset..inner[i].offset + inner[i].len)
        });
        let within = |i: usize| path.join(os_str(&inner[i].name));
        let mut all = Vec::new();
        for (i, index) in indices.into_iter().enumerate() {
            let index = index.map_err(|source| fault(&within(i), source))?;
            let name = below.join(os_str(&inner[i].name));
            self.note_left_out(&name, index.left_out, &index.first_left_out);
            all.push(pictures(index.members));
        }
        Ok(all)
    }

    /// Members as pictures of a folder.
    pub(super) fn members(
        &mut self, folder: PathBuf, archive: u32, members: &[Member],
    ) -> Result<Vec<Found>, OpenError> {
        let id = self.folder(folder, Some(archive));
        let found = |member: &Member| {
            let leaf = member.name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            let leaf = os_str(leaf).into_boxed_os_str();
            if member.len > FILE_BYTES_MAX {
                let path = self.dir.join(&self.folders[id as usize].path).join(&*leaf);
                return Err(OpenError::Oversize { path, bytes: member.len });
            }
            let place = Place::Range { offset: member.offset, len: member.len as u32 };
            Ok(Found { folder: id, leaf, place })
        };
        members.iter().map(found).collect()
    }

    fn open_archive(&self, below: &Path) -> Result<(PathBuf, File, u64), OpenError> {
        let path = self.dir.join(below);
        let opened = File::open(&path).and_then(|f| f.metadata().map(|m| (f, m.len())));
        match opened {
            Ok((file, len)) => Ok((path, file, len)),
            Err(source) => Err(OpenError::List { path, source }),
        }
    }

    fn note_left_out(&mut self, archive: &Path, count: u64, first: &str) {
        if count > 0 {
            let archive = archive.display();
            self.notes.push(format!(
                "{archive}: {count} links and devices were left out, first {first}"
            ));
        }
    }

    /// Labels by sorted class names; the classes are those of the training pictures.
    fn finish(mut self, parts: Parts) -> Result<Listing, OpenError> {
        let Parts { layout, splits, about } = parts;
        let path = self.dir.to_path_buf();
        let mut names: Vec<&String> = splits[0].iter().map(|(class, _)| class).collect();
        names.dedup();
        let about = |name: &String| about.get(name).cloned().unwrap_or_default();
        let class = |wnid: &&String| {
            let name = Some(about(wnid).name).filter(|name| !name.is_empty());
            Class { name: name.unwrap_or_else(|| (*wnid).clone()), wnid: (*wnid).clone() }
        };
        let classes: Vec<Class> = names.iter().map(class).collect();
        if let [only] = classes.as_slice() {
            return Err(OpenError::OneClass { path, class: only.wnid.clone() });
        }
        // All or nothing: a partial list would have no order of its own.
        let ids = names.iter().map(|name| about(name).ilsvrc_id).collect::<Option<_>>();
        let expected = names.iter().map(|name| about(name).train_images).collect::<Option<_>>();
        let mut samples = <[Vec<Sample>; Split::COUNT]>::default();
        for (split, found) in Split::ALL.into_iter().zip(splits) {
            for (wnid, found) in found {
                let label = classes.binary_search_by(|class| class.wnid.cmp(&wnid));
                let Ok(label) = label.map(|label| label as u32) else {
                    let path = path.join(found.first().map_or_else(PathBuf::new, |first| {
                        self.folders[first.folder as usize].path.join(&*first.leaf)
                    }));
                    return Err(OpenError::UnknownClass { path, class: wnid });
                };
                let sample =
                    |Found { folder, leaf, place }| Sample { folder, label, leaf, place };
                samples[split as usize].extend(found.into_iter().map(sample));
            }
        }
        if samples[0].is_empty() {
            return Err(OpenError::Empty { path, split: Split::Train });
        }
        for class in without_samples(&samples[0], &classes) {
            self.notes.push(format!("{class}: a class without training images"));
        }
        layout::patch(&mut self, &mut samples)?;
        if self.archives.len() > OPEN_MAX {
            self.archives.iter_mut().for_each(|archive| archive.file = None);
        }
        Ok(Listing {
            dir: path,
            layout,
            classes,
            ilsvrc_ids: ids.unwrap_or_default(),
            train_expected: expected.unwrap_or_default(),
            folders: self.folders,
            archives: self.archives,
            splits: samples,
            notes: self.notes,
        })
    }
}

/// The classes that have no samples.
fn without_samples<'a>(samples: &[Sample], classes: &'a [Class]) -> Vec<&'a str> {
    let mut counts = vec![0; classes.len()];
    samples.iter().for_each(|sample| counts[sample.label as usize] += 1);
    let without = classes.iter().zip(counts).filter(|(_, count)| *count == 0);
    without.map(|(class, _)| class.wnid.as_str()).collect()
}

fn fault(archive: &Path, source: ArchiveError) -> OpenError {
    OpenError::Archive { path: archive.into(), source }
}

/// Members in sorted order, less hidden ones such as macOS's `._name`.
fn pictures(mut members: Vec<Member>) -> Vec<Member> {
    members.retain(|member| !member.name.split(|byte| *byte == b'/').any(is_litter));
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

/// Names of what is not of the data: hidden files, and what file managers leave behind.
fn is_litter(name: &[u8]) -> bool {
    name.starts_with(b".") || matches!(name, b"__MACOSX" | b"Thumbs.db" | b"desktop.ini")
}

/// A name of an archive as one of the file system.
pub(super) fn os_str(name: &[u8]) -> OsString {
    #[cfg(unix)]
    return std::os::unix::ffi::OsStringExt::from_vec(name.to_vec());
    #[cfg(not(unix))]
    return String::from_utf8_lossy(name).into_owned().into();
}
