//! Which passes a library makes: planned and tried before the first batch.

use super::{
    Libraries, Room, Tuning, WORKSPACE_BYTES_MAX, cudnn,
    tuning::{OWN, Table},
    weights_bytes,
};
use crate::{
    cuda::{Numbers, board::Cuda, memory::Memory},
    device::Demand,
    ops::{
        conv::{Conv, Pass},
        linear::Linear,
    },
};

/// Algorithms of a pass that are tried: the first ones are the fastest.
const TRIED_MAX: usize = 3;

/// A pass of a layer, of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Product {
    /// Of a convolution whose weights lie by themselves.
    Conv(Conv, Pass),
    /// Of a linear layer, from the source's first column on.
    Linear(Linear, Pass),
}

/// A pass that a library makes.
#[derive(Debug)]
pub(super) enum Planned {
    /// By cuDNN.
    Conv {
        /// Its weights by themselves.
        op: Conv,
        /// Images.
        n: usize,
        /// How.
        plan: cudnn::Plan,
    },
    /// By cuBLAS.
    Linear {
        /// From the source's first column on.
        op: Linear,
        /// Images.
        n: usize,
        /// Which way.
        pass: Pass,
    },
}

impl Planned {
    /// What is made, for the file of the fastest ways.
    fn describe(&self) -> String {
        match self {
            Self::Conv { op, n, plan } => format!(
                "conv {n}x{}x{}x{} {}x{}x{} step {} pad {} groups {} {:?}",
                op.height,
                op.width,
                op.channels,
                op.kernels,
                op.window,
                op.window,
                op.stride,
                op.pad_before,
                op.groups,
                plan.pass
            ),
            Self::Linear { op, n, pass } => format!(
                "linear {n}x{} {} of {} {pass:?}",
                op.inputs, op.outputs, op.weight_inputs
            ),
        }
    }

    /// How: the number of its algorithm.
    fn how(&self) -> String {
        match self {
            Self::Conv { plan, .. } => plan.algorithm.to_string(),
            Self::Linear { .. } => "0".into(),
        }
    }
}

/// The same convolution with this source's weights by themselves.
pub(super) const fn bare(op: &Conv) -> Conv {
    Conv { weight_channels: op.channels / op.groups, weight_offset: 0, by: None, ..*op }
}

/// The same from its first column on.
pub(super) const fn from_first_column(op: &Linear) -> Linear {
    Linear { weight_offset: 0, ..*op }
}

impl Product {
    /// For the log.
    pub(super) const fn library(&self) -> &'static str {
        match self {
            Self::Conv(..) => "cuDNN",
            Self::Linear(..) => "cuBLAS",
        }
    }

    pub(super) const fn pass(&self) -> Pass {
        match self {
            Self::Conv(_, pass) | Self::Linear(_, pass) => *pass,
        }
    }
}

/// A product, and of which layers it is a pass.
#[derive(Debug)]
struct Named {
    layers: Vec<String>,
    product: Product,
}

impl Named {
    /// For the log.
    fn name(&self) -> String {
        let way = match self.product.pass() {
            Pass::Forward => "forward",
            Pass::BackwardData => "backward to data",
            Pass::BackwardWeight => "backward to weights",
        };
        format!("{} {way}", self.layers.join(" and "))
    }
}

/// What libraries could make of `demand`, each once.
fn products(demand: &Demand) -> Vec<Named> {
    let mut all: Vec<Named> = vec![];
    let mut add = |at: usize, product: Product| {
        let layer = demand.names.get(at).map_or("a layer", String::as_str).to_owned();
        match all.iter_mut().find(|known| known.product == product) {
            Some(known) if known.layers.contains(&layer) => {} // another source of it
            Some(known) => known.layers.push(layer),
            None => all.push(Named { layers: vec![layer], product }),
        }
    };
    for (i, op) in demand.convs.iter().enumerate() {
        // The first reads packed pictures, whose gradient nobody needs.
        let alone = if i == 0 { bare(&op.packed()) } else { bare(op) };
        for pass in Pass::ALL {
            let needed = i > 0 || pass != Pass::BackwardData;
            if needed && alone.pad_before == alone.pad_after {
                add(i, Product::Conv(alone, pass));
            }
        }
    }
    for (i, op) in demand.linears.iter().enumerate() {
        for pass in [Pass::Forward, Pass::BackwardData] {
            add(demand.convs.len() + i, Product::Linear(from_first_column(op), pass));
        }
    }
    all
}

impl Libraries {
    /// Which plan makes this, if any does.
    pub(super) fn find(&self, wanted: &Product, images: usize) -> Option<usize> {
        self.plans.iter().position(|planned| match planned {
            Planned::Conv { op, n, plan } => {
                *n == images && *wanted == Product::Conv(*op, plan.pass)
            }
            Planned::Linear { op, n, pass } => {
                *n == images && *wanted == Product::Linear(*op, *pass)
            }
        })
    }

    /// The ways to make this over `n` images, best first.
    fn ways(&self, product: &Product, n: usize) -> Result<Vec<Planned>, String> {
        match (*product, &self.cudnn) {
            (Product::Conv(op, pass), Some(cudnn)) => {
                let plans = cudnn
                    .plans(&op, pass, n, WORKSPACE_BYTES_MAX)
                    .map_err(|why| format!("cuDNN refused: {why}"))?;
                if plans.is_empty() {
                    let mib = WORKSPACE_BYTES_MAX >> 20;
                    return Err(format!(
                        "cuDNN has no algorithm that always gives the same bits in {mib} MiB of workspace"
                    ));
                }
                let plans = plans.into_iter().take(TRIED_MAX);
                Ok(plans.map(|plan| Planned::Conv { op, n, plan }).collect())
            }
            (Product::Linear(op, pass), _) if self.cublas.is_some() => {
                Ok(vec![Planned::Linear { op, n, pass }])
            }
            _ => Ok(vec![]),
        }
    }
}

/// What was refused, and why, the same reasons together.
#[derive(Debug, Default)]
struct Refusals(Vec<(String, Vec<String>)>);

impl Refusals {
    fn add(&mut self, name: String, why: String) {
        match self.0.iter_mut().find(|(known, _)| *known == why) {
            Some((_, names)) => names.push(name),
            None => self.0.push((why, vec![name])),
        }
    }
}

impl Cuda {
    /// Plans what libraries make of `demand`, and tries each pass beside our own kernel.
    pub(in crate::cuda) fn plan_libraries(&mut self, demand: &Demand) {
        self.bind();
        self.libraries.plans.clear();
        self.libraries.room = None;
        if self.numbers != Numbers::F32 {
            return;
        }
        let remarks = self.libraries.open(&self.context, &self.queues.compute);
        let gpu = self.context.name();
        remarks.into_iter().for_each(|remark| self.remark(format!("{gpu}: {remark}")));
        let mut refusals = Refusals::default();
        let mut all = vec![];
        let mut workspace_bytes = None;
        for named in products(demand) {
            let ways = self.libraries.ways(&named.product, demand.batch);
            for way in ways.iter().flatten() {
                if let Planned::Conv { plan, .. } = way {
                    workspace_bytes = workspace_bytes.max(Some(plan.workspace_bytes));
                }
            }
            match ways {
                Ok(ways) => all.push((named, ways)),
                Err(why) => refusals.add(named.name(), why),
            }
        }
        if let Some(workspace_bytes) = workspace_bytes {
            let weights_bytes = weights_bytes(demand);
            // At least a byte, so that the workspace has an address.
            match Memory::new(&self.context, weights_bytes + workspace_bytes.max(1)) {
                Ok(memory) => self.libraries.room = Some(Room { memory, weights_bytes }),
                Err(error) => return self.remark(format!("cuDNN is not used: {error}")),
            }
        }
        let mut kept = self.load_kept();
        for (named, ways) in all {
            if let Err(why) = self.plan_product(&named.product, ways, &mut kept) {
                refusals.add(named.name(), why);
            }
        }
        let untold = kept.iter().flat_map(Kept::store).collect::<Vec<_>>();
        untold.into_iter().for_each(|remark| self.remark(remark));
        for (why, names) in refusals.0 {
            let (gpu, names) = (self.context.name(), names.join(", "));
            self.remark(format!("{gpu}: {names}: {why}; the program's own kernel is used"));
        }
    }

    /// What is kept of the fastest ways, if any is to be.
    fn load_kept(&self) -> Option<Kept> {
        let tuning = self.libraries.tuning.as_ref()?;
        let (gpu, image) = (self.gpu(), self.image());
        let libraries = self.libraries.describe(self.numbers);
        let driver = self.libraries.driver.unwrap_or_default();
        let place = format!("{}, driver {driver}, {image}{libraries}", gpu.name);
        let (kept, told) = Kept::load(tuning, place);
        for what in told {
            let then = if tuning.time { "timed again" } else { "not heeded" };
            self.remark(format!("{what}: {then}"));
        }
        Some(kept)
    }

    /// Keeps the first of `ways` that makes what our kernel does; where ways are timed, the fastest, unless our
    /// kernel is.
    fn plan_product(
        &mut self, product: &Product, mut ways: Vec<Planned>, kept: &mut Option<Kept>,
    ) -> Result<(), String> {
        let what = ways.first().map(Planned::describe);
        let known = kept.as_mut().zip(what.as_ref()).and_then(|(kept, what)| kept.find(what));
        let timed = match known {
            Some(how) if how == OWN => return Ok(()),
            Some(how) if ways.iter().any(|way| way.how() == how) => {
                ways.retain(|way| way.how() == how);
                false
            }
            _ => kept.as_ref().is_some_and(Kept::times),
        };
        let mut tried = Ok(());
        let mut fastest: Option<(f64, Planned)> = None;
        let mut own_ms = f64::INFINITY;
        for way in ways {
            if self.has_failed() {
                return Ok(()); // which is told, and nothing is computed
            }
            self.libraries.plans.push(way);
            tried = match self.try_last_plan(product, timed) {
                Ok([ms, own]) if timed => {
                    own_ms = own_ms.min(own);
                    let way = self.libraries.plans.pop().expect("pushed");
                    if fastest.as_ref().is_none_or(|(best, _)| ms < *best) {
                        fastest = Some((ms, way));
                    }
                    continue;
                }
                Ok(_) => return Ok(()),
                Err(why) => Err(why),
            };
            self.libraries.plans.pop();
        }
        let Some((ms, way)) = fastest else { return tried };
        let how = if ms < own_ms { way.how() } else { OWN.into() };
        if let (Some(kept), Some(what)) = (kept, what) {
            kept.keep(&what, &how);
        }
        if how != OWN {
            self.libraries.plans.push(way);
        }
        Ok(())
    }
}

/// The fastest ways, as a run and other runs have kept them.
#[derive(Debug)]
struct Kept {
    tuning: Tuning,
    /// The GPU, and all that its speed and its sums depend on.
    place: String,
    record: Table,
    cache: Table,
    news: bool,
}

impl Kept {
    /// Reads them; tells what could not be read.
    fn load(tuning: &Tuning, place: String) -> (Self, Vec<String>) {
        let (record, told) = Table::load(&tuning.record);
        let cache = tuning.cache.as_deref().map(Table::load).unwrap_or_default();
        let told = [told, cache.1].into_iter().flatten().collect();
        (Self { tuning: tuning.clone(), place, record, cache: cache.0, news: false }, told)
    }

    const fn times(&self) -> bool {
        self.tuning.time
    }

    /// How it is made; what other runs have found becomes this one's.
    fn find(&mut self, what: &str) -> Option<String> {
        let of = |table: &Table| table.find(&self.place, what).map(str::to_owned);
        let how = of(&self.record).or_else(|| of(&self.cache))?;
        self.news |= self.record.keep(&self.place, what, &how);
        Some(how)
    }

    fn keep(&mut self, what: &str, how: &str) {
        let news = [&mut self.record, &mut self.cache].map(|t| t.keep(&self.place, what, how));
        self.news |= news.contains(&true);
    }

    /// Writes what is new; tells what could not be written.
    fn store(&self) -> Vec<String> {
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
