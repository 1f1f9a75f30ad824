//! smoke
#![forbid(unsafe_code)]
context_allocator::global_thread_and_coroutine_switchable_allocator!(/// d
pub static ALLOC);
#[test]
fn smoke() {
    let heap = ALLOC.heap().unwrap();
    let v: Vec<String> = heap.enter(|| (0..1000).map(|i| i.to_string()).collect());
    println!("{:?}", heap.statistics());
    let other = std::thread::spawn(move || {
        drop(heap);
        v.len()
    })
    .join()
    .unwrap();
    assert_eq!(other, 1000);
    println!("{:#?}", ALLOC.statistics());
    let big = vec![1u8; 1 << 30];
    drop(big);
    println!("trimmed {}", ALLOC.trim());
    println!("{:#?}", ALLOC.statistics());
}
