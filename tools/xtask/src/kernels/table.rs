//! What each kernel takes on each architecture, and which instructions it is made of.

use anyhow::{Context as _, Result, bail, ensure};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    ops::Range,
};

/// Instructions that are counted, where there are any: products on tensor cores and of floats; loads of
/// matrices, from and to shared memory, from and to global memory, and past the registers.
const COUNTED: [&str; 8] = ["HMMA", "FFMA", "LDSM", "LDS", "STS", "LDG", "STG", "LDGSTS"];
/// Local memory: registers that did not suffice, or an array that was not unrolled.
const LOCAL: [&str; 2] = ["LDL", "STL"];

/// What ptxas says of a kernel without local memory: all that is known of Volta's, which nvdisasm knows no more.
const NO_STACK: &str = "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads";

/// What NVRTC does not decide in the same way every time: the order of its work depends on where its memory
/// happens to lie, and so do a few moves, registers and loads. Products and shared memory do not.
const LOOSE: [&str; 5] = ["registers", "LDS", "STS", "LDG", "STG"];
/// By how much these may differ.
const SLACK: u32 = 8;

/// How often each of [`COUNTED`] occurs.
type Counts = BTreeMap<&'static str, u32>;

/// One kernel on one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Row {
    registers: u32,
    shared_bytes: u32,
    counts: Counts,
    /// Those of the loop that most products are made in, if they are made in one.
    hot_loop: Counts,
}

/// By kernel.
pub(super) type Rows = BTreeMap<String, Row>;

/// From what ptxas tells and nvdisasm shows.
///
/// # Errors
/// If a kernel uses local memory, or they are not understood.
pub(super) fn rows(ptxas: &str, disassembly: &str) -> Result<Rows> {
    let mut rows = Rows::new();
    let mut kernel = None;
    for line in ptxas.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            kernel = rest.split('\'').next().map(str::to_owned);
        }
        if line.contains("spill") && line.trim() != NO_STACK {
            bail!("{}: local memory: {}", kernel.unwrap_or_default(), line.trim());
        }
        if let Some((_, rest)) = line.split_once("Used ") {
            let number = |text: Option<&str>| text.and_then(|text| text.trim().parse().ok());
            let registers = number(rest.split(' ').next()).context(line.to_owned())?;
            let shared = rest.split(',').find_map(|part| part.strip_suffix(" bytes smem"));
            let shared_bytes = number(shared).unwrap_or(0);
            let name = kernel.clone().context("registers of no kernel")?;
            rows.insert(name, Row { registers, shared_bytes, ..Row::default() });
        }
    }
    ensure!(!rows.is_empty(), "ptxas told of no kernel");
    count(disassembly, &mut rows)?;
    Ok(rows)
}

/// The instructions of one kernel, in order.
#[derive(Default)]
struct Code<'a> {
    /// Which of [`COUNTED`] each is, if any.
    counted: Vec<Option<&'static str>>,
    /// Before which instruction each label stands.
    labels: HashMap<&'a str, usize>,
    /// What is done again and again: from a label to a branch back to it.
    loops: Vec<Range<usize>>,
}

impl<'a> Code<'a> {
    /// Takes one line: `.L_x_7:`, or `/*0010*/  @!P0 BRA `(.L_x_7) ;`. Others say nothing.
    fn push(&mut self, line: &'a str) -> Result<()> {
        if let Some(label) = line.strip_suffix(':').filter(|line| line.starts_with(".L_")) {
            self.labels.insert(label, self.counted.len());
        }
        let Some((_, code)) = line.split_once("*/") else { return Ok(()) };
        let words = code.split_whitespace().find(|word| !word.starts_with('@'));
        let Some(name) = words.and_then(|word| word.split('.').next()) else { return Ok(()) };
        ensure!(!LOCAL.contains(&name), "local memory: {}", code.trim());
        self.counted.push(COUNTED.into_iter().find(|counted| *counted == name));
        let target = code.split_once("`(").and_then(|(_, rest)| rest.split(')').next());
        // A label that has been passed lies behind.
        if let Some(first) = target.and_then(|target| self.labels.get(target)) {
            self.loops.push(*first..self.counted.len());
        }
        Ok(())
    }

    fn counts(&self, of: Range<usize>) -> Counts {
        let mut counts = Counts::new();
        for name in self.counted[of].iter().flatten() {
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    /// Those of the smallest loop with the most products.
    fn hot_loop(&self) -> Counts {
        let on_cores = self.counted.contains(&Some("HMMA"));
        let product = Some(if on_cores { "HMMA" } else { "FFMA" });
        let products = |of: &Range<usize>| {
            self.counted[of.clone()].iter().filter(|name| **name == product).count()
        };
        let hottest = self.loops.iter().max_by_key(|of| (products(of), Reverse(of.len())));
        let hottest = hottest.filter(|of| products(of) > 0);
        hottest.map_or_else(Counts::new, |of| self.counts(of.clone()))
    }
}

/// Counts the instructions of `rows` as `disassembly` shows them.
///
/// # Errors
/// If a kernel is none of these, or uses local memory.
pub(super) fn count(disassembly: &str, rows: &mut Rows) -> Result<()> {
    let mut kernels = BTreeMap::<&str, Code<'_>>::new();
    let mut kernel = "";
    for line in disassembly.lines() {
        if let Some(name) = line.strip_prefix(".text.") {
            kernel = name.trim_end_matches(':');
        }
        kernels.entry(kernel).or_default().push(line).with_context(|| kernel.to_owned())?;
    }
    for row in rows.values_mut() {
        (row.counts, row.hot_loop) = (Counts::new(), Counts::new()); // of kernels that are not there
    }
    for (kernel, code) in kernels.into_iter().filter(|(_, code)| !code.counted.is_empty()) {
        let row = rows.get_mut(kernel).with_context(|| format!("{kernel}: unknown"))?;
        row.counts = code.counts(0..code.counted.len());
        row.hot_loop = code.hot_loop();
    }
    Ok(())
}

/// One line for each kernel and architecture.
pub(super) fn text(columns: &[(u32, Rows)]) -> Result<String> {
    let mut text = String::from(
        "# Registers per thread, bytes of static shared memory and instructions, in all and in the loop that \
         makes the most\n# products, by ptxas and nvdisasm, which knows sm_75 and newer. No kernel spills or uses \
         local memory. Made by `cargo\n# xtask kernels`.\n",
    );
    let kernels: BTreeSet<&String> = columns.iter().flat_map(|(_, rows)| rows.keys()).collect();
    for kernel in kernels {
        writeln!(text, "\n{kernel}")?;
        for (architecture, rows) in columns {
            // Those of tensor cores are not everywhere.
            let Some(row) = rows.get(kernel) else { continue };
            write!(text, "  sm_{architecture:<4} {:3} registers", row.registers)?;
            write!(text, " {:6} bytes ", row.shared_bytes)?;
            write_counts(&mut text, &row.counts)?;
            if !row.hot_loop.is_empty() {
                write!(text, " | loop")?;
                write_counts(&mut text, &row.hot_loop)?;
            }
            writeln!(text)?;
        }
    }
    Ok(text)
}

fn write_counts(text: &mut String, counts: &Counts) -> std::fmt::Result {
    let mut known = COUNTED.iter().filter_map(|name| Some((name, counts.get(name)?)));
    known.try_for_each(|(name, count)| write!(text, " {count} {name}"))
}

/// The first line that differs by more than [`SLACK`], if any.
pub(super) fn first_difference(kept: &str, made: &str) -> Option<String> {
    let (mut kept, mut made) = (kept.lines(), made.lines());
    let mut kernel = "";
    loop {
        match (kept.next(), made.next()) {
            (None, None) => return None,
            (Some(kept), Some(made)) if alike(kept, made) => {
                if !kept.starts_with(' ') {
                    kernel = kept;
                }
            }
            (kept, made) => {
                let [kept, made] = [kept, made].map(|line| line.unwrap_or("nothing").trim());
                return Some(format!("{kernel}: kept {kept}, made {made}"));
            }
        }
    }
}

/// Whether two lines have the same words, and numbers that are as near as the words after them allow.
fn alike(kept: &str, made: &str) -> bool {
    let [kept, made] = [kept, made].map(|line| line.split_whitespace().collect::<Vec<_>>());
    let near = |i: usize| match (kept[i].parse::<u32>(), made[i].parse::<u32>()) {
        (Ok(a), Ok(b)) => {
            let word = kept.get(i + 1);
            let loose = word.is_some_and(|word| LOOSE.contains(word));
            a.abs_diff(b) <= if loose { SLACK } else { 0 }
        }
        _ => kept[i] == made[i],
    };
    kept.len() == made.len() && (0..kept.len()).all(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTXAS: &str = "\
ptxas info    : Compiling entry function 'axpy' for 'sm_80'
ptxas info    : Function properties for axpy
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 12 registers, used 1 barriers, 1024 bytes smem, 376 bytes cmem[0]
";
    const SASS: &str = "\
.text.axpy:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/              @!P0 LDS.128 R4, [R2] ;
.L_x_2:
        /*0020*/                   FFMA R4, R4, R5, R6 ;
        /*0030*/               @P0 BRA `(.L_x_3) ;
        /*0040*/               @P1 BRA `(.L_x_2) ;
.L_x_3:
        /*0050*/               @P2 BRA `(.L_x_1) ;
        /*0060*/                   LDS R5, [R2] ;
        /*0070*/                   FFMA R4, R4, R5, R6 ;
.L_x_4:
        /*0080*/                   BRA `(.L_x_4) ;
";

    #[test]
    fn registers_memory_and_instructions_are_read() {
        let rows = rows(PTXAS, SASS).expect("understood");
        let counts = Counts::from([("FFMA", 2), ("LDS", 2)]);
        let hot_loop = Counts::from([("FFMA", 1)]);
        assert_eq!(rows["axpy"], Row { registers: 12, shared_bytes: 1024, counts, hot_loop });
        let text = text(&[(80, rows)]).expect("text");
        let line = "axpy\n  sm_80    12 registers   1024 bytes  2 FFMA 2 LDS | loop 1 FFMA\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn spills_and_local_memory_are_errors() {
        let spilling = PTXAS.replace("0 bytes spill loads", "8 bytes spill loads");
        assert!(rows(&spilling, SASS).is_err());
        let local = SASS.replace("LDS.128", "LDL.64");
        assert!(rows(PTXAS, &local).is_err());
    }

    /// How many of these a line tells of.
    fn count_of(name: &str, line: &str) -> u32 {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == name);
        at.map_or(0, |at| words[at - 1].parse().expect("a count"))
    }

    #[test]
    fn products_on_tensor_cores_are_made_there_and_fetched_past_the_registers() {
        let path = crate::step::root().join("gpu/kernels/table.txt");
        let text = std::fs::read_to_string(path).expect("a table");
        let (mut kernel, mut seen) = ("", 0);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if !line.starts_with(' ') {
                kernel = line;
                continue;
            }
            let on_cores =
                ["bf16", "f16", "tf32"].iter().any(|n| kernel.contains(&format!("_{n}_")));
            let is_product = kernel.ends_with("64x64") || kernel.contains("_128x");
            let newer = !line.contains("sm_70") && !line.contains("sm_75");
            if is_product && newer {
                seen += 1;
                let (all, hot) = line.split_once(" | loop").expect("a product's loop");
                let in_loop = |name: &str| count_of(name, hot);
                assert_eq!(in_loop("HMMA"), count_of("HMMA", all), "{kernel}: {line}");
                assert_eq!(in_loop("HMMA") > 0, on_cores, "{kernel}: {line}");
                assert_eq!(in_loop("LDGSTS") > 0, on_cores, "{kernel}: {line}");
                // Columns of floats are read one by one: there is no matrix load that turns them.
                let by_columns = kernel.contains("_tf32_")
                    && (kernel.contains("weight") || kernel.contains("update"));
                assert_eq!(in_loop("LDSM") > 0, on_cores && !by_columns, "{kernel}: {line}");
                assert_eq!(in_loop("FFMA") > 0, !on_cores, "{kernel}: {line}");
            }
        }
        // Three passes of two ops, by three tiles, of four kinds of numbers, on six architectures.
        assert!(seen >= 6 * 3 * 4 * 6, "{seen}");
    }

    #[test]
    fn the_evidence_has_the_tables_products() {
        let read = |path: &str| {
            std::fs::read_to_string(crate::step::root().join(path)).expect("a text")
        };
        let (table, evidence) = (read("gpu/kernels/table.txt"), read("docs/evidence/gpu.md"));
        for kernel in table.split("\n\n").skip(1) {
            let (name, lines) = kernel.split_once('\n').expect("a kernel and its lines");
            let is_product = name.ends_with("_64x64") || name.contains("_128x");
            if !is_product || name.contains("_f16_") {
                continue;
            }
            let line = |architecture: u32| {
                lines.lines().find(|line| line.starts_with(&format!("  sm_{architecture} ")))
            };
            let cell = |architecture| {
                line(architecture).map_or("-".to_owned(), |line| {
                    let [registers, bytes] =
                        ["registers", "bytes"].map(|of| count_of(of, line));
                    format!("{registers}, {},{:03}", bytes / 1000, bytes % 1000)
                })
            };
            let (_, hot) = line(80).and_then(|line| line.split_once(" | ")).expect("a loop");
            let [hmma, ldsm, ldgsts] = ["HMMA", "LDSM", "LDGSTS"].map(|of| count_of(of, hot));
            let cells = [70, 80, 90, 120].map(cell).join(" | ");
            let row = format!("| `{name}` | {cells} | {hmma}, {ldsm}, {ldgsts} |");
            assert!(evidence.contains(&row), "docs/evidence/gpu.md has no row {row}");
        }
    }

    #[test]
    fn the_first_difference_names_its_kernel() {
        let text = |registers: u32, products: u32| {
            format!("# head\n\naxpy\n  sm_80 {registers} registers {products} FFMA\n")
        };
        let difference = |made: &str| first_difference(&text(12, 4), made);
        assert_eq!(difference(&text(12, 4)), None);
        assert_eq!(difference(&text(20, 4)), None);
        let found = "axpy: kept sm_80 12 registers 4 FFMA, made sm_80 21 registers 4 FFMA";
        assert_eq!(difference(&text(21, 4)).as_deref(), Some(found));
        assert!(difference(&text(12, 5)).is_some());
        assert!(difference("# head\n").is_some());
    }
}
