#!/bin/bash
# Clones of real disks as VMs: several at once, by BIOS and by UEFI, sectors of 512 and of 4096
# bytes; what they write is gone after a reset, and the original is only ever read.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
has_loop_devices || skip_all "no loop devices here"
serial=$H2K_TOP/tests/guests/boot-serial
store=$work/store
small=$(guest debian12-vmware raw)
large=$(guest debian12-uefi-4k raw)
sums=$(sha256sum "$small" "$large")
devices=()
mounts=()

detach() {
    local device i
    for ((i = ${#mounts[@]} - 1; i >= 0; i--)); do
        umount "${mounts[i]}"
    done
    for device in "${devices[@]}"; do
        losetup -d "$device"
    done
    rm -rf "$work"
}
trap detach EXIT

# attach FILE SECTOR: a disk with such sectors; DEVICE is its name
attach() {
    device=$(losetup -f --show -r -b "$2" "$1") && devices+=("$device")
}

# boot NAME RUN...: on the console that `clone run` has, each RUN is a command in the guest
boot() {
    local name=$1 command
    local -a run=()
    shift
    for command in "$@"; do run+=(--run "$command"); done
    "$serial" --timeout 900 "${run[@]}" \
        --console "${tracer:-} $H2K -q clone run --state-dir $store $name"
}

disk_of() {
    echo "$store/clones/$1/current/disk.qcow2"
}

are_made() {
    clone create "$disk512" one && clone create "$disk512" two && clone create "$disk4096" large
}

sectors_are_told() {
    grep -q 'blockio logical_block_size="4096" physical_block_size="4096"' "$store/clones/large/domain.xml" &&
        grep -q 'firmware="efi"' "$store/clones/large/domain.xml" &&
        ! grep -q 'logical_block_size="4096"' "$store/clones/one/domain.xml" &&
        virt-xml-validate "$store/clones/large/domain.xml" domain
}

# What an image of such a disk tells, which knows no sectors.
sectors_of_an_image() {
    clone create "$large" image &&
        grep -q 'blockio logical_block_size="4096"' "$store/clones/image/domain.xml" &&
        clone delete image
}

# The same of a migration.
sectors_of_a_copy() {
    "$H2K" -q local --disk "$large" --to-output "$work/copy.qcow2" &&
        grep -q 'blockio logical_block_size="4096"' "$work/copy.xml" && rm "$work/copy.qcow2"
}

run_at_once() {
    local first second most=0 now
    boot one 'echo one > /root/mark; sync; ip -4 -o addr show scope global | grep -q inet' >"$work/one.log" 2>&1 &
    first=$!
    boot two 'test ! -e /root/mark; echo two > /root/mark; sync' >"$work/two.log" 2>&1 &
    second=$!
    while kill -0 "$first" 2>/dev/null && kill -0 "$second" 2>/dev/null; do
        now=$(clone list | grep -c ' running ')
        most=$((now > most ? now : most))
        sleep 1
    done
    wait "$first" || { cat "$work/one.log"; return 1; }
    wait "$second" || { cat "$work/two.log"; return 1; }
    [ "$most" -eq 2 ]
}

each_wrote_its_own() {
    [ "$("$H2K" -q cat "$(disk_of one)" /root/mark)" = one ] &&
        [ "$("$H2K" -q cat "$(disk_of two)" /root/mark)" = two ]
}

is_gone_after_a_reset() {
    clone reset one && boot one 'test ! -e /root/mark' && qemu-img check -q "$(disk_of one)" &&
        [ "$("$H2K" -q cat "$(disk_of two)" /root/mark)" = two ]
}

boots_by_uefi() {
    local sector=/sys/block/vda/queue/logical_block_size
    tracer="strace -f --seccomp-bpf -e trace=open,openat,openat2 -o $work/trace"
    boot large 'test -d /sys/firmware/efi' "grep -qx 4096 $sector" \
        'ip -4 -o addr show scope global | grep -q inet'
}

# QEMU does not lock a device; what it opened tells.
was_only_read() {
    grep -qF "$disk4096" "$work/trace" || return 1
    ! grep -F "$disk4096" "$work/trace" | grep -vE 'O_RDONLY|ENOENT'
}

# An image that is in use: the clone is of a snapshot, which stays as it is.
of_a_snapshot() {
    local dir=$work/btrfs image inner
    truncate -s 8G "$work/btrfs.img" && mkfs.btrfs -q "$work/btrfs.img" && mkdir "$dir" &&
        mount -o loop "$work/btrfs.img" "$dir" && mounts+=("$dir") || return 1
    image=$dir/used.raw
    truncate -s 200M "$image" && mkfs.ext4 -q "$image" && mkdir "$work/inner" &&
        mount -o loop "$image" "$work/inner" && mounts+=("$work/inner") || return 1
    echo before >"$work/inner/file" && sync
    mkdir -m 700 "$dir/store"
    refused 3 "in use.*--snapshot" "$H2K" clone create --no-repair --state-dir "$dir/store" "$image" used &&
        refused 5 'no snapshot.*reflinks' "$H2K" clone create --no-repair --snapshot --state-dir "$store" "$image" used &&
        [ -z "$(find "$store/clones" -name '.*')" ] &&
        "$H2K" -q clone create --no-repair --snapshot --state-dir "$dir/store" "$image" used || return 1
    echo after >"$work/inner/file" && sync
    inner=$dir/store/clones/used
    [ "$(readlink "$inner/original")" = snapshot ] && [ "$(stat -c %a "$inner/snapshot")" = 400 ] &&
        "$H2K" -q clone verify --state-dir "$dir/store" used &&
        "$H2K" -q clone list --state-dir "$dir/store" | grep -q 'used.*shut off' &&
        qemu-img convert -O raw "$inner/current/disk.qcow2" "$work/state.raw" &&
        e2fsck -fy "$work/state.raw" >/dev/null
    [ $? -le 1 ] && [ "$(debugfs -R 'cat file' "$work/state.raw" 2>/dev/null)" = before ] &&
        "$H2K" -q clone delete --state-dir "$dir/store" used && empty "$dir/store/clones"
}

# UEFI's variables are the state's: a reset has them as they were.
has_its_variables() {
    local base=$store/clones/large/base/nvram.fd now=$store/clones/large/current/nvram.fd
    ! cmp -s "$base" "$now" && clone reset large && cmp "$base" "$now"
}

others_cannot_read() {
    [ -z "$(find "$store" -type f -perm /077)" ] &&
        [ -z "$(find "$store" -type d -perm /066)" ]
}

attach "$small" 512
disk512=$device
attach "$large" 4096
disk4096=$device
claim "clones of disks with sectors of 512 and of 4096 bytes are made" are_made
claim "the VM gets the disk's sectors, and UEFI for large ones" sectors_are_told
claim "an image of a disk with large sectors is known by its partition table" sectors_of_an_image
claim "so it is in a migration" sectors_of_a_copy
claim "of an image in use there is a clone by a snapshot, where blocks can be shared" of_a_snapshot
claim "two clones of one original run at once, with a network" run_at_once
claim "each has what it wrote" each_wrote_its_own
claim "what was written is gone after a reset, of this clone alone" is_gone_after_a_reset
claim "one boots by UEFI from sectors of 4096 bytes" boots_by_uefi
claim "the original was opened for reading only meanwhile" was_only_read
claim "UEFI's variables are part of a clone's state" has_its_variables
claim "nobody else can read any of it" others_cannot_read
claim "the originals are what they were, bit for bit" sha256sum --quiet -c - <<<"$sums"
finish
