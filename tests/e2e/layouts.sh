#!/bin/bash
# e2e/layouts.sh - which of the systems on a disk is the one that is booted, and what its fstab mounts
# where: btrfs as Debian, Fedora, SUSE, snapper and Timeshift lay it out, bind mounts, what is missing.
# The filesystems are made by their own tools and filled by the kernel.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck source=tests/e2e/lib.sh
source "${H2K_TOP:?the source tree}/tests/e2e/lib.sh"

is_root || skip_all "mounting the test filesystems needs root"
disk=$work/disk.raw
m=$work/mnt
mkdir "$m"

# system SUBVOLUME FSTAB...: what makes a subvolume (or the top level, for .) a system
system() {
    local dir=$m/$1
    shift
    [ -d "$dir" ] || btrfs -q subvolume create "$dir" || return 1
    mkdir -p "$dir/etc" "$dir/bin" "$dir/var/lib/dpkg" &&
        printf 'ID=debian\nPRETTY_NAME="System"\n' >"$dir/etc/os-release" &&
        echo root:x:0:0::/root:/bin/sh >"$dir/etc/passwd" && : >"$dir/bin/sh" || return 1
    printf '%s\n' "$@" >"$dir/etc/fstab"
}

snapshot() {
    mkdir -p "$(dirname "$m/$2")" && btrfs -q subvolume snapshot ${3:+"$3"} "$m/$1" "$m/$2"
}

id_of() {
    btrfs inspect-internal rootid "$m/$1"
}

# made COMMAND...: a new filesystem, filled by the command. Linux takes two with one UUID for one.
made() {
    local ok
    uuid=$(</proc/sys/kernel/random/uuid)
    rm -f "$disk"
    truncate -s 256M "$disk" && mkfs.btrfs -q -U "$uuid" "$disk" >/dev/null && mount -o loop "$disk" "$m" || return 1
    "$@"
    ok=$?
    umount "$m" && [ $ok -eq 0 ]
}

# The root is on SUBVOLUME; of whatever else is found on the disk, nothing is taken for a system.
root_is() {
    local subvolume=$1
    "$H2K" inspect --json "$disk" >"$work/json" 2>"$work/err" || return 1
    cat "$work/err"
    python3 -m json.tool "$work/json" | grep -E 'subvolume|mountpoint|warning'
    json "$work/json" "[v['subvolume'] for k in [d, *d['disks']] for v in k['volumes']
        if v.get('mountpoint') == '/'] == ['$subvolume'] and d['distro'] == 'debian'"
}

rooted() {
    made "$1" && root_is "$2"
}

warned() {
    grep -qE "$1" "$work/err" "$work/json"
}

debian() {
    system @ "UUID=$uuid / btrfs defaults,subvol=@ 0 0" "UUID=$uuid /home btrfs subvol=@home 0 0" &&
        btrfs -q subvolume create "$m/@home" && snapshot @ @/.snapshots/1/snapshot -r &&
        snapshot @ @/.snapshots/2/snapshot
}
claim "fstab's subvol=@ is the root, not its snapshots" rooted debian /@
no_warning() {
    negate warned 'hold systems'
}
claim "and there is no doubt about it" no_warning

by_number() {
    mkdir "$m/roots" && system roots/a && system roots/b &&
        echo "UUID=$uuid / btrfs subvolid=$(id_of roots/b) 0 0" |
        tee "$m/roots/a/etc/fstab" >"$m/roots/b/etc/fstab"
}
claim "fstab's subvolid= is the root" rooted by_number /roots/b

top_level() {
    system . "UUID=$uuid / btrfs subvolid=0 0 0" && snapshot . snaps/old -r
}
claim "the top level is the root when fstab says subvolid=0" rooted top_level /

# openSUSE: no subvol= for the root; what is mounted is the default subvolume.
suse() {
    btrfs -q subvolume create "$m/@" && btrfs -q subvolume create "$m/@/.snapshots" &&
        mkdir "$m/@/.snapshots/1" &&
        system @/.snapshots/1/snapshot "UUID=$uuid / btrfs defaults 0 0" \
            "UUID=$uuid /.snapshots btrfs subvol=/@/.snapshots 0 0" &&
        snapshot @/.snapshots/1/snapshot @/.snapshots/2/snapshot -r &&
        btrfs -q subvolume set-default "$m/@/.snapshots/1/snapshot"
}
claim "SUSE's default subvolume is the root, a snapshot by its name" rooted suse /@/.snapshots/1/snapshot

rolled_back() {
    suse && snapshot @/.snapshots/2/snapshot @/.snapshots/3/snapshot &&
        btrfs -q subvolume set-default "$m/@/.snapshots/3/snapshot"
}
claim "after snapper's rollback it is the new one" rooted rolled_back /@/.snapshots/3/snapshot

# An fstab that still names the first one is not asked: the kernel mounts the default.
stale() {
    suse && echo "UUID=$uuid / btrfs subvol=@/.snapshots/1/snapshot 0 0" \
        >"$m/@/.snapshots/1/snapshot/etc/fstab" &&
        snapshot @/.snapshots/1/snapshot @/.snapshots/3/snapshot &&
        btrfs -q subvolume set-default "$m/@/.snapshots/3/snapshot"
}
claim "and also when fstab names the one before" rooted stale /@/.snapshots/3/snapshot

# Only the boot loader's rootflags= would tell: what is kept below .snapshots is no candidate.
unsaid() {
    system @ "UUID=$uuid / btrfs defaults 0 0" && snapshot @ @/.snapshots/1/snapshot -r &&
        snapshot @ @/.snapshots/2/snapshot
}
not_in_doubt() {
    rooted unsaid /@ && no_warning
}
claim "snapshots are no candidates where fstab names no subvolume" not_in_doubt

timeshift() {
    mkdir "$m/timeshift-btrfs" && debian &&
        snapshot @ timeshift-btrfs/snapshots/2024-01-01_00-00-01/@ &&
        echo changed >"$m/timeshift-btrfs/snapshots/2024-01-01_00-00-01/@/etc/motd"
}
claim "Timeshift's copies are not the root" rooted timeshift /@

fedora() {
    system root "UUID=$uuid / btrfs subvol=root,compress=zstd:1 0 0" \
        "UUID=$uuid /home btrfs subvol=home,compress=zstd:1 0 0" && btrfs -q subvolume create "$m/home" &&
        echo mine >"$m/home/mine"
}
claim "Fedora's root is one that is called so" rooted fedora /root
home_is_there() {
    [ "$("$H2K" cat "$disk" /home/mine)" = mine ]
}
claim "and its /home is the other subvolume" home_is_there

two() {
    system one && system two
}
in_doubt() {
    rooted two /one && warned '/one and /two hold systems'
}
claim "two systems of which none is named: the first one, and a warning" in_doubt

# What fstab mounts besides: folders on other places, what is not there, what is on the network.
mounts() {
    system @ "UUID=$uuid / btrfs subvol=@ 0 0" "/data/www /srv none bind 0 0" \
        "UUID=11111111-2222-3333-4444-555555555555 /backup ext4 defaults,nofail,x-systemd.automount 0 2" \
        "server:/export /net nfs defaults,_netdev 0 0" "/missing /opt none bind 0 0" &&
        mkdir -p "$m/@/data/www" "$m/@/srv" "$m/@/opt" "$m/@/backup" "$m/@/net" &&
        echo page >"$m/@/data/www/index" && echo hidden >"$m/@/opt/seen"
}
claim "a missing disk and network mounts in fstab are no error" rooted mounts /@
told() {
    python3 -m json.tool "$work/json" | grep -A9 warnings
    warned 'mounts /backup from UUID=11111111-2222' && json "$work/json" "d['remote_mounts'] == [
            {'mountpoint': '/net', 'type': 'nfs', 'source': 'server:/export'}]" &&
        "$H2K" inspect "$disk" | grep -A2 'Mounted from elsewhere' | grep -E '/net +nfs +server:/export'
}
claim "what is missing, and what servers have, is told" told
bound() {
    [ "$("$H2K" cat "$disk" /srv/index)" = page ] && [ "$("$H2K" cat "$disk" /opt/seen)" = hidden ]
}
claim "a bind mount shows the folder that it binds; one of nothing hides nothing" bound
finish
