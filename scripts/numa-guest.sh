#!/usr/bin/env bash
# Boots guests with several NUMA nodes (qemu, software emulation) and reads back where the pages of each policy lie, with
# examples/numa_placement.rs: two nodes; three of which one has no processors; and in each a process that may use one node only. Fails
# if a page lies where it should not. Takes about three minutes, most of it for the build.
#
#   scripts/numa-guest.sh              the oldest and the newest cloud kernel that apt knows
#   scripts/numa-guest.sh VMLINUZ...   these kernels
#
# Installs, where it may and they are missing: qemu-system-x86, busybox-static, cpio. Downloads kernel packages, which it does not install.
set -euo pipefail
. "$(dirname "$0")/common.sh"

work=$target/numa-guest
mkdir -p "$work/kernels"

missing=()
command -v qemu-system-x86_64 > /dev/null || missing+=(qemu-system-x86)
command -v cpio > /dev/null || missing+=(cpio)
busybox=$(command -v busybox || true)
[ -n "$busybox" ] && ! ldd "$busybox" > /dev/null 2>&1 || missing+=(busybox-static)
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get > /dev/null && [ "$(id -u)" = 0 ] || fail "needs ${missing[*]} (on Debian: apt-get install ${missing[*]})"
    echo "installs ${missing[*]}"
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
    busybox=$(command -v busybox)
fi

# download PACKAGE: prints the path of its kernel
download() {
    local kernel=$work/kernels/$1
    if [ ! -s "$kernel" ]; then
        echo "downloads $1" >&2
        local folder
        folder=$(mktemp -d)
        # As root apt downloads as another user.
        chmod 755 "$folder"
        (cd "$folder" && apt-get download -qq "$1" 2> /dev/null) || fail "apt-get cannot download $1"
        dpkg-deb --fsys-tarfile "$folder"/*.deb | tar -xO --wildcards './boot/vmlinuz-*' > "$kernel.part"
        mv "$kernel.part" "$kernel"
        rm -r "$folder"
    fi
    echo "$kernel"
}

kernels=("$@")
if [ ${#kernels[@]} -eq 0 ]; then
    command -v apt-get > /dev/null || fail "name a kernel, or run this on Debian"
    packages() {
        apt-cache search --names-only '^linux-image-[0-9]+\.[0-9]+\.[0-9].*-cloud-amd64$' | cut -d ' ' -f 1 | sort -V
    }
    [ -n "$(packages)" ] || apt-get update -qq
    [ -n "$(packages)" ] || fail "apt knows no linux-image-*-cloud-amd64"
    for package in $( (packages | head -n 1; packages | tail -n 1) | uniq); do
        kernels+=("$(download "$package")")
    done
fi

echo "builds examples/numa_placement.rs"
RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --locked --release --example numa_placement \
    --target x86_64-unknown-linux-gnu --target-dir "$work" --manifest-path "$root/Cargo.toml"
program=$work/x86_64-unknown-linux-gnu/release/examples/numa_placement

tree=$work/tree
rm -rf "$tree"
mkdir -p "$tree"/{bin,proc,sys,cgroup}
cp "$busybox" "$tree/bin/busybox"
cp "$program" "$tree/numa_placement"
cat > "$tree/init" << 'INIT'
#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox --install -s /bin
for pool in /sys/devices/system/node/node*/hugepages/hugepages-2048kB/nr_hugepages; do
    echo 8 > "$pool"
done
# Weights 3, 1, 2, whose sums divide the pages of a region. Kernels before 6.9 have none.
for weights in "0 3" "1 1" "2 2"; do
    file=/sys/kernel/mm/mempolicy/weighted_interleave/node${weights% *}
    [ -e "$file" ] && echo "${weights#* }" > "$file"
done
# The console begins with escape sequences.
echo
echo "guest: begin"
/numa_placement
echo "guest: all nodes: status $?"
mount -t cgroup2 cgroup /cgroup
echo +cpuset > /cgroup/cgroup.subtree_control
mkdir /cgroup/one
echo 1 > /cgroup/one/cpuset.mems
(
    echo 0 > /cgroup/one/cgroup.procs
    /numa_placement
    echo "guest: one node of them: status $?"
)
echo "guest: end"
poweroff -f
INIT
chmod +x "$tree/init"
(cd "$tree" && find . | cpio --quiet --create --format newc | gzip -1) > "$work/initramfs"

log=$work/log

# boot NAME KERNEL NODES...: each node is processors ("0-1") or "none"
boot() {
    local name=$1 kernel=$2 number=0 node attempt
    shift 2
    local arguments=()
    for node in "$@"; do
        arguments+=(-object "memory-backend-ram,id=m$number,size=384M")
        [ "$node" = none ] && node= || node=,cpus=$node
        arguments+=(-numa "node,nodeid=$number$node,memdev=m$number")
        number=$((number + 1))
    done
    echo
    echo "## $name, $(basename "$kernel")"
    # An emulated machine now and then crashes while it boots, before anything of ours runs.
    for attempt in 1 2 3; do
        timeout 120 qemu-system-x86_64 -accel tcg -smp 4 -m $((384 * number))M "${arguments[@]}" -kernel "$kernel" \
            -initrd "$work/initramfs" -append "console=ttyS0 quiet panic=-1" -nographic -no-reboot < /dev/null |
            tr -d '\r' > "$log" || fail "qemu failed or did not end; see $log"
        grep -q '^guest: begin$' "$log" && break
        echo "the guest did not boot, attempt $attempt: $(grep -m 1 panic "$log" || tail -n 1 "$log")"
    done
    sed -n '/^guest: begin/,/^guest: end/ { /^guest: begin/d; /^guest: end/d; s/^guest: //; p }' "$log"
    [ "$(grep -c '^guest: .*: status 0$' "$log")" = 2 ] || failed=1
}

failed=0
for kernel in "${kernels[@]}"; do
    boot "Two nodes" "$kernel" 0-1 2-3
    boot "Three nodes, one without processors" "$kernel" 0-1 2-3 none
done
[ $failed = 0 ] || fail "pages lie where they should not, or a guest did not get to its end; see $work/log"
echo
echo "every page lies where its policy says"
