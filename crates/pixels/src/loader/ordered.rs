//! Jobs done ahead by threads, results taken in order.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rayon::iter::IndexedParallelIterator;

use crate::source::SourceError;

/// The results of jobs `range`, in order. The jobs share one crew of threads, two jobs at a time, and at most one
/// finished result of each waits: the end of a job never leaves threads idle, and no more than four results exist that
/// nobody has taken.
pub(super) struct Ordered<T> {
    remaining: Range<u64>,
    /// Job k comes from lane k mod lanes, counted from the first job.
    first: u64,
    lanes: Vec<Receiver<Result<T, SourceError>>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    waited: Duration,
}

/// The threads that jobs run on.
pub(super) struct Crew {
    pool: rayon::ThreadPool,
    stop: Arc<AtomicBool>,
}

impl<T: Send + 'static> Ordered<T> {
    /// Starts the threads. `job` must be a pure function of its number.
    pub(super) fn start(
        range: Range<u64>,
        workers: usize,
        job: impl Fn(u64, &Crew) -> Result<T, SourceError> + Send + Sync + 'static,
    ) -> Result<Self, SourceError> {
        let stop = Arc::new(AtomicBool::new(false));
        let crew = Arc::new(Crew::of(workers.max(1), stop.clone())?);
        let count = workers.clamp(1, 2);
        let job = Arc::new(job);
        let (mut lanes, mut threads) = (Vec::new(), Vec::new());
        for lane in 0..count {
            let (sender, receiver) = sync_channel(1);
            let (job, crew, range) = (job.clone(), crew.clone(), range.clone());
            threads.push(thread::spawn(move || {
                for number in range.skip(lane).step_by(count) {
                    let result = job(number, &crew);
                    let last = result.is_err();
                    if crew.is_stopped() || sender.send(result).is_err() || last {
                        return;
                    }
                }
            }));
            lanes.push(receiver);
        }
        let waited = Duration::ZERO;
        Ok(Self { first: range.start, remaining: range, lanes, threads, stop, waited })
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

impl Crew {
    fn of(workers: usize, stop: Arc<AtomicBool>) -> Result<Self, SourceError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(workers)
            .thread_name(|number| format!("views-{number}"))
            .build()
            .map_err(|error| SourceError::new("the loader", error.to_string()))?;
        Ok(Self { pool, stop })
    }

    /// Calls `work` with each item and a worker, on all threads of the crew; stops early when nobody wants the result.
    pub(super) fn each<I: Send, W: Send>(
        &self,
        items: impl IndexedParallelIterator<Item = I>,
        worker: impl Fn() -> W + Send + Sync,
        work: impl Fn(&mut W, I) + Send + Sync,
    ) {
        self.pool.install(|| {
            items.for_each_init(worker, |worker, item| {
                if !self.is_stopped() {
                    work(worker, item);
                }
            });
        });
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
