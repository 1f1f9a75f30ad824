//! Reads back on which NUMA node each page lies, for every policy, and compares with what the
//! policy says.
//!
//! Runs on any Linux machine; on one with a single node it shows little. `scripts/numa-guest.sh`
//! runs it in guests with two and three nodes. Prints a table in Markdown; the exit status is 1 if
//! a page lies where it should not.

use std::fs;
use std::process::ExitCode;
use std::ptr::NonNull;

use context_allocator::error::SourceError;
use context_allocator::source::{MmapOptions, NodeSet, NumaPolicy, PageKind, PageLadder, PageLock};
use context_allocator::{Allocator, MemorySource, MmapAllocator, MmapSource, NonZeroLayout};

/// Pages of a region: a multiple of the sums of weights that the guests use.
const PAGES: usize = 240;
const PAGE: usize = 4096;

/// Where the pages of a policy must lie.
#[derive(Clone, Debug)]
enum Expected {
    /// All on one node.
    Node(u16),
    /// Each on one of these.
    Among(Vec<u16>),
    /// Each on the node behind that of the page before it.
    Turns(Vec<u16>),
    /// On each node as many as its share.
    Shares(Vec<(u16, usize)>),
}

impl Expected {
    /// How many pages lie where they should not.
    fn misplaced(&self, pages: &[Option<u16>]) -> usize {
        let outside = |nodes: &[u16]| {
            pages.iter().filter(|page| page.is_none_or(|node| !nodes.contains(&node))).count()
        };
        match self {
            Self::Node(node) => outside(&[*node]),
            Self::Among(nodes) => outside(nodes),
            Self::Turns(nodes) => {
                let place = |page: Option<u16>| nodes.iter().position(|&node| page == Some(node));
                let follows = |pair: &&[Option<u16>]| match (place(pair[0]), place(pair[1])) {
                    (Some(first), Some(second)) => (first + 1) % nodes.len() == second,
                    _ => false,
                };
                outside(nodes).max(pages.len() - 1 - pages.windows(2).filter(follows).count())
            }
            Self::Shares(shares) => {
                let sum: usize = shares.iter().map(|&(_, weight)| weight).sum();
                let on = |node| pages.iter().filter(|&&page| page == Some(node)).count();
                let beyond =
                    |&(node, weight): &(u16, usize)| on(node).saturating_sub(pages.len() * weight / sum);
                let nodes: Vec<u16> = shares.iter().map(|&(node, _)| node).collect();
                outside(&nodes) + shares.iter().map(beyond).sum::<usize>()
            }
        }
    }
}

/// What the table adds up to.
#[derive(Debug, Default)]
struct Tally {
    rows: usize,
    pages: usize,
    wrong: usize,
}

impl Tally {
    fn row(
        &mut self,
        what: &str,
        thread: u16,
        found: &Result<Vec<Option<u16>>, SourceError>,
        expected: &Expected,
    ) {
        self.rows += 1;
        match found {
            Ok(pages) => {
                let misplaced = expected.misplaced(pages);
                self.pages += pages.len();
                self.wrong += misplaced;
                println!("| {what} | {thread} | {} | {} | {misplaced} |", pages.len(), counts(pages));
            }
            Err(error) => {
                self.wrong += 1;
                println!("| {what} | {thread} | - | **{error}** | 1 |");
            }
        }
    }

    /// A row for something that must be refused.
    fn refused(&mut self, what: &str, thread: u16, got: Result<(), SourceError>, expected: &[SourceError]) {
        self.rows += 1;
        let right = got.is_err_and(|error| expected.contains(&error));
        self.wrong += usize::from(!right);
        let got = got.map_or_else(|error| format!("refused: {error:?}"), |()| "granted".into());
        println!("| {what} | {thread} | - | {got} | {} |", usize::from(!right));
    }
}

/// Pages by node.
fn counts(pages: &[Option<u16>]) -> String {
    let mut nodes: Vec<Option<u16>> = pages.to_vec();
    nodes.sort_unstable();
    let runs = nodes.chunk_by(|left, right| left == right).map(|run| match run[0] {
        Some(node) => format!("{} on {node}", run.len()),
        None => format!("{} nowhere", run.len()),
    });
    runs.collect::<Vec<_>>().join(", ")
}

fn layout(size: usize) -> NonZeroLayout {
    NonZeroLayout::from_size_align(size, 8).expect("sizes here are small")
}

fn nodes_of(range: NonNull<[u8]>) -> Result<Vec<Option<u16>>, SourceError> {
    let mut nodes = Vec::new();
    MmapSource::nodes_of_pages(range, |_, node| nodes.push(node))?;
    Ok(nodes)
}

/// Obtains a region, touches its pages if so asked, and says where they lie.
fn places(options: MmapOptions, size: usize, touch: bool) -> Result<Vec<Option<u16>>, SourceError> {
    let source = options.build();
    let region = source.obtain(layout(size))?;
    if touch {
        // SAFETY: The region is held and writable.
        unsafe { region.cast::<u8>().write_bytes(1, region.len()) };
    }
    let nodes = nodes_of(region);
    // SAFETY: Obtained with this layout, and not used again.
    unsafe { source.release(region, layout(size)) };
    nodes
}

/// Places of a block that grew twice from a few pages, the later ones touched after the move.
fn grown_places(options: MmapOptions) -> Result<Vec<Option<u16>>, SourceError> {
    let allocator = MmapAllocator::new_in(options.build());
    let refused = |_| SourceError::Exhausted;
    let mut old = layout(16 * PAGE);
    let mut block = allocator.allocate(old).map_err(refused)?;
    for pages in [16, 100, PAGES] {
        let new = layout(pages * PAGE);
        // SAFETY: The block was returned for `old`.
        block = unsafe { allocator.grow(block.cast(), old, new) }.map_err(refused)?;
        // SAFETY: The block is held and writable.
        unsafe { block.cast::<u8>().write_bytes(1, block.len()) };
        old = new;
    }
    let nodes = nodes_of(block);
    // SAFETY: The block was returned for `old`, and is not used again.
    unsafe { allocator.deallocate(block.cast(), old) };
    nodes
}

/// The machine, as the kernel describes it.
struct Machine {
    /// The nodes that this process may use, and their processors that it may run on.
    nodes: Vec<(u16, Vec<usize>)>,
    /// Nodes that exist but are not for this process.
    forbidden: Vec<u16>,
    /// Of the kernel, major and minor.
    version: (u32, u32),
}

impl Machine {
    fn look() -> Result<Self, SourceError> {
        let allowed = NodeSet::allowed()?;
        let mine = numbers(&field("/proc/self/status", "Cpus_allowed_list:"));
        let processors = |node| {
            let list = fs::read_to_string(format!("/sys/devices/system/node/node{node}/cpulist"));
            numbers(&list.unwrap_or_default()).into_iter().filter(|cpu| mine.contains(cpu)).collect()
        };
        let online = numbers(&fs::read_to_string("/sys/devices/system/node/has_memory").unwrap_or_default());
        let online = online.into_iter().filter_map(|node| u16::try_from(node).ok());
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut parts =
            release.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        Ok(Self {
            nodes: allowed.iter().map(|node| (node, processors(node))).collect(),
            forbidden: online.filter(|&node| !allowed.contains(node)).collect(),
            version: (parts.next().unwrap_or(0), parts.next().unwrap_or(0)),
        })
    }

    fn numbers(&self) -> Vec<u16> {
        self.nodes.iter().map(|&(node, _)| node).collect()
    }
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
}

/// The numbers of a list such as `0-3,7`.
fn numbers(list: &str) -> Vec<usize> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

/// Moves this thread to one processor.
fn run_on(cpu: usize) {
    let mut word = [0_u64; 16];
    word[cpu / 64] |= 1 << (cpu % 64);
    // SAFETY: The kernel reads as many bytes as it is told; 0 is this thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&word), word.as_ptr().cast()) };
    assert_eq!(result, 0, "this process may run on the processors that its status lists");
}

fn weight(node: u16) -> usize {
    let file = format!("/sys/kernel/mm/mempolicy/weighted_interleave/node{node}");
    fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1)
}

/// Every policy, from a thread on node `here`.
fn policies(tally: &mut Tally, machine: &Machine, here: u16) {
    let all = machine.numbers();
    let set = NodeSet::of(&all);
    let options = MmapSource::builder;
    let mut check = |name: &str, policy: NumaPolicy, expected: Expected| {
        let found = places(options().numa(policy), PAGES * PAGE, true);
        tally.row(name, here, &found, &expected);
    };
    check("default", NumaPolicy::DEFAULT, Expected::Node(here));
    check("local", NumaPolicy::LOCAL, Expected::Node(here));
    for (index, &node) in all.iter().enumerate() {
        let one = NodeSet::of(&[node]);
        check(&format!("bind {node}"), NumaPolicy::bind(one), Expected::Node(node));
        check(&format!("bind {node}, static"), NumaPolicy::bind(one).static_nodes(), Expected::Node(node));
        // The number is a place among the nodes that the process may use, and wraps around.
        let place = (index + all.len()) as u16;
        let relative = NumaPolicy::bind(NodeSet::of(&[place])).relative_nodes();
        check(&format!("bind {place}, relative"), relative, Expected::Node(node));
        check(&format!("preferred {node}"), NumaPolicy::preferred(node), Expected::Node(node));
        check(
            &format!("preferred {node}, static"),
            NumaPolicy::preferred(node).static_nodes(),
            Expected::Node(node),
        );
    }
    check(&format!("bind {all:?}"), NumaPolicy::bind(set), Expected::Among(all.clone()));
    check(&format!("interleave {all:?}"), NumaPolicy::interleave(set), Expected::Turns(all.clone()));
    let last_first = NumaPolicy::interleave(set).static_nodes();
    check(&format!("interleave {all:?}, static"), last_first, Expected::Turns(all.clone()));
    let beyond = machine.forbidden.iter().fold(set, |set, &node| set.with(node));
    if beyond != set {
        let name = format!("bind {beyond:?}, static");
        check(&name, NumaPolicy::bind(beyond).static_nodes(), Expected::Among(all));
    }
}

/// The policies of newer kernels: where pages lie, or that an older one says so.
fn newer_policies(tally: &mut Tally, machine: &Machine, here: u16) {
    let all = machine.numbers();
    let set = NodeSet::of(&all);
    let shares = all.iter().map(|&node| (node, weight(node))).collect();
    let weights: Vec<usize> = all.iter().map(|&node| weight(node)).collect();
    let mut rows = vec![
        (
            format!("weighted interleave {all:?} by {weights:?}"),
            NumaPolicy::weighted_interleave(set),
            Expected::Shares(shares),
            (6, 9),
        ),
        (format!("preferred many {all:?}"), NumaPolicy::preferred_many(set), Expected::Node(here), (5, 15)),
    ];
    for &node in &all {
        let policy = NumaPolicy::preferred_many(NodeSet::of(&[node]));
        rows.push((format!("preferred many [{node}]"), policy, Expected::Node(node), (5, 15)));
    }
    for (name, policy, expected, since) in rows {
        let options = MmapSource::builder().numa(policy);
        let found = places(options, PAGES * PAGE, true);
        if machine.version >= since {
            tally.row(&name, here, &found, &expected);
        } else {
            tally.refused(&name, here, found.map(drop), &[SourceError::Unsupported]);
            let found = places(MmapSource::builder().numa(policy.or_default()), PAGES * PAGE, true);
            tally.row(&format!("{name}, or default"), here, &found, &Expected::Node(here));
        }
    }
}

/// Policies together with the other ways to touch and to hold pages.
fn combinations(tally: &mut Tally, machine: &Machine, here: u16) {
    for node in machine.numbers() {
        let bound = MmapSource::builder().numa(NumaPolicy::bind(NodeSet::of(&[node])));
        let expected = Expected::Node(node);
        let untouched = [
            ("populated", bound.populate()),
            ("locked", bound.lock(PageLock::Now)),
            ("between guards, populated", bound.guard_pages().populate()),
        ];
        for (how, options) in untouched {
            tally.row(&format!("bind {node}, {how}"), here, &places(options, PAGES * PAGE, false), &expected);
        }
        tally.row(&format!("bind {node}, grown by `MmapAllocator`"), here, &grown_places(bound), &expected);
        let guarded = grown_places(bound.guard_pages());
        tally.row(&format!("bind {node}, between guards, grown"), here, &guarded, &expected);
        let huge = bound.pages(PageLadder::only(PageKind::Transparent));
        tally.row(&format!("bind {node}, transparent huge"), here, &places(huge, 4 << 20, true), &expected);
        pool(tally, here, node, bound);
    }
    let missing = NumaPolicy::bind(NodeSet::of(&[77]));
    let invalid = [SourceError::System(libc::EINVAL)];
    let found = places(MmapSource::builder().numa(missing), PAGE, true);
    tally.refused("bind 77, which does not exist", here, found.map(drop), &invalid);
    for &node in &machine.forbidden {
        let found = places(MmapSource::builder().numa(NumaPolicy::bind(NodeSet::of(&[node]))), PAGE, true);
        tally.refused(
            &format!("bind {node}, which is not for this process"),
            here,
            found.map(drop),
            &invalid,
        );
    }
}

/// Huge pages of the pool, of which each node has some; more than one node has are refused, not
/// fatal.
fn pool(tally: &mut Tally, here: u16, node: u16, bound: MmapOptions) {
    let file = format!("/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/free_hugepages");
    let free: usize = fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    if free == 0 {
        return;
    }
    let options = bound.pages(PageLadder::only(PageKind::Huge2MiB));
    let found = places(options, free << 21, false);
    tally.row(&format!("bind {node}, {free} pages of the pool"), here, &found, &Expected::Node(node));
    let refusals = [libc::EFAULT, libc::ENOMEM].map(SourceError::System);
    let found = places(options, (free + 1) << 21, false);
    tally.refused(&format!("bind {node}, {} pages of the pool", free + 1), here, found.map(drop), &refusals);
    let ladder = bound.pages(PageLadder::LADDER);
    let found = places(ladder, (free + 1) << 21, true);
    tally.row(&format!("bind {node}, the ladder instead"), here, &found, &Expected::Node(node));
}

fn main() -> ExitCode {
    let machine = match Machine::look() {
        Ok(machine) => machine,
        Err(error) => {
            eprintln!("numa_placement: {error}");
            return ExitCode::from(2);
        }
    };
    println!("Linux {}.{}, nodes:", machine.version.0, machine.version.1);
    for (node, processors) in &machine.nodes {
        println!("- {node}, processors {processors:?}");
    }
    println!("\n| policy | thread on | pages | found | misplaced |\n|---|---|---|---|---|");
    let mut tally = Tally::default();
    for (node, processors) in &machine.nodes {
        let Some(&cpu) = processors.first() else { continue };
        run_on(cpu);
        let here = MmapSource::current_node();
        if here != Ok(*node) {
            tally.wrong += 1;
            println!("| current node | {node} | - | **{here:?}** | 1 |");
        }
        policies(&mut tally, &machine, *node);
        newer_policies(&mut tally, &machine, *node);
        combinations(&mut tally, &machine, *node);
    }
    println!("\n{} rows, {} pages, {} misplaced or wrong", tally.rows, tally.pages, tally.wrong);
    // Without rows nothing was looked at.
    ExitCode::from(u8::from(tally.wrong > 0 || tally.rows == 0))
}
