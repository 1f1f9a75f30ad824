#!/usr/bin/env bash
# Runs the tests of the switchable allocator, and some of allocators and collections, under
# AddressSanitizer (nightly) and under valgrind.
#
# Neither sees inside this library's pools: a block of a heap is not poisoned when it is freed. What
# they see is everything around them: memory maps used after their release, the tests' own memory and
# that of the global tier.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(rustc -vV | sed -n 's/^host: //p')

if rustc +nightly -V >/dev/null 2>&1; then
    # Leaks are not looked for: a test that leaks does so to show that it is harmless. Frames are not
    # moved to stacks of the sanitizer's own (detect_stack_use_after_return), because those belong to
    # a thread, and coroutines resume on another one. Requests that nobody can serve are refused there
    # as elsewhere (allocator_may_return_null).
    sanitized() {
        RUSTFLAGS="-Zsanitizer=address" \
            ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1" \
            STRESS_OPERATIONS="${STRESS_OPERATIONS:-20000}" \
            cargo +nightly test --quiet --features full --target "$target" \
            --target-dir "${CARGO_TARGET_DIR:-target}/sanitize" "$@"
    }
    sanitized --test allocators --test sources --test values --test switch -- \
        bit_set_places:: slab:: source_stacks:: source_adaptors:: shared_values:: strings:: \
        faults:: policy:: nested:: model:: holes::
    sanitized --test switch_values --test switch_stress --test switch_stress_maps \
        --test switch_stress_slab --test switch_coroutines --test switch_fork --test switch_threads
else
    echo "sanitize: skipped AddressSanitizer, because the nightly toolchain is not installed"
fi

if command -v valgrind >/dev/null; then
    binary=$(cargo test --no-run --test switch_values --message-format=json 2>/dev/null |
        sed -n 's/.*"executable":"\([^"]*switch_values-[^"]*\)".*/\1/p' | tail -n 1)
    valgrind --error-exitcode=9 -q "$binary" --test-threads=1
else
    echo "sanitize: skipped valgrind, because it is not installed"
fi
