#!/bin/bash
# e2e/guestfs.sh - guests whose files only the libguestfs appliance changes: XFS and btrfs with
# subvolumes; what it wrote is read back without it and checked by the filesystems' own tools, which
# it also does itself in a migration; and appliances that hang, are killed or are not wanted any more.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck source=tests/e2e/lib.sh
source "${H2K_TOP:?the source tree}/tests/e2e/lib.sh"

# Everything of these runs is below it, so that what is left behind can be seen.
mkdir "$work/tmp" "$work/mnt"

is_root || skip_all "mounting the test filesystems needs root"
"$H2K" inspect --backend=guestfs /dev/null 2>&1 | grep -q 'built without' &&
    skip_all "built without libguestfs"

# system DIR: what makes a folder a system
system() {
    mkdir -p "$1/etc" "$1/bin" "$1/home/user" "$1/var/lib/dpkg" &&
        printf 'ID=debian\nPRETTY_NAME="System in %s"\n' "${1##*/}" >"$1/etc/os-release" &&
        echo 'root:x:0:0::/root:/bin/sh' >"$1/etc/passwd" && : >"$1/bin/sh" &&
        ln -sf ../etc/passwd "$1/home/link" && echo old >"$1/etc/old"
}

# Runs the program with its temporary files where they are seen.
h2k() {
    TMPDIR=$work/tmp "$H2K" "$@"
}

# Nothing of an appliance is left: no file, no process. QEMU may need a moment to go.
nothing_left() {
    for _ in $(seq 50); do
        if [ -z "$(ls -A "$work/tmp")" ] && ! pgrep -f "$work/tmp" >/dev/null; then
            return 0
        fi
        sleep 0.1
    done
    ls -la "$work/tmp"
    pgrep -af "$work/tmp"
    return 1
}

make_xfs() {
    truncate -s 320M "$work/xfs.raw" && mkfs.xfs -q "$work/xfs.raw" &&
        mount -o loop "$work/xfs.raw" "$work/mnt" || return 1
    system "$work/mnt" && echo "/dev/sda / xfs defaults 0 1" >"$work/mnt/etc/fstab" && chown 7:8 "$work/mnt/etc/old" && chmod 0640 "$work/mnt/etc/old" &&
        setfattr -n user.color -v blue "$work/mnt/etc/old"
    local ok=$?
    umount "$work/mnt" && sha256sum "$work/xfs.raw" >"$work/xfs.sum" && [ $ok -eq 0 ]
}

make_btrfs() {
    truncate -s 400M "$work/btrfs.raw" && mkfs.btrfs -q "$work/btrfs.raw" &&
        mount -o loop "$work/btrfs.raw" "$work/mnt" || return 1
    btrfs -q subvolume create "$work/mnt/@" && btrfs -q subvolume create "$work/mnt/@home" &&
        system "$work/mnt/@" && echo here >"$work/mnt/@home/mine" &&
        head -c 300000 /dev/urandom >"$work/mnt/@/var/large" &&
        printf '/dev/sda / btrfs subvol=@ 0 0\nUUID=%s /home btrfs subvol=/@home 0 0\n/etc /srv none bind 0 0\n' \
            "$(blkid -s UUID -o value "$work/btrfs.raw")" >"$work/mnt/@/etc/fstab" &&
        mkdir "$work/mnt/@/srv" "$work/mnt/@/.snapshots" &&
        btrfs -q subvolume snapshot -r "$work/mnt/@" "$work/mnt/@/.snapshots/1" &&
        echo newer >"$work/mnt/@/etc/newer"
    local ok=$?
    umount "$work/mnt" && sha256sum "$work/btrfs.raw" >"$work/btrfs.sum" && [ $ok -eq 0 ]
}

claim "a system on XFS is made" make_xfs
claim "a system on btrfs with subvolumes and a snapshot is made" make_btrfs

inspected() {
    h2k inspect --json "$work/xfs.raw" >"$work/xfs.json" && json "$work/xfs.json" \
        'any(v["backend"] == "native" and v["backend_reason"] for k in d["disks"] for v in k["volumes"])' &&
        nothing_left
}
claim "looking needs no appliance, and what serves the files is told" inspected

put_on_xfs() {
    head -c 5000000 /dev/urandom >"$work/new" && chmod 0750 "$work/new" &&
        h2k put "$work/xfs.raw" "$work/new" /etc/old --to-output "$work/xfs.qcow2" 2>"$work/err"
    local ok=$?
    cat "$work/err"
    [ $ok -eq 0 ] && grep -q 'starting the libguestfs appliance' "$work/err" &&
        [ "$(grep -c 'starting the' "$work/err")" -eq 1 ] && sha256sum -c "$work/xfs.sum" &&
        nothing_left
}
claim "a file is replaced on XFS, by one appliance, of which nothing is left" put_on_xfs

# Read back by our own driver and by the kernel.
xfs_is_right() {
    h2k cat --backend=native "$work/xfs.qcow2" /etc/old | cmp - "$work/new" &&
        qemu-img convert -O raw "$work/xfs.qcow2" "$work/xfs2.raw" && xfs_repair -n -f "$work/xfs2.raw" &&
        mount -o loop,ro "$work/xfs2.raw" "$work/mnt" || return 1
    cmp "$work/mnt/etc/old" "$work/new" && [ "$(stat -c '%u:%g %a' "$work/mnt/etc/old")" = '7:8 640' ] &&
        [ "$(getfattr --only-values -n user.color "$work/mnt/etc/old")" = blue ] &&
        [ "$(readlink "$work/mnt/home/link")" = ../etc/passwd ]
    local ok=$?
    umount "$work/mnt" && [ $ok -eq 0 ]
}
claim "it is there, its owner, mode and attributes are as they were, xfs_repair has no complaint" \
    xfs_is_right

put_on_btrfs() {
    h2k put "$work/btrfs.raw" "$work/new" /home/new --to-output "$work/btrfs.qcow2" &&
        sha256sum -c "$work/btrfs.sum" && nothing_left &&
        qemu-img convert -O raw "$work/btrfs.qcow2" "$work/btrfs2.raw" &&
        btrfs check --readonly "$work/btrfs2.raw" && mount -o loop,ro "$work/btrfs2.raw" "$work/mnt" ||
        return 1
    cmp "$work/mnt/@home/new" "$work/new" && [ ! -e "$work/mnt/@/home/new" ]
    local ok=$?
    umount "$work/mnt" && [ $ok -eq 0 ]
}
claim "a file goes to the subvolume that fstab mounts, btrfs check has no complaint" put_on_btrfs

both_backends() {
    h2k tree "$work/btrfs.raw" / >"$work/tree.auto" && grep -q newer "$work/tree.auto" &&
        grep -q mine "$work/tree.auto" && h2k tree --backend=guestfs "$work/btrfs.raw" / >"$work/tree.guestfs" &&
        diff "$work/tree.auto" "$work/tree.guestfs" &&
        [ "$(h2k cat "$work/btrfs.raw" /srv/newer)" = newer ]
}
claim "both backends see the same tree, the system's and not its snapshot's" both_backends

not_allowed() {
    refused 5 'can be read, but not changed' h2k put --backend=native "$work/xfs.raw" "$work/new" \
        /etc/old --to-output "$work/no.qcow2" && [ ! -e "$work/no.qcow2" ]
}
claim "--backend=native changes nothing on XFS" not_allowed

# The repair that failed is told from those that were done, and from those that were not begun.
native_only() {
    status 5 migrate xfs --backend=native &&
        json "$work/xfs.json" '{r["name"]: r["status"] for r in d["repairs"]}["fstab"] == "failed"' &&
        json "$work/xfs.json" '"not reached" in [r["status"] for r in d["repairs"]]'
}

# --- consistency ----------------------------------------------------------------------------------

# migrate NAME OPTION...: NAME.raw becomes NAME-out.qcow2
migrate() {
    local name=$1
    shift
    rm -f "$work/$name-out".*
    h2k local --disk "$work/$name.raw" --to-output "$work/$name-out.qcow2" \
        --report "$work/$name.json" --log-level info "$@" 2>"$work/err"
    local code=$?
    cat "$work/err"
    return $code
}

claim "a report says which repair failed" native_only

launches() {
    [ "$(grep -c 'starting the libguestfs appliance' "$work/err")" -eq "$1" ]
}

# unharmed NAME: nothing of NAME's output or of the appliance is there, the source is as it was
unharmed() {
    [ ! -e "$work/$1-out.qcow2" ] && [ ! -e "$work/$1-out.xml" ] && nothing_left &&
        sha256sum -c "$work/$1.sum"
}

is_checked() {
    migrate "$1" --fix-fstab && launches 1 && nothing_left && sha256sum -c "$work/$1.sum" &&
        json "$work/$1.json" 'd["status"] == "ok"' && json "$work/$1.json" \
        '[(f["status"], f["checked_by"], f["checked_after_repair"], f["corruptions"]) for f in d["filesystems"]] == [("clean", "guestfs", True, 0)]'
}
claim "btrfs is checked by the appliance that changes it, before and after" is_checked btrfs

# On ext4, which needs no appliance.
make_ext() {
    mkdir "$work/tree" && system "$work/tree" && echo "/dev/sda / ext4 defaults 0 1" >"$work/tree/etc/fstab" &&
        truncate -s 64M "$work/ext.raw" && mke2fs -q -t ext4 -d "$work/tree" "$work/ext.raw" &&
        sha256sum "$work/ext.raw" >"$work/ext.sum"
}
make_ext
by_wish() {
    migrate ext --fix-fstab --backend=guestfs && nothing_left && sha256sum -c "$work/ext.sum" &&
        json "$work/ext.json" \
            '[(f["status"], f["checked_by"], f["checked_after_repair"]) for f in d["filesystems"]] == [("clean", "guestfs", True)]' &&
        qemu-img convert -O raw "$work/ext-out.qcow2" "$work/ext2.raw" && e2fsck -fn "$work/ext2.raw" &&
        h2k cat "$work/ext-out.qcow2" /etc/fstab | grep '^UUID='
}
claim "--backend=guestfs changes and checks ext4, too" by_wish

not_changed() {
    migrate xfs --clean-udev-rules && launches 0 &&
        json "$work/xfs.json" '[v["subvolume"] for k in d["guest"]["disks"] for v in k["volumes"]] == [None]' &&
        json "$work/xfs.json" '[(f["status"], "appliance" in f["reason"]) for f in d["filesystems"]] == [("not checked", True)]'
}
claim "no appliance is started only for a check" not_changed

# The log holds what was written last.
dirty_log() {
    cp --sparse=always "$work/xfs.raw" "$work/dirty.raw" && mount -o loop "$work/dirty.raw" "$work/mnt" ||
        return 1
    mkdir "$work/mnt/late" && mv "$work/mnt/etc/old" "$work/mnt/late" &&
        xfs_io -x -c 'shutdown -f' "$work/mnt"
    local ok=$?
    umount "$work/mnt" && [ $ok -eq 0 ] && ! xfs_repair -n "$work/dirty.raw" &&
        sha256sum "$work/dirty.raw" >"$work/dirty.sum" && is_checked dirty
}
claim "XFS is, too, once its dirty log was replayed" dirty_log

# The free blocks of a group are counted wrongly: by a little, and by more than can be.
damage_xfs() {
    local free
    free=$(xfs_db -r -c 'agf 1' -c 'print freeblks' "$work/xfs.raw") &&
        cp --sparse=always "$work/xfs.raw" "$work/bad.raw" &&
        cp --sparse=always "$work/xfs.raw" "$work/worse.raw" &&
        xfs_db -x -c 'agf 1' -c "write -d freeblks $((${free##* } + 5))" "$work/bad.raw" &&
        xfs_db -x -c 'agf 1' -c 'write -d freeblks 17' "$work/worse.raw" &&
        sha256sum "$work/bad.raw" >"$work/bad.sum" && sha256sum "$work/worse.raw" >"$work/worse.sum"
}

corrupt_xfs() {
    damage_xfs && refused 7 \
        'error: disk 1 \(xfs\): the filesystem is corrupt: agf_freeblks [0-9]+, counted [0-9]+ in ag 1.*--skip-fsck' \
        h2k local --disk "$work/bad.raw" --fix-fstab --to-output "$work/bad-out.qcow2" \
        --report "$work/bad.json" && unharmed bad &&
        json "$work/bad.json" '[f["status"] for f in d["filesystems"]] == ["corrupt"]' &&
        json "$work/bad.json" '"agf_freeblks" in d["filesystems"][0]["findings"][0]'
}
claim "a corrupt XFS ends the migration, with what was found" corrupt_xfs

corrupt_xfs_skipped() {
    migrate bad --fix-fstab --skip-fsck &&
        json "$work/bad.json" 'd["status"] == "ok" and d["filesystems"][0]["status"] == "skipped"'
}
claim "--skip-fsck goes on all the same" corrupt_xfs_skipped

not_mounted() {
    refused 7 'cannot be mounted: .*the kernel says: .*XFS.*[Cc]orrupt' h2k put "$work/worse.raw" \
        "$work/new" /etc/old --to-output "$work/worse-out.qcow2" && unharmed worse
}
claim "what the kernel says of an XFS that cannot be mounted is told" not_mounted

# Another reference to the extent of /var/large is counted than there is, in each copy of the leaf.
damage_btrfs() {
    cp --sparse=always "$work/btrfs.raw" "$work/miscounted.raw" &&
        python3 - "$work/miscounted.raw" <<'END' && sha256sum "$work/miscounted.raw" >"$work/miscounted.sum"
import struct, sys

NODE = 16384
table = []
for i in range(256):
    for _ in range(8):
        i = i >> 1 ^ (0x82f63b78 if i & 1 else 0)
    table.append(i)

def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return crc ^ 0xffffffff

with open(sys.argv[1], 'r+b') as f:
    data = f.read()
    fsid = data[0x10020:0x10030]
    leaves = []
    for at in range(0, len(data) - NODE, 4096):
        if data[at + 32:at + 48] == fsid:
            bytenr, = struct.unpack_from('<Q', data, at + 48)
            generation, owner, items, level = struct.unpack_from('<QQIB', data, at + 80)
            if owner == 2 and level == 0:
                leaves.append((generation, bytenr, at, items))
    newest = max(leaves)[:2]
    done = 0
    for generation, bytenr, at, items in leaves:
        if (generation, bytenr) != newest:
            continue
        leaf = bytearray(data[at:at + NODE])
        for i in range(items):
            _, kind, _, offset, _ = struct.unpack_from('<QBQII', leaf, 101 + 25 * i)
            refs, _, flags = struct.unpack_from('<QQQ', leaf, 101 + offset) if kind == 168 else (0, 0, 0)
            if flags & 1:
                struct.pack_into('<Q', leaf, 101 + offset, refs + 1)
                done += 1
                break
        struct.pack_into('<I', leaf, 0, crc32c(leaf[32:]))
        f.seek(at)
        f.write(leaf)
sys.exit(done == 0)
END
}

corrupt_btrfs() {
    damage_btrfs && refused 7 \
        'error: disk 1 \(btrfs\): the filesystem is corrupt: .*ref mismatch on .*--skip-fsck' \
        h2k local --disk "$work/miscounted.raw" --fix-fstab --to-output "$work/miscounted-out.qcow2" &&
        unharmed miscounted
}
claim "a corrupt btrfs ends the migration, with what was found" corrupt_btrfs

# --- space, and ends ------------------------------------------------------------------------------

# The overlay's 64 MiB in memory and what fits here are too little; the appliance's kernel writes late.
no_space() {
    local code=0
    mkdir "$work/small" && mount -t tmpfs -o size=40M none "$work/small" || return 1
    head -c 140000000 /dev/urandom >"$work/big"
    TMPDIR=$work/small "$H2K" put "$work/xfs.raw" "$work/big" /etc/old --to-output "$work/full.qcow2" || code=$?
    umount "$work/small"
    rm "$work/big"
    [[ $code -eq 7 || $code -eq 11 ]] && [ ! -e "$work/full.qcow2" ]
}
claim "no place for what the appliance writes is an error" no_space

# appliance: the process of the QEMU that the run started, once it has removed its own temporary
# file, which would stay if it were killed before.
appliance() {
    local pid
    for _ in $(seq 600); do
        pid=$(pgrep -f "qemu.*$work/tmp" | head -n 1)
        if [ -n "$pid" ] && find "/proc/$pid/fd" -lname "$work/tmp*(deleted)" 2>/dev/null | grep -q .; then
            echo "$pid"
            return 0
        fi
        sleep 0.1
    done
    return 1
}

hangs() {
    H2K_PATIENCE=15 h2k put "$work/xfs.raw" "$work/new" /etc/old --to-output "$work/hung.qcow2" \
        2>"$work/err" &
    local run=$! pid code=0 start=$SECONDS
    pid=$(appliance) || return 1
    kill -STOP "$pid"
    wait $run || code=$?
    cat "$work/err"
    [ $code -eq 14 ] && [ $((SECONDS - start)) -lt 60 ] &&
        grep -q 'gave no answer for 15 seconds' "$work/err" && [ ! -e "$work/hung.qcow2" ] &&
        nothing_left
}
claim "an appliance that hangs is stopped in time" hangs

killed() {
    h2k put "$work/xfs.raw" "$work/new" /etc/old --to-output "$work/killed.qcow2" 2>"$work/err" &
    local run=$! pid code=0
    pid=$(appliance) || return 1
    sleep 2
    kill -KILL "$pid"
    wait $run || code=$?
    cat "$work/err"
    [ $code -eq 14 ] && grep -q 'libguestfs appliance failed' "$work/err" &&
        [ ! -e "$work/killed.qcow2" ] && nothing_left
}
claim "an appliance that is killed is an error" killed

interrupted() {
    TMPDIR=$work/tmp "$H2K" put "$work/xfs.raw" "$work/new" /etc/old --to-output "$work/int.qcow2" \
        2>"$work/err" &
    local run=$! code=0 start
    appliance >/dev/null || return 1
    start=$SECONDS
    kill -TERM $run
    wait $run || code=$?
    cat "$work/err"
    [ $((SECONDS - start)) -lt 10 ] && [ $code -gt 128 ] && [ ! -e "$work/int.qcow2" ] && nothing_left
}
claim "a run that is interrupted meanwhile leaves nothing" interrupted

finish
