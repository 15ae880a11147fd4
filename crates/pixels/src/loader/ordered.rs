//! Jobs done ahead by threads, results taken in order.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::source::SourceError;

/// The results of jobs `range`, in order. Two lanes work at once, each at one job (with its half of the workers)
/// and with at most one finished result waiting: the end of a job never leaves workers idle, and no more than
/// four results exist that nobody has taken.
pub(super) struct Ordered<T> {
    remaining: Range<u64>,
    /// Job k comes from lane k mod lanes, counted from the first job.
    first: u64,
    lanes: Vec<Receiver<Result<T, SourceError>>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    waited: Duration,
}

/// What a job knows about the threads that it runs on.
pub(super) struct Crew<'a> {
    workers: NonZeroUsize,
    stop: &'a AtomicBool,
}

impl<T: Send + 'static> Ordered<T> {
    /// Starts the threads. `job` must be a pure function of its number.
    pub(super) fn start(
        range: Range<u64>,
        workers: usize,
        job: impl Fn(u64, &Crew) -> Result<T, SourceError> + Send + Sync + 'static,
    ) -> Self {
        let workers = workers.max(1);
        let count = workers.min(2);
        let job = Arc::new(job);
        let stop = Arc::new(AtomicBool::new(false));
        let (mut lanes, mut threads) = (Vec::new(), Vec::new());
        for lane in 0..count {
            let (sender, receiver) = sync_channel(1);
            let (job, stop, range) = (job.clone(), stop.clone(), range.clone());
            let share = (workers + lane) / count;
            threads.push(thread::spawn(move || {
                let workers = NonZeroUsize::new(share).unwrap_or(NonZeroUsize::MIN);
                let crew = Crew { workers, stop: &stop };
                for number in range.skip(lane).step_by(count) {
                    let result = job(number, &crew);
                    let last = result.is_err();
                    if stop.load(Ordering::Relaxed) || sender.send(result).is_err() || last {
                        return;
                    }
                }
            }));
            lanes.push(receiver);
        }
        Self { first: range.start, remaining: range, lanes, threads, stop, waited: Duration::ZERO }
    }
}

impl<T> Ordered<T> {
    /// How long `next` has waited in all.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }
}

impl<T> Iterator for Ordered<T> {
    type Item = Result<T, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.remaining.next()?;
        let lane = (number - self.first) as usize % self.lanes.len();
        let start = Instant::now();
        let result = self.lanes[lane].recv().unwrap_or_else(|_| {
            Err(SourceError::new("the loader", "a thread ended before its work was done"))
        });
        self.waited += start.elapsed();
        if result.is_err() {
            self.remaining = 0..0;
        }
        Some(result)
    }
}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.lanes.clear();
        for thread in self.threads.drain(..) {
            // A panic was already reported by `next`, or nobody asked any more.
            drop(thread.join());
        }
    }
}

impl Crew<'_> {
    /// Calls `work` once for each item, on all workers of the crew; stops early when nobody wants the result.
    pub(super) fn each<I>(&self, items: impl Iterator<Item = I> + Send, work: impl Fn(I) + Sync)
    where
        I: Send,
    {
        let items = Mutex::new(items);
        let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
        let run = || {
            while !self.stop.load(Ordering::Relaxed)
                && let Some(item) = next()
            {
                work(item);
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.workers.get() {
                scope.spawn(run);
            }
            run();
        });
    }
}
