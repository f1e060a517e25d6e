#!/bin/bash
# Clones that leave their store, or whose original lies elsewhere: flatten, export, rebase.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
raw=$(guest debian12-vmware raw)
store=$work/store
disk_of() {
    echo "$store/clones/$1/current/disk$2.qcow2"
}

layer_of() { # CLONE SNAPSHOT
    clone show "$1" --json >"$work/show.json" &&
        python3 -c 'import json, sys
print(next(l["image"] for l in json.load(open(sys.argv[1]))["layers"] if l.get("snapshot") == sys.argv[2]))' \
            "$work/show.json" "$2"
}

same() { # IMAGE FORMAT IMAGE FORMAT
    qemu-img compare -q -f "$2" -F "$4" "$1" "$3"
}

writes() { # IMAGE COMMAND...
    local image=$1 arguments=() command
    shift
    for command in "$@"; do arguments+=(-c "$command"); done
    qemu-io -f qcow2 "${arguments[@]}" "$image" >/dev/null
}

# Two disks with a partition table, random data and holes; a snapshot, and changes after it.
make_two() {
    truncate -s 96M "$work/a.raw" && truncate -s 33554944 "$work/b.raw" &&
        echo 'label: gpt
start=2048, type=linux' | sfdisk -q "$work/a.raw" &&
        head -c 9000000 /dev/urandom | dd of="$work/a.raw" bs=1M seek=8 conv=notrunc status=none &&
        head -c 3000000 /dev/urandom | dd of="$work/b.raw" bs=1M seek=20 conv=notrunc status=none &&
        clone create --no-repair --full "$work/a.raw" --disk "$work/b.raw" two &&
        writes "$(disk_of two '')" 'write -P 1 9M 1M' && writes "$(disk_of two -2)" 'write -P 2 1M 64k' &&
        clone snapshot two --name s &&
        writes "$(disk_of two '')" 'write -P 3 9M 512k' 'write -z 10M 1M' &&
        writes "$(disk_of two -2)" 'write -P 4 21M 64k'
}

# --- flatten ------------------------------------------------------------------------------------

flattens() { # FORMAT [OPTION]
    local name=$1
    [ "$1" = vhd ] && name=vpc
    clone flatten two --to "$work/flat.$1" -O "$1" ${2:+"$2"} &&
        same "$work/flat.$1" "$name" "$(disk_of two '')" qcow2 &&
        same "$work/flat-disk2.$1" "$name" "$(disk_of two -2)" qcow2 &&
        qemu-img info -f "$name" --output=json "$work/flat.$1" >"$work/info.json" &&
        json "$work/info.json" '"backing-filename" not in d and d["actual-size"] < 30 << 20' &&
        [ "$(stat -c %a "$work/flat.$1")" = 600 ] &&
        { [ "$1" = raw ] || [ "$1" = vhd ] || [ "$1" = vmdk ] || qemu-img check -q -f "$name" "$work/flat.$1"; }
}

needs_nothing_else() {
    mv "$store" "$work/away" && mv "$work/a.raw" "$work/a.away" &&
        qemu-img convert -f qcow2 -O raw "$work/flat.qcow2" "$work/all.raw"
    local ok=$?
    mv "$work/away" "$store" && mv "$work/a.away" "$work/a.raw" && [ "$ok" -eq 0 ] &&
        same "$work/all.raw" raw "$(disk_of two '')" qcow2 && rm "$work/all.raw"
}

flattens_snapshot() {
    clone flatten two --snapshot s --to "$work/s.qcow2" --compress &&
        same "$work/s.qcow2" qcow2 "$(layer_of two s)" qcow2
}

is_not_replaced() {
    refused 9 'exists already; --force' "$H2K" clone flatten two --state-dir "$store" --to "$work/flat.raw" -O raw &&
        rm "$work/flat.raw" &&
        refused 9 'flat-disk2.raw exists already; --force' "$H2K" clone flatten two --state-dir "$store" --to "$work/flat.raw" -O raw &&
        [ ! -e "$work/flat.raw" ] &&
        clone flatten two --snapshot s --to "$work/flat.raw" -O raw --force &&
        same "$work/flat.raw" raw "$(layer_of two s)" qcow2
}

# By its name, a link, a second name, or within the store.
never_onto_itself() {
    local to sums
    sums=$(sha256sum "$work"/?.raw "$store"/clones/two/layers/*/disk.qcow2)
    ln -s a.raw "$work/link.raw" && ln "$work/b.raw" "$work/hard.raw" &&
        ln "$(layer_of two s)" "$work/hard.qcow2" || return 1
    for to in "$work/a.raw" "$work/link.raw" "$work/hard.raw" "$work/hard.qcow2"; do
        refused 2 'is a source of this conversion' "$H2K" clone flatten two --state-dir "$store" --to "$to" --force || return 1
    done
    for to in "$(disk_of two '')" "$store/clones/two/clone.json" "$store/x.qcow2" "$store/clones/x"; do
        refused 2 'lies in the store' "$H2K" clone flatten two --state-dir "$store" --to "$to" --force || return 1
    done
    refused 2 'lies in the store' "$H2K" clone export two --state-dir "$store" --to "$store/clones/x" &&
        sha256sum --quiet -c <<<"$sums"
}

refuses() {
    refused 2 'a MAC is written' "$H2K" clone create --no-repair --mac 52:54 "$work/a.raw" mac --state-dir "$store" &&
        refused 3 'no clone three' "$H2K" clone flatten three --state-dir "$store" --to "$work/x" &&
        refused 3 'no snapshot "t"' "$H2K" clone flatten two --snapshot t --state-dir "$store" --to "$work/x" &&
        refused 2 'output' "$H2K" clone flatten two --state-dir "$store" --to "$work/x" -O floppy &&
        refused 2 'qcow2 or raw' "$H2K" clone export two --state-dir "$store" --to "$work/x" -O vmdk &&
        refused 10 'nowhere' "$H2K" clone flatten two --state-dir "$store" --to "$work/nowhere/x" &&
        refused 10 'nowhere' "$H2K" clone export two --state-dir "$store" --to "$work/nowhere/x" &&
        [ ! -e "$work/x" ] && [ ! -e "$work/x-disk2" ]
}

# The snapshot's layers do not change while the VM writes.
while_it_runs() {
    local pid ok=0
    mkfifo "$work/fifo"
    qemu-io -f qcow2 "$(disk_of two -2)" <"$work/fifo" >/dev/null &
    pid=$!
    exec 9>"$work/fifo"
    until "$H2K" -q clone flatten two --state-dir "$store" --to "$work/running.qcow2" 2>&1 | grep -q 'two runs'; do
        rm -f "$work"/running*
        kill -0 "$pid" || return 1
        sleep 0.05
    done
    refused 10 'two runs: stop it first, or name a snapshot.*qemu-io' "$H2K" clone flatten two --state-dir "$store" --to "$work/running.qcow2" &&
        refused 10 'two runs' "$H2K" clone export two --state-dir "$store" --to "$work/running" &&
        clone flatten two --snapshot s --to "$work/running.qcow2" &&
        same "$work/running.qcow2" qcow2 "$(layer_of two s)" qcow2 || ok=1
    exec 9>&-
    wait "$pid"
    return "$ok"
}

changed_original() {
    cp -p --sparse=always "$work/a.raw" "$work/kept.raw" && touch "$work/a.raw" &&
        refused 12 'not what it was.*written to since' "$H2K" clone flatten two --state-dir "$store" --to "$work/c.qcow2" &&
        refused 12 'not what it was' "$H2K" clone export two --state-dir "$store" --to "$work/c" &&
        touch -r "$work/kept.raw" "$work/a.raw" && mv "$work/a.raw" "$work/a.away" &&
        refused 3 'a.raw' "$H2K" clone flatten two --state-dir "$store" --to "$work/c.qcow2" || return 1
    mv "$work/a.away" "$work/a.raw" && [ ! -e "$work/c.qcow2" ] && [ ! -e "$work/c" ]
}

# A filesystem that is too small: the numbers are said before anything is written.
no_space() {
    local dev ok=0
    truncate -s 8M "$work/small.img" && mkfs.ext4 -q "$work/small.img" &&
        dev=$(losetup -f --show "$work/small.img") && mkdir -p "$work/small" &&
        mount "$dev" "$work/small" && rmdir "$work/small/lost+found" || return 1
    refused 11 'needed.*available' "$H2K" clone flatten two --state-dir "$store" --to "$work/small/x.qcow2" &&
        refused 11 'needed.*available' "$H2K" clone export two --state-dir "$store" --to "$work/small/x" &&
        empty "$work/small" || ok=1
    umount "$work/small"
    losetup -d "$dev"
    return "$ok"
}

# Killed or interrupted at any time: nothing, or all; what is left is removed by the next run.
interrupted() {
    local delay
    mkdir "$work/cut"
    # Whoever is killed holds its lock until the kernel has taken it apart.
    gone() {
        soon flock -n "$store/clones/two/lock" true
    }
    for delay in 0.01 0.03 0.05 0.08 0.12; do
        timeout -s KILL "$delay" "$H2K" -q clone export two --state-dir "$store" --to "$work/cut/vm"
        gone
        [ ! -e "$work/cut/vm" ] || (cd "$work/cut/vm" && sha256sum --quiet -c SHA256SUMS) || return 1
        rm -rf "$work/cut/vm"
        timeout -s KILL "$delay" "$H2K" -q clone flatten two --state-dir "$store" --to "$work/cut/i.raw" -O raw
        gone
        [ ! -e "$work/cut/i.raw" ] || same "$work/cut/i-disk2.raw" raw "$(disk_of two -2)" qcow2 || return 1
        rm -f "$work/cut"/i*
    done
    status '130|0' timeout -s INT 0.05 "$H2K" -q clone flatten two --state-dir "$store" --to "$work/cut/i.raw" -O raw
    rm -f "$work"/cut/i*
    clone flatten two --to "$work/cut/i.raw" -O raw && clone export two --to "$work/cut/vm" &&
        [ "$(find "$work/cut" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | xargs)" = "i-disk2.raw i.raw vm" ]
}

# --- export -------------------------------------------------------------------------------------

exports() {
    clone export two --to "$work/vm" --snapshot s && cd "$work/vm" && sha256sum --quiet -c SHA256SUMS &&
        [ "$(find . -type f -printf '%f\n' | sort | xargs)" = "SHA256SUMS domain.xml two-disk2.qcow2 two.qcow2" ] &&
        same two.qcow2 qcow2 "$(layer_of two s)" qcow2 && virt-xml-validate domain.xml domain &&
        virsh -c test:///default define domain.xml && grep -qF "file=\"$work/vm/two.qcow2\"" domain.xml && grep -qF "file=\"$work/vm/two-disk2.qcow2\"" domain.xml &&
        [ "$(grep -E '<uuid>|<mac ' domain.xml)" = "$(grep -E '<uuid>|<mac ' "$store/clones/two/domain.xml")" ] &&
        ! grep -qF "$store" domain.xml
}

# UEFI's variables of the state that is exported.
exports_beside() {
    local folder=$store/clones/efi
    clone create --no-repair "$work/b.raw" efi && head -c 131072 /dev/urandom >"$folder/layers/1/nvram.fd" &&
        clone reset efi && clone snapshot efi --name s && head -c 131072 /dev/urandom >"$folder/current/nvram.fd" &&
        clone export efi --to "$work/efi" --snapshot s && cmp "$work/efi/nvram.fd" "$folder/layers/1/nvram.fd" &&
        (cd "$work/efi" && sha256sum --quiet -c SHA256SUMS && [ "$(wc -l <SHA256SUMS)" -eq 3 ]) &&
        virt-xml-validate "$work/efi/domain.xml" domain &&
        grep -qF "<nvram>$work/efi/nvram.fd</nvram>" "$work/efi/domain.xml" &&
        ! grep -qrF "$store" "$work"/efi/*.xml && clone delete efi
}

folder_is_free() {
    refused 9 'no empty folder' "$H2K" clone export two --state-dir "$store" --to "$work/vm" &&
        touch "$work/file" && refused 9 'no empty folder' "$H2K" clone export two --state-dir "$store" --to "$work/file" &&
        mkdir "$work/free" && clone export two --to "$work/free" -O raw && same "$work/free/two.raw" raw "$(disk_of two '')" qcow2 &&
        virt-xml-validate "$work/free/domain.xml" domain
}

# The whole thing, with a real guest.
exports_a_guest() {
    clone create "$raw" web && clone export web --to "$work/web" && rm -rf "$store/clones/web" &&
        "$H2K" -q inspect "$work/web/web.qcow2" | grep -q Debian && qemu-img check -q "$work/web/web.qcow2" &&
        virt-xml-validate "$work/web/domain.xml" domain
}

# --- rebase -------------------------------------------------------------------------------------

# What every state of both disks reads.
states() {
    local image
    for image in "$store"/clones/two/layers/*/disk*.qcow2; do
        qemu-img check -q -f qcow2 "$image" && qemu-img convert -f qcow2 -O raw "$image" "$work/state" || return 1
        echo "${image##*/layers/} $(sha256sum <"$work/state")"
    done
    rm "$work/state"
}

rebases() { # DISK DISK-2 [OPTION...]
    local first=$1 second=$2
    shift 2
    clone rebase two "$first" --disk "$second" "$@" && [ "$(states)" = "$before" ] &&
        clone show two --json >"$work/show.json" &&
        json "$work/show.json" "[o['path'] for o in d['originals']] == ['$first', '$second'] and d['original-health'] == 'ok'" &&
        clone verify two && qemu-img info --backing-chain --output=json "$(disk_of two '')" >"$work/chain.json" &&
        json "$work/chain.json" "d[-1]['filename'].endswith('original') or d[-1]['filename'].endswith('original.b') or d[-1]['filename'] == '$first'"
}

# Moved away: the same content is found without the old original.
moved() {
    before=$(states)
    mkdir "$work/new" && mv "$work/a.raw" "$work/new/" && mv "$work/b.raw" "$work/new/" &&
        refused 3 'a.raw' "$H2K" clone run --print --state-dir "$store" two &&
        rebases "$work/new/a.raw" "$work/new/b.raw" --full && clone verify two --full &&
        [ -L "$store/clones/two/original" ]
}

converted() { # FORMAT
    local qemu=$1
    [ "$1" = vhd ] && qemu=vpc
    rm -f "$work/new/a.$1" "$work/new/b.$1"
    qemu-img convert -O "$qemu" -f raw "$work/keep-a.raw" "$work/new/a.$1" &&
        qemu-img convert -O "$qemu" -f raw "$work/keep-b.raw" "$work/new/b.$1" &&
        rebases "$work/new/a.$1" "$work/new/b.$1" &&
        qemu-img info --backing-chain --output=json "$(disk_of two -2)" >"$work/chain.json" &&
        json "$work/chain.json" "d[-1]['format'] == '$qemu' and d[-2]['backing-filename-format'] == '$qemu'"
}

another_content() {
    local sums
    cp --sparse=always "$work/keep-a.raw" "$work/c.raw" && cp "$work/keep-b.raw" "$work/d.raw" &&
        printf x | dd of="$work/c.raw" bs=1 seek=12345678 conv=notrunc status=none
    sums=$(find "$store/clones/two" -type f -exec sha256sum {} +; readlink "$store"/clones/two/original*)
    status 0 "$H2K" -q clone verify two --state-dir "$store" || return 1
    refused 12 'first difference is at byte 12345678.*--keep-content' "$H2K" clone rebase two "$work/c.raw" --disk "$work/d.raw" --full --state-dir "$store" || return 1
    dd if=/dev/urandom of="$work/c.raw" bs=64k count=16 seek=16 conv=notrunc status=none
    refused 12 'c.raw is not what.*(changed|differs)' "$H2K" clone rebase two "$work/c.raw" --disk "$work/d.raw" --state-dir "$store" &&
        refused 12 'smaller.*nothing was changed' "$H2K" clone rebase two "$work/d.raw" --disk "$work/d.raw" --state-dir "$store" &&
        [ "$sums" = "$(find "$store/clones/two" -type f -exec sha256sum {} +; readlink "$store"/clones/two/original*)" ] &&
        rebases "$work/c.raw" "$work/d.raw" --keep-content
}

# The second disk only with another content, and larger.
larger() {
    cp --sparse=always "$work/c.raw" "$work/e.raw" && truncate -s 200M "$work/e.raw" && rebases "$work/e.raw" "$work/d.raw"
}

bad_originals() {
    local dev ok=0
    refused 2 'has 2 disks, and 1 is named' "$H2K" clone rebase two "$work/c.raw" --state-dir "$store" &&
        refused 2 'belongs to a clone' "$H2K" clone rebase two "$(disk_of two '')" --disk "$work/d.raw" --state-dir "$store" &&
        mkdir -p "$work/x/y" && ln "$store/clones/two/layers/1/disk.qcow2" "$work/x/y/own.qcow2" &&
        cp -d "$store"/clones/two/original* "$work/" &&
        refused 2 'layer of the clone itself' "$H2K" clone rebase two "$work/x/y/own.qcow2" --disk "$work/d.raw" --state-dir "$store" &&
        refused 5 'on a server' "$H2K" clone rebase two nbd://127.0.0.1/x --disk "$work/d.raw" --state-dir "$store" &&
        refused 3 'nothing.raw' "$H2K" clone rebase two "$work/nothing.raw" --disk "$work/d.raw" --state-dir "$store" || return 1
    has_loop_devices || return 0
    truncate -s 64M "$work/used.img" && mkfs.ext4 -q "$work/used.img" && mkdir -p "$work/used" &&
        dev=$(losetup -f --show "$work/used.img") && mount "$dev" "$work/used" || return 1
    refused 3 "in use.*mounted on $work/used" "$H2K" clone rebase two "$dev" --disk "$work/d.raw" --state-dir "$store" || ok=1
    umount "$work/used"
    losetup -d "$dev"
    return "$ok"
}

claim "a clone of two disks" make_two
for format in qcow2 raw vmdk vhdx vhd; do
    claim "it becomes $format images that hold the same" flattens "$format"
done
claim "they need neither the store nor the original" needs_nothing_else
claim "a snapshot becomes an image, compressed" flattens_snapshot
claim "what is there is replaced with --force only" is_not_replaced
claim "nothing that the clone consists of is overwritten, by whatever name" never_onto_itself
claim "what cannot be is refused and leaves nothing" refuses
claim "while it runs, a snapshot can be had, the present state not" while_it_runs
claim "a changed or missing original is refused" changed_original
if has_loop_devices; then
    claim "too little space is said with the numbers, beforehand" no_space
else
    skip "too little space is said with the numbers, beforehand" "no loop devices here"
fi
claim "killed or interrupted, there is all or nothing" interrupted
claim "an export is a VM with valid definition and digests" exports
claim "UEFI's variables are exported" exports_beside
claim "an export goes into a new or empty folder only" folder_is_free
cp --sparse=always "$work/a.raw" "$work/keep-a.raw" && cp "$work/b.raw" "$work/keep-b.raw"
before=
claim "an original that was moved is found again by its content" moved
for format in qcow2 vmdk vhdx raw; do
    claim "the original can have become $format" converted "$format"
done
claim "another content is refused, or kept in the lowest layer" another_content
claim "a larger original changes nothing" larger
claim "what cannot be an original is refused" bad_originals
claim "a real guest is exported, and found there" exports_a_guest
finish
