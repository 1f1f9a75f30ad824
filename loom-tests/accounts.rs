//! Heaps that are charged to accounts on several threads, while accounts move and handles go: no
//! limit is passed, nothing stays charged, and each account goes once, after all below it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::vec::Vec;

use core::ptr::NonNull;

use super::{explore, together};
use crate::switch::accounts::{Accounts, Callbacks};
use crate::switch::control::{Control, ControlRef, HeapTier};
use crate::switch::name::Name;

/// What a region is here, in bytes.
const REGION: usize = 100;

struct Tree {
    accounts: Accounts,
    process: u32,
    tenants: [u32; 2],
    heaps: [std::boxed::Box<Control<()>>; 2],
    /// Regions that a limit refused.
    refused: AtomicUsize,
    /// Callbacks that ran.
    ran: Arc<AtomicUsize>,
}

impl Tree {
    /// A process that may hold `regions` regions, and two tenants.
    fn new(regions: usize) -> Self {
        let accounts = Accounts::new();
        let make = |parent, limit| accounts.make(parent, Name::NONE, limit).expect("memory for accounts");
        let process = make(0, regions * REGION);
        let tenants = [make(process, usize::MAX), make(process, usize::MAX)];
        let heap = || std::boxed::Box::new(Control::new(HeapTier::Coroutine));
        let (refused, ran) = (AtomicUsize::new(0), Arc::default());
        Self { accounts, process, tenants, heaps: [heap(), heap()], refused, ran }
    }

    fn heap(&self, number: usize) -> ControlRef {
        // SAFETY: The control block is initialised, and stays until the model ends.
        unsafe { ControlRef::new(NonNull::from(&*self.heaps[number])) }
    }

    /// A heap's life: it obtains a region, spills if there is none, gives it back, and ends.
    fn live(&self, number: usize) {
        let heap = self.heap(number);
        assert!(self.accounts.attach(&heap, self.tenants[number]));
        if !self.accounts.charge(&heap, REGION) {
            self.refused.fetch_add(1, Relaxed);
            let level = self.accounts.tightest(heap);
            assert_eq!(level, 3, "the process has the limit");
            heap.set_standing(heap.standing().with_passed(level));
            self.accounts.charge_beyond_limit(&heap, REGION);
        }
        assert_eq!(heap.held(), REGION);
        self.end_heap(number);
        assert!(heap.standing().is_plain());
    }

    fn end_heap(&self, number: usize) {
        self.accounts.refund(&self.heap(number), REGION);
        self.accounts.detach(&self.heap(number));
    }

    fn give(&self, account: u32) {
        self.accounts.give(account).run();
    }

    /// Checks that nothing is charged, and ends all that is left.
    fn end(&self, tenants: &[u32]) {
        for account in [self.process, self.tenants[0], self.tenants[1]] {
            let view = self.accounts.look(account);
            assert_eq!((view.figures.held, view.heaps), (0, 0));
        }
        tenants.iter().for_each(|tenant| self.give(*tenant));
        self.give(self.process);
        let left: Vec<_> = (1..=self.accounts.made()).filter_map(|n| self.accounts.look_at_any(n)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn two_heaps_share_a_limit() {
    explore("accounts, 2 heaps below one limit", 2, || {
        let tree = together(Tree::new(1), |tree| tree.live(0), [|tree: &Tree| tree.live(1)]);
        assert!(tree.refused.load(Relaxed) <= 1);
        let view = tree.accounts.look(tree.process);
        assert!(view.figures.peak <= (1 + tree.refused.load(Relaxed)) * REGION);
        tree.end(&tree.tenants);
    });
}

#[test]
fn an_account_moves_while_it_is_charged() {
    explore("accounts, moves beside charges", 2, || {
        let moves = |tree: &Tree| {
            assert_eq!(tree.accounts.move_to(tree.tenants[0], 0), Ok(()));
            assert_eq!(tree.accounts.move_to(tree.tenants[0], tree.tenants[1]), Ok(()));
        };
        let tree = together(Tree::new(9), |tree| tree.live(0), [moves]);
        tree.end(&tree.tenants);
    });
}

#[test]
fn the_last_handle_goes_beside_the_last_heap() {
    explore("accounts, handle and heap go", 3, || {
        let tree = Tree::new(9);
        for number in [0, 1] {
            assert!(tree.accounts.attach(&tree.heap(number), tree.tenants[0]));
            assert!(tree.accounts.charge(&tree.heap(number), REGION));
        }
        let ran = Arc::clone(&tree.ran);
        let callback = move || {
            ran.fetch_add(1, Relaxed);
        };
        tree.accounts.add_callback(tree.tenants[0], Callbacks::new(std::boxed::Box::new(callback)));
        let drop_handle = |tree: &Tree| tree.give(tree.tenants[0]);
        let tree = together(tree, drop_handle, [|tree: &Tree| tree.end_heap(0), |tree| tree.end_heap(1)]);
        assert_eq!(tree.ran.load(Relaxed), 1);
        tree.give(tree.tenants[1]);
        tree.give(tree.process);
        assert!((1..=tree.accounts.made()).all(|index| tree.accounts.look_at_any(index).is_none()));
    });
}
