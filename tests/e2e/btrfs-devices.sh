#!/bin/bash
# e2e/btrfs-devices.sh - a guest whose btrfs lies on two disks: it is inspected, read and copied
# with both in any order; what is missing is said; and the appliance, which gets both, changes it.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck source=tests/e2e/lib.sh
source "${H2K_TOP:?the source tree}/tests/e2e/lib.sh"

is_root || skip_all "mounting the test filesystems needs root"
command -v mkfs.btrfs >/dev/null || skip_all "mkfs.btrfs is not installed"
mkdir "$work/tmp" "$work/mnt"

# with_mounted OPTIONS FILE FILE COMMAND...: runs COMMAND with both mounted at $work/mnt.
with_mounted() {
    local options=$1 first second ok
    first=$(losetup -f --show "$2") && second=$(losetup -f --show "$3") || return 1
    btrfs device scan --forget
    mount -t btrfs -o "device=$second$options" "$first" "$work/mnt"
    ok=$?
    losetup -d "$first" "$second"
    [ $ok -eq 0 ] || return 1
    shift 3
    "$@"
    ok=$?
    umount "$work/mnt" && return $ok
}

# Below a subvolume, as installers do it.
fill() {
    btrfs -q subvolume create "$work/mnt/@" &&
        mkdir -p "$work/mnt/@/etc" "$work/mnt/@/usr/bin" "$work/mnt/@/home" &&
        ln -s usr/bin "$work/mnt/@/bin" &&
        printf 'ID=debian\nPRETTY_NAME="On two disks"\n' >"$work/mnt/@/etc/os-release" &&
        echo 'root:x:0:0::/root:/bin/sh' >"$work/mnt/@/etc/passwd" &&
        echo "LABEL=pool / btrfs subvol=@ 0 0" >"$work/mnt/@/etc/fstab" &&
        seq 1 400000 >"$work/mnt/@/home/numbers"
}

# make NAME MKFS-OPTIONS...: $work/NAME0.raw and NAME1.raw.
make() {
    local name=$1
    shift
    truncate -s 300M "$work/${name}0.raw" "$work/${name}1.raw" &&
        mkfs.btrfs -q -L pool "$@" "$work/${name}0.raw" "$work/${name}1.raw" &&
        with_mounted '' "$work/${name}0.raw" "$work/${name}1.raw" fill &&
        sha256sum "$work/$name"?.raw >"$work/$name.sum"
}

make stripes -d raid0 -m raid1 >"$work/make.log" 2>&1 || skip_all "btrfs cannot be mounted here"
make mirrors -d raid1 -m raid1 >"$work/make.log" 2>&1 || skip_all "btrfs cannot be mounted here"

numbers=$(seq 1 400000 | sha256sum)

inspected() {
    "$H2K" inspect --json "$work/stripes1.raw" "$work/stripes0.raw" >"$work/json" &&
        json "$work/json" 'd["pretty_name"] == "On two disks" and len(d["volumes"]) == 1' &&
        json "$work/json" 'd["volumes"][0]["kind"] == "btrfs" and d["volumes"][0]["opened"]' &&
        json "$work/json" 'd["volumes"][0]["lies_on"] == ["disk 1", "disk 2"]' &&
        json "$work/json" 'not any(v["opened"] for k in d["disks"] for v in k["volumes"])'
}
claim "the filesystem is one volume, which says what it lies on" inspected

read_back() {
    [ "$("$H2K" cat -a "$work/stripes0.raw" -a "$work/stripes1.raw" /home/numbers | sha256sum)" = "$numbers" ] &&
        [ "$("$H2K" cat -a "$work/stripes1.raw" -a "$work/stripes0.raw" /home/numbers | sha256sum)" = "$numbers" ] &&
        [ "$("$H2K" tree -a "$work/stripes1.raw" -a "$work/stripes0.raw" / | grep -c numbers)" -eq 1 ]
}
claim "its files are read, in whichever order the disks are given" read_back

missing() {
    [ "$("$H2K" cat "$work/mirrors1.raw" /home/numbers | sha256sum)" = "$numbers" ] &&
        "$H2K" inspect "$work/mirrors1.raw" >"$work/text" &&
        grep -q 'Warning: .*device 1 (UUID .*is on none of the disks' "$work/text" &&
        ! "$H2K" cat "$work/stripes1.raw" /home/numbers >/dev/null 2>"$work/err" &&
        grep -q 'device 1 (UUID .*give every disk of the VM$' "$work/err"
}
claim "with a disk missing mirrors are read, and what is needed is said" missing

# The numbers are there, and the other copies of all blocks are right.
is_right() {
    [ "$(sha256sum <"$work/mnt/@/home/numbers")" = "$numbers" ] && btrfs scrub start -B "$work/mnt"
}

copied() {
    "$H2K" local --disk "$work/stripes0.raw" --disk "$work/stripes1.raw" --to-output "$work/out.raw" \
        --out-format raw --no-guest-inspection --no-test 2>"$work/err" || return 1
    ls -la "$work"/out*
    local first second
    first=$(find "$work" -name 'out*.raw' | sort | head -n 1)
    second=$(find "$work" -name 'out*.raw' | sort | tail -n 1)
    [ "$(du -k "$first" | cut -f 1)" -lt 8000 ] && [ "$(du -k "$second" | cut -f 1)" -lt 8000 ] &&
        with_mounted '' "$first" "$second" is_right
}
claim "copies of its disks have what is in use of both, and no more" copied

changed() {
    is_right && [ "$(cat "$work/mnt/@/home/new")" = new ]
}

put_by_appliance() {
    local first second
    echo new >"$work/new"
    TMPDIR=$work/tmp "$H2K" put -a "$work/mirrors0.raw" -a "$work/mirrors1.raw" "$work/new" /home/new \
        --to-output "$work/put.qcow2" 2>"$work/err" || return 1
    ls -la "$work"/put*
    first=$(find "$work" -name 'put*' | sort | head -n 1)
    second=$(find "$work" -name 'put*' | sort | tail -n 1)
    qemu-img convert -O raw "$first" "$work/p0" && qemu-img convert -O raw "$second" "$work/p1" &&
        sha256sum -c "$work/mirrors.sum" && with_mounted '' "$work/p0" "$work/p1" changed &&
        [ -z "$(ls -A "$work/tmp")" ]
}
if "$H2K" inspect --backend=guestfs /dev/null 2>&1 | grep -q 'built without'; then
    echo "# built without libguestfs: nothing is changed"
else
    claim "a file is put by the appliance, which gets both disks" put_by_appliance
fi

not_changed() {
    refused 5 'is missing: give every disk' "$H2K" put "$work/mirrors1.raw" "$work/new" /home/new \
        --to-output "$work/no.qcow2"
}
claim "with a disk missing nothing is changed" not_changed

finish
