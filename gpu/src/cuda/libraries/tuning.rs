//! Which way to make a product was the fastest on a GPU: timed once, and kept in small files, so that a run
//! that goes on computes as it began.
//!
//! A file is text: a line that says what it is, then lines of where, what and how, apart by tabs. It is read
//! whole or not at all, and written whole. What is made in a way that there is not is told, and chosen again.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The first line of each file.
const HEADER: &str = "alexnet tuning 1";
/// The program's own kernel, as a choice, alone or with a tile; libraries' are numbers of their algorithms.
pub(super) const OWN: &str = "own";

/// Where the fastest ways are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// A run's own: what stands here is not timed again.
    pub record: PathBuf,
    /// What other runs have timed, if it is to be asked and told.
    pub cache: Option<PathBuf>,
    /// What is timed where it stands nowhere.
    pub time: Timed,
}

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timed {
    /// Nothing.
    Nothing,
    /// Our own kernels' tiles, which change no bit, of products that no library makes.
    Tiles,
    /// All ways.
    All,
}

impl Tuning {
    /// `ALEXNET_TUNING`, else `alexnet/tuning.txt` among the user's caches.
    pub fn default_cache() -> Option<PathBuf> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = variable("ALEXNET_TUNING") {
            return Some(path.into());
        }
        let home = || variable("HOME").map(|home| Path::new(&home).join(".cache"));
        let caches = variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
        Some(caches.join("alexnet").join("tuning.txt"))
    }
}

/// Ways by place and product.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Table(BTreeMap<(String, String), String>);

impl Table {
    /// Reads a file; none is an empty table, and so is one that is something else, which is told.
    fn load(path: &Path) -> (Self, Option<String>) {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::none(),
            Err(error) => {
                return (Self::default(), Some(format!("{}: {error}", path.display())));
            }
        };
        Self::parse(&text).map_or_else(
            || {
                let path = path.display();
                let what = format!("{path} is no whole table of timings of this version");
                (Self::default(), Some(what))
            },
            |table| (table, None),
        )
    }

    fn none() -> (Self, Option<String>) {
        (Self::default(), None)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next() != Some(HEADER) {
            return None;
        }
        let line = |line: &str| {
            let mut parts = line.split('\t');
            let [place, product, how] = [parts.next()?, parts.next()?, parts.next()?];
            let whole = parts.next().is_none() && !how.is_empty();
            whole.then(|| ((place.to_owned(), product.to_owned()), how.to_owned()))
        };
        lines.map(line).collect::<Option<_>>().map(Self)
    }

    /// How a product is made there, if it was timed.
    fn find(&self, place: &str, product: &str) -> Option<&str> {
        self.0.get(&(place.to_owned(), product.to_owned())).map(String::as_str)
    }

    /// Keeps a way; whether that is news.
    fn keep(&mut self, place: &str, product: &str, how: &str) -> bool {
        let key = (place.replace(['\t', '\n'], " "), product.to_owned());
        self.0.insert(key, how.to_owned()).is_none_or(|before| before != how)
    }

    /// Writes it beside `path`, and then in its place.
    ///
    /// # Errors
    /// If the folder cannot be written.
    fn store(&self, path: &Path) -> io::Result<()> {
        let lines = self
            .0
            .iter()
            .flat_map(|((place, product), how)| [place, "\t", product, "\t", how, "\n"]);
        let text: String = [HEADER, "\n"].into_iter().chain(lines).collect();
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let beside = path.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&beside, text)?;
        fs::rename(&beside, path)
    }
}

/// The fastest ways, as a run and other runs have kept them.
#[derive(Debug)]
pub(super) struct Kept {
    tuning: Tuning,
    /// The GPU, and all that its speed and its sums depend on.
    place: String,
    record: Table,
    cache: Table,
    news: bool,
}

impl Kept {
    /// Reads them; tells what could not be read.
    pub(super) fn load(tuning: &Tuning, place: String) -> (Self, Vec<String>) {
        let (record, told) = Table::load(&tuning.record);
        let cache = tuning.cache.as_deref().map(Table::load).unwrap_or_default();
        let told = [told, cache.1].into_iter().flatten().collect();
        (Self { tuning: tuning.clone(), place, record, cache: cache.0, news: false }, told)
    }

    /// What is timed where it stands nowhere.
    pub(super) const fn times(&self) -> Timed {
        self.tuning.time
    }

    /// How it is made, by the run's own record, or by that of others if they are asked.
    pub(super) fn find(&self, what: &str, of_others: bool) -> Option<String> {
        let of = |table: &Table| table.find(&self.place, what).map(str::to_owned);
        of(&self.record).or_else(|| of_others.then(|| of(&self.cache)).flatten())
    }

    /// What may be other runs' finding becomes this one's.
    pub(super) fn take_up(&mut self, what: &str, how: &str) {
        self.news |= self.record.keep(&self.place, what, how);
    }

    /// Keeps what was found, here and for others.
    pub(super) fn keep(&mut self, what: &str, how: &str) {
        let news = [&mut self.record, &mut self.cache].map(|t| t.keep(&self.place, what, how));
        self.news |= news.contains(&true);
    }

    /// Writes what is new; tells what could not be written.
    pub(super) fn store(&self) -> Vec<String> {
        if !self.news {
            return vec![];
        }
        let record = (&self.record, Some(&self.tuning.record));
        let all = [record, (&self.cache, self.tuning.cache.as_ref())];
        let stored = all.into_iter().filter_map(|(table, path)| {
            let path = path?;
            let error = table.store(path).err()?;
            Some(format!("timings are not kept in {}: {error}", path.display()))
        });
        stored.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_comes_back_and_what_is_no_table_is_told() {
        let folder = std::env::temp_dir().join(format!("tuning-{}", std::process::id()));
        let path = folder.join("deep").join("tuning.txt");
        assert_eq!(Table::load(&path), Table::none());
        let mut table = Table::default();
        assert!(table.keep("A GPU, driver 12090", "conv forward", "1"));
        assert!(!table.keep("A GPU, driver 12090", "conv forward", "1"));
        assert!(table.keep("A GPU, driver 12090", "linear forward", OWN));
        table.store(&path).expect("room");
        let (read, told) = Table::load(&path);
        assert_eq!((&read, told), (&table, None));
        assert_eq!(read.find("A GPU, driver 12090", "conv forward"), Some("1"));
        assert_eq!(read.find("Another GPU, driver 12090", "conv forward"), None);
        let text = fs::read_to_string(&path).expect("a file");
        for wrong in [
            "alexnet tuning 2\n".to_owned(),
            text.replace("own", ""),
            text.trim_end().to_owned(),
            text.replace("conv forward", "conv\tforward"),
            "\u{0}".repeat(40),
        ] {
            fs::write(&path, wrong).expect("room");
            let (read, told) = Table::load(&path);
            assert_eq!(read, Table::default());
            assert!(told.is_some_and(|told| told.ends_with("timings of this version")));
        }
        fs::remove_dir_all(folder).expect("ours");
    }
}
