//! What each fault does, when it begins and when it ends.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use anyhow::{Context, Result};
use sortie_harness::patience;
use tokio::time::timeout;

use super::{GRAPHED, Stage, has_done, ms};
use crate::filler::Filler;
use crate::fleet::Member;
use crate::grapher;
use crate::history::Record;
use crate::schedule::{self, Fault, Kind, Target};

/// What fills the queue and the storage at the moment. It works beside the schedule, because it
/// needs servers, which may be down.
pub(super) type Fillers = BTreeMap<Target, Filler>;

impl Stage<'_> {
    pub(super) async fn begin(&mut self, fault: Fault) -> Result<()> {
        let until = fault.at + fault.lasts;
        // Between two leaders there is nobody to hit.
        let Some(place) = self.servers.place(fault.target).await else {
            return Ok(());
        };
        if !self.hit(fault, place)? {
            return Ok(());
        }
        // What fills is counted when it tells that nothing more was taken.
        if fault.kind != Kind::Fill {
            self.count(fault.target, fault.kind);
        }
        self.log.write([Record::Fault {
            at_ms: self.now_ms(),
            kind: fault.kind.to_string(),
            target: fault.target.to_string(),
            lasts_ms: ms(fault.lasts),
        }])?;
        self.under_way.push((until, fault, place));
        Ok(())
    }

    fn count(&mut self, target: Target, kind: Kind) {
        *self.faults.entry(schedule::name(target, kind)).or_default() += 1;
    }

    /// Do it. False if there is nobody to do it to.
    fn hit(&mut self, fault: Fault, place: usize) -> Result<bool> {
        let Fault { kind, target, .. } = fault;
        match target {
            Target::Worker(number) => {
                self.workers[number].begin(kind)?;
                Ok(true)
            }
            Target::Submitter => hit(&mut self.submitter, kind, &mut self.submitted_all),
            Target::Reader => hit(&mut self.reader, kind, &mut self.read_all),
            Target::Mapper => hit(&mut self.mapper, kind, &mut self.mapped_all),
            Target::Grapher if kind == Kind::Kill && self.only_looks()? => Ok(false),
            Target::Grapher => hit(&mut self.grapher, kind, &mut self.graphed_all),
            Target::Queue | Target::Storage => Ok(self.fill(fault)),
            Target::Server(_)
            | Target::TasksLeader
            | Target::OutcomesLeader
            | Target::ClusterLeader => {
                self.hit_server(kind, place);
                Ok(true)
            }
        }
    }

    fn only_looks(&self) -> Result<bool> {
        grapher::only_looks(&self.plan.folder.join(GRAPHED))
    }

    fn hit_server(&self, kind: Kind, place: usize) {
        let networks = self.members().map(|member| member.network.to(place));
        match kind {
            Kind::Kill => self.servers.server(place).kill(),
            Kind::Pause => self.servers.server(place).pause(),
            Kind::Cut => networks.for_each(|network| network.cut()),
            Kind::Stall => networks.for_each(|network| network.stall()),
            Kind::Starve | Kind::Step(_) | Kind::Fill => {}
        }
    }

    /// False if the room of the last time is not given back yet.
    fn fill(&mut self, Fault { target, lasts, .. }: Fault) -> bool {
        let (servers, replicas) = (self.servers.urls(), self.servers.count());
        match self.fillers.entry(target) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(Filler::start(target, lasts, servers, replicas));
                true
            }
        }
    }

    /// End the fault whose turn it is.
    pub(super) async fn end_next(&mut self) -> Result<()> {
        let next = self
            .under_way
            .iter()
            .enumerate()
            .min_by_key(|(_, (until, ..))| *until)
            .map(|(place, _)| place);
        let Some(next) = next else { return Ok(()) };
        let (_, fault, place) = self.under_way.swap_remove(next);
        match (fault.target, fault.kind) {
            (Target::Worker(number), Kind::Kill) => self.workers[number].restart(),
            (Target::Worker(number), kind) => self.workers[number].end(kind),
            (Target::Submitter, Kind::Kill) => self.succeed_submitter(),
            (Target::Submitter, kind) => self.submitter.end(kind),
            (Target::Reader, Kind::Kill) => self.succeed_reader(),
            (Target::Reader, kind) => self.reader.end(kind),
            (Target::Mapper, kind) => self.mapper.end(kind),
            // Its successor finds out what is left.
            (Target::Grapher, Kind::Kill) => self.grapher.restart(),
            (Target::Grapher, kind) => self.grapher.end(kind),
            // What fills ends by itself.
            (Target::Queue | Target::Storage, _) => Ok(()),
            (
                Target::Server(_)
                | Target::TasksLeader
                | Target::OutcomesLeader
                | Target::ClusterLeader,
                kind,
            ) => {
                self.mend_server(kind, place).await;
                Ok(())
            }
        }
    }

    async fn mend_server(&self, kind: Kind, place: usize) {
        match kind {
            Kind::Kill => self.servers.server(place).restart().await,
            Kind::Pause => self.servers.server(place).resume(),
            Kind::Cut | Kind::Stall => self
                .members()
                .for_each(|member| member.network.to(place).mend()),
            Kind::Starve | Kind::Step(_) | Kind::Fill => {}
        }
    }

    /// Count those that have given the room back.
    pub(super) async fn collect_fillers(&mut self) -> Result<()> {
        let done: Vec<Target> = self
            .fillers
            .iter()
            .filter(|(_, filler)| filler.is_finished())
            .map(|(target, _)| *target)
            .collect();
        for target in done {
            self.end_filler(target).await?;
        }
        Ok(())
    }

    /// Have all give the room back.
    pub(super) async fn end_fillers(&mut self) -> Result<()> {
        while let Some(target) = self.fillers.keys().next().copied() {
            self.end_filler(target).await?;
        }
        Ok(())
    }

    async fn end_filler(&mut self, target: Target) -> Result<()> {
        let Some(filler) = self.fillers.remove(&target) else {
            return Ok(());
        };
        let was_full = timeout(patience(), filler.end())
            .await
            .with_context(|| format!("the room of the {target} was not given back"))?;
        if was_full.with_context(|| format!("failed to fill the {target}"))? {
            self.count(target, Kind::Fill);
        }
        Ok(())
    }
}

/// Do something to a process that has an end. False if it has ended already.
fn hit(member: &mut Member, kind: Kind, done: &mut bool) -> Result<bool> {
    *done |= has_done(member)?;
    if *done {
        return Ok(false);
    }
    member.begin(kind)?;
    Ok(true)
}
