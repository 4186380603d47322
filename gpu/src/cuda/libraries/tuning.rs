//! Which way to make a product was the fastest on a GPU: timed once, and kept in small files, so that a run
//! that goes on computes as it began.
//!
//! A file is text: a line that says what it is, then lines of where, what and how, apart by tabs. It is read
//! whole or not at all, and written whole.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The first line of each file.
const HEADER: &str = "alexnet tuning 1";
/// The program's own kernel, as a choice; libraries' are numbers of their algorithms.
pub(super) const OWN: &str = "own";

/// Where the fastest ways are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// A run's own: what stands here is not timed again.
    pub record: PathBuf,
    /// What other runs have timed, if it is to be asked and told.
    pub cache: Option<PathBuf>,
    /// Whether what stands nowhere is timed.
    pub time: bool,
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
pub(super) struct Table(BTreeMap<(String, String), String>);

impl Table {
    /// Reads a file; none is an empty table, and so is one that is something else, which is told.
    pub(super) fn load(path: &Path) -> (Self, Option<String>) {
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
            let whole = parts.next().is_none() && (how == OWN || how.parse::<u32>().is_ok());
            whole.then(|| ((place.to_owned(), product.to_owned()), how.to_owned()))
        };
        lines.map(line).collect::<Option<_>>().map(Self)
    }

    /// How a product is made there, if it was timed.
    pub(super) fn find(&self, place: &str, product: &str) -> Option<&str> {
        self.0.get(&(place.to_owned(), product.to_owned())).map(String::as_str)
    }

    /// Keeps a way; whether that is news.
    pub(super) fn keep(&mut self, place: &str, product: &str, how: &str) -> bool {
        let key = (place.replace(['\t', '\n'], " "), product.to_owned());
        self.0.insert(key, how.to_owned()).is_none_or(|before| before != how)
    }

    /// Writes it beside `path`, and then in its place.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(super) fn store(&self, path: &Path) -> io::Result<()> {
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
            text.replace("own", "fft"),
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
