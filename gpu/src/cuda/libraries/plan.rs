//! Which way each product is made, by a library or by our own kernel and its tiles: planned, tried and timed
//! before the first batch.

use super::{
    Libraries, Room, WORKSPACE_BYTES_MAX,
    check::Bed,
    cudnn,
    product::{Product, products},
    tuning::{Kept, OWN, Timed},
    weights_bytes,
};
use crate::{
    cuda::{
        Numbers,
        board::Cuda,
        memory::Memory,
        tile::{Tile, Tiled},
    },
    device::{Demand, DeviceError},
    ops::{
        conv::{Conv, Pass},
        linear::Linear,
    },
};

/// Algorithms of a pass that are tried: the first ones are the fastest.
const TRIED_MAX: usize = 3;

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
    /// How: the number of its algorithm.
    fn how(&self) -> String {
        match self {
            Self::Conv { plan, .. } => plan.algorithm.to_string(),
            Self::Linear { .. } => "0".into(),
        }
    }
}

/// Our own kernel's way to make a product: by this tile, or by the one that it takes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Own(Option<Tile>);

impl Own {
    /// The name in the file of the fastest ways.
    fn name(self) -> String {
        self.0.map_or_else(|| OWN.into(), |tile| format!("{OWN} {}", tile.name()))
    }

    /// The one of this name.
    fn named(how: &str) -> Option<Self> {
        let tiles = Tile::ALL.into_iter().map(Some);
        [None].into_iter().chain(tiles).map(Self).find(|own| own.name() == how)
    }
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

    /// The tile of our own kernel that was the fastest, if any was timed.
    fn tile(&self, wanted: &Product) -> Option<Tile> {
        self.tiles.iter().find(|(product, _)| product == wanted).map(|(_, tile)| *tile)
    }

    /// The ways of libraries to make this over `n` images, best first.
    fn ways(
        &self, numbers: Numbers, product: &Product, n: usize,
    ) -> Result<Vec<Planned>, String> {
        match (*product, &self.cudnn) {
            _ if !product.fits_libraries(numbers) => Ok(vec![]),
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
    /// Has all products of our own kernels made by this tile from now on; by none, as each was planned.
    pub fn tile_by(&mut self, tile: Option<Tile>) {
        self.tile = tile;
    }

    /// What our own kernel multiplies in this product, and by which tiles.
    pub(in crate::cuda) fn tiled(&self, product: &Product) -> Tiled {
        let tile = self.tile.or_else(|| self.libraries.tile(product));
        Tiled { numbers: self.numbers, tile }
    }

    /// Plans how the products of `demand` are made. What a library makes is tried beside our own kernel.
    pub(in crate::cuda) fn plan_products(&mut self, demand: &Demand) {
        self.bind();
        self.libraries.plans.clear();
        self.libraries.tiles.clear();
        self.libraries.room = None;
        let remarks = self.libraries.open(&self.context, &self.queues.compute, self.numbers);
        let gpu = self.context.name();
        remarks.into_iter().for_each(|remark| self.remark(format!("{gpu}: {remark}")));
        let mut refusals = Refusals::default();
        let mut all = vec![];
        let mut workspace_bytes = None;
        for named in products(demand) {
            let ways = self.libraries.ways(self.numbers, &named.product, demand.batch);
            for way in ways.iter().flatten() {
                if let Planned::Conv { plan, .. } = way {
                    workspace_bytes = workspace_bytes.max(Some(plan.workspace_bytes));
                }
            }
            let ways = ways.unwrap_or_else(|why| {
                refusals.add(named.name(), why);
                vec![]
            });
            all.push((named, ways));
        }
        if let Some(workspace_bytes) = workspace_bytes {
            let weights_bytes = weights_bytes(demand);
            // At least a byte, so that the workspace has an address.
            match Memory::new(&self.context, weights_bytes + workspace_bytes.max(1)) {
                Ok(memory) => self.libraries.room = Some(Room { memory, weights_bytes }),
                Err(error) => {
                    self.remark(format!("cuDNN is not used: {error}"));
                    all.iter_mut().for_each(|(_, ways)| {
                        ways.retain(|way| matches!(way, Planned::Linear { .. }));
                    });
                }
            }
        }
        let mut kept = self.load_kept();
        for (named, ways) in all {
            let planned = self.plan_product(&named.product, demand.batch, ways, &mut kept);
            if let Err(why) = planned {
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
        let (gpu, image, numbers) = (self.gpu(), self.image(), self.numbers.name());
        let libraries = self.libraries.describe();
        let driver = self.libraries.driver;
        let place = format!("{}, driver {driver}, {image}, {numbers}{libraries}", gpu.name);
        let (kept, told) = Kept::load(tuning, place);
        told.into_iter()
            .for_each(|what| self.remark_kept(&what, tuning.time != Timed::Nothing));
        Some(kept)
    }

    /// Tells what of the fastest ways is of no use.
    fn remark_kept(&self, what: &str, again: bool) {
        let then = if again { "timed again" } else { "not heeded" };
        self.remark(format!("{what}: {then}"));
    }

    /// Plans how one product is made: as it is kept, or, where ways are timed, in the fastest of all; else by the
    /// first of the libraries' `ways` that makes what our own kernel does.
    fn plan_product(
        &mut self, product: &Product, n: usize, mut ways: Vec<Planned>, kept: &mut Option<Kept>,
    ) -> Result<(), String> {
        let what = product.describe(n);
        let times = |time| kept.as_ref().is_some_and(|kept| kept.times() == time);
        let mut all = times(Timed::All);
        // Our own kernel's tiles, if no library makes it.
        let mut tiles = all || times(Timed::Tiles);
        // What other runs have timed may be a library, which rounds otherwise.
        let of_others = all || ways.is_empty();
        if let Some(kept) = kept
            && let Some(how) = kept.find(&what, of_others)
        {
            let own = Own::named(&how);
            if own.is_some() || ways.iter().any(|way| way.how() == how) {
                kept.take_up(&what, &how);
                ways.retain(|way| way.how() == how);
                self.libraries
                    .tiles
                    .extend(own.and_then(|own| own.0).map(|tile| (*product, tile)));
                (all, tiles) = (false, false);
            } else {
                self.remark_kept(&format!("{what} by {how:?}, which there is not"), tiles);
            }
        }
        if ways.is_empty() && !tiles {
            return Ok(());
        }
        let bed = match self.bed(product, n) {
            Ok(bed) => bed,
            Err(error @ DeviceError::OutOfMemory { .. }) => {
                return Err(format!("no room to try it: {error}"));
            }
            Err(error) => {
                self.failed.get_or_insert(error);
                return Ok(()); // which is told, and nothing is computed
            }
        };
        let mut fastest: Option<(f64, Planned)> = None;
        let mut refused = Ok(());
        for way in ways {
            if self.has_failed() {
                return Ok(()); // which is told, and nothing is computed
            }
            self.libraries.plans.push(way);
            let tried = self.try_last_plan(&bed);
            if tried.is_ok() && !all {
                return Ok(());
            }
            let ms = if tried.is_ok() { self.time_last_plan(&bed) } else { f64::INFINITY };
            let way = self.libraries.plans.pop().expect("pushed");
            match tried {
                Ok(()) if fastest.as_ref().is_none_or(|(best, _)| ms < *best) => {
                    fastest = Some((ms, way));
                }
                Ok(()) => {}
                Err(why) => refused = Err(why),
            }
        }
        if tiles {
            if fastest.is_some() {
                refused = Ok(());
            }
            let how = self.take_fastest(&bed, fastest);
            // What a GPU that fails took says nothing of any way.
            if let Some(kept) = kept.as_mut().filter(|_| !self.has_failed()) {
                kept.keep(&what, &how);
            }
        }
        refused
    }

    /// Times our own kernel by all tiles, and has the product made by the fastest of these and of `library`;
    /// returns how.
    fn take_fastest(&mut self, bed: &Bed, library: Option<(f64, Planned)>) -> String {
        let others = Tile::ALL.into_iter().filter(|tile| *tile != bed.tile);
        let mut fastest = (f64::INFINITY, None);
        for tile in [None].into_iter().chain(others.map(Some)) {
            let ms = self.time_ourselves(bed, tile);
            if ms < fastest.0 {
                fastest = (ms, tile);
            }
        }
        let (own_ms, tile) = fastest;
        match library {
            Some((ms, way)) if ms < own_ms => {
                let how = way.how();
                self.libraries.plans.push(way);
                how
            }
            _ => {
                self.libraries.tiles.extend(tile.map(|tile| (bed.product, tile)));
                Own(tile).name()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_of_our_own_kernels_are_known_by_what_is_kept() {
        for own in [None, Some(Tile::Large)].map(Own) {
            assert_eq!(Own::named(&own.name()), Some(own));
        }
        assert_eq!(Own::named("own 128x128"), Some(Own(Some(Tile::Large))));
        for other in ["own 256x64", "own ", "0", "128x128"] {
            assert_eq!(Own::named(other), None);
        }
    }
}
