#!/bin/bash
# Blocks that the source and the output share, on filesystems that can do that (XFS, btrfs): these
# are mounted here, for which root and loop devices are needed.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mounted=()
cleanup() {
    for dir in "${mounted[@]}"; do umount "$dir"; done
    rm -rf "$work"
}
trap cleanup EXIT

# place MKFS...: a filesystem of 600 MiB at $work/mnt-NAME, sets dir
place() {
    local name=${1#mkfs.}
    dir=$work/mnt-$name
    mkdir "$dir" && truncate -s 600M "$work/$name.img" && "$@" "$work/$name.img" >/dev/null 2>&1 &&
        mount -o loop "$work/$name.img" "$dir" && mounted+=("$dir")
}

used() {
    sync -f "$dir"
    df --output=used -B1 "$dir" | tail -n 1
}

# shared BYTES COMMAND...: it works, says that it shares and takes fewer new bytes than that
shared() {
    local limit=$1 before after
    shift
    before=$(used)
    "$@" 2>&1 | tee "$work/said" || return 1
    after=$(used)
    echo "$((after - before)) bytes more are used"
    grep -q 'shared with the source' "$work/said" && [ $((after - before)) -lt "$limit" ]
}

# sources: in DIR a disk of 200 MiB: r.raw, r.qcow2, r.vmdk (flat); most of it never zero
sources() {
    python3 - "$dir/r.raw" <<'PYTHON'
import random, sys
dice = random.Random(11)
with open(sys.argv[1], "wb") as f:
    f.truncate((200 << 20) + 512)
    block = dice.randbytes(1 << 20)
    for i in range(100):
        f.seek(i << 20)
        f.write(i.to_bytes(8, "big") + block[8:])
    for _ in range(150):
        f.seek(((100 << 20) + dice.randrange(100 << 20)) // 512 * 512)
        f.write(block[:dice.randrange(100000)])
PYTHON
    truncate -s $(((200 << 20) + 512)) "$dir/r.raw"
}

# whole IMAGE FORMAT: it is the disk
whole() {
    qemu-img compare -f raw -F "$2" "$dir/r.raw" "$1"
}

to_raw() {
    shared 20000000 "$H2K" -v convert --force -O raw "$@" "$dir/r.raw" "$dir/out.raw" &&
        whole "$dir/out.raw" raw
}

to_qcow2() {
    shared 20000000 "$H2K" convert --force "$@" "$dir/r.raw" "$dir/out.qcow2" &&
        qemu-img check -q "$dir/out.qcow2" && whole "$dir/out.qcow2" qcow2
}

qcow2_to_both() {
    shared 20000000 "$H2K" convert --force --verify "$dir/out.qcow2" "$dir/again.qcow2" &&
        qemu-img check -q "$dir/again.qcow2" && whole "$dir/again.qcow2" qcow2 &&
        shared 20000000 "$H2K" convert --force -O raw "$dir/out.qcow2" "$dir/again.raw" &&
        whole "$dir/again.raw" raw
}

flat_vmdk() {
    mv "$dir/r.raw" "$dir/d-flat.vmdk" && truncate -s 200M "$dir/d-flat.vmdk" &&
        printf '%s\n' '# Disk DescriptorFile' version=1 CID=fffffffe parentCID=ffffffff \
            createType=\"monolithicFlat\" 'RW 409600 FLAT "d-flat.vmdk" 0' >"$dir/d.vmdk" &&
        shared 20000000 "$H2K" convert --force -O raw "$dir/d.vmdk" "$dir/flat.raw" &&
        cmp "$dir/flat.raw" "$dir/d-flat.vmdk" && mv "$dir/d-flat.vmdk" "$dir/r.raw"
}

# More than is free: 200 MiB five times over on 600 MiB.
no_space_needed() {
    rm -f "$dir"/out.* "$dir"/again.* "$dir"/flat.raw
    local i
    for i in 1 2 3 4; do
        "$H2K" -q convert -O raw "$dir/r.raw" "$dir/copy$i.raw" || return 1
    done
    cmp "$dir/r.raw" "$dir/copy4.raw"
}

# What is written to the copy is not written to the source.
apart() {
    local before
    before=$(sha256sum <"$dir/r.raw")
    qemu-io -f raw -c 'write -q -P 90 1M 5M' "$dir/copy1.raw" &&
        [ "$before" = "$(sha256sum <"$dir/r.raw")" ] && ! cmp -s "$dir/r.raw" "$dir/copy1.raw" &&
        "$H2K" -q compare "$dir/r.raw" "$dir/copy2.raw"
}

# Half of the files are deleted: what they held is not shared, in the middle of other data either.
deleted() {
    rm -f "$dir"/copy*.raw "$dir"/r.raw
    mkdir "$work/tree" &&
        python3 - "$work/tree" <<'PYTHON' && truncate -s 100M "$dir/fs.raw" &&
import sys
for i in range(1500):
    with open(f"{sys.argv[1]}/f{i}", "wb") as f:
        f.write((b"KEPT" if i % 2 else b"GONE") * (1 + i % 7 * 1500))
PYTHON
        mke2fs -q -t ext4 -d "$work/tree" "$dir/fs.raw" &&
        seq 0 2 1498 | sed 's/^/rm f/' | debugfs -w -f - "$dir/fs.raw" >/dev/null 2>&1 &&
        e2fsck -fn "$dir/fs.raw" >/dev/null &&
        grep -qa GONEGONE "$dir/fs.raw" && rm -r "$work/tree" || return 1
    local options
    for options in "" --verify; do
        # shellcheck disable=SC2086
        shared 30000000 "$H2K" convert --force $options -O raw "$dir/fs.raw" "$dir/fs-out.raw" &&
            e2fsck -fn "$dir/fs-out.raw" >/dev/null && grep -qa KEPTKEPT "$dir/fs-out.raw" &&
            ! grep -qa GONEGONE "$dir/fs-out.raw" || return 1
        # shellcheck disable=SC2086
        "$H2K" -q convert --force $options "$dir/fs.raw" "$dir/fs-out.qcow2" &&
            ! grep -qa GONEGONE "$dir/fs-out.qcow2" || return 1
    done
}

# Nothing is shared with what is compressed, has its space beforehand, or is elsewhere.
not_shared() {
    "$H2K" convert --force --compress=zstd "$dir/fs.raw" "$dir/x.qcow2" >"$work/said" 2>&1 &&
        "$H2K" convert --force -O raw -o preallocation=full "$dir/fs.raw" "$dir/x.raw" >>"$work/said" 2>&1 &&
        "$H2K" convert --force -O raw "$dir/fs.raw" "$work/x.raw" >>"$work/said" 2>&1 &&
        cat "$work/said" && ! grep -q 'shared with the source' "$work/said"
}

has_loop_devices || skip_all "mounting needs root and loop devices"
for mkfs in "mkfs.xfs -m reflink=1" mkfs.btrfs; do
    # shellcheck disable=SC2086
    if ! place $mkfs; then
        skip "${mkfs%% *}" "it cannot be mounted here"
        continue
    fi
    fs=${mkfs%% *} fs=${fs#mkfs.}
    sources
    claim "$fs: a raw disk shares its blocks with the source" to_raw
    claim "$fs: the same, read back and verified" to_raw --verify
    claim "$fs: raw to qcow2 does, too" to_qcow2
    claim "$fs: the same with --verify and small clusters" to_qcow2 --verify --cluster-size=8K
    claim "$fs: qcow2 to qcow2 and back to raw" qcow2_to_both
    claim "$fs: a flat VMDK to raw" flat_vmdk
    claim "$fs: copies take no space" no_space_needed
    claim "$fs: the copy is written, the source is not" apart
    claim "$fs: deleted data are not shared" deleted
    claim "$fs: what cannot share is copied" not_shared
done
finish
