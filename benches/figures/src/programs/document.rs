//! A JSON document made from a seed: a list of records as a service may send them.

use serde_json::{Value, json};

const WORDS: [&str; 16] = [
    "amber", "basalt", "cedar", "delta", "ember", "fjord", "granite", "harbour", "island", "juniper", "kelp",
    "lagoon", "meadow", "nectar", "orchid", "pebble",
];

fn sentence(random: &mut fastrand::Rng) -> String {
    let words: Vec<_> = (0..random.usize(2..14)).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
    words.join(" ")
}

fn record(number: usize, random: &mut fastrand::Rng) -> Value {
    let tags: Vec<_> = (0..random.usize(..6)).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
    let points: Vec<_> =
        (0..random.usize(..8)).map(|_| json!([random.i32(-1000..1000), random.u8(..)])).collect();
    json!({
        "id": number,
        "name": sentence(random),
        "active": random.bool(),
        "tags": tags,
        "owner": { "name": WORDS[random.usize(..WORDS.len())], "age": random.u8(18..90), "note": sentence(random) },
        "points": points,
        "comment": if random.bool() { Value::String(sentence(random)) } else { Value::Null },
    })
}

/// One of about so many bytes.
pub fn of(bytes: usize, seed: u64) -> Value {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut records = Vec::new();
    let mut length = 0;
    while length < bytes {
        let record = record(records.len(), &mut random);
        length += record.to_string().len() + 1;
        records.push(record);
    }
    Value::Array(records)
}
