#!/bin/bash
# e2e/replaced.sh - outputs that are there already: refused before there is work in anything, and
# with --force replaced as a whole or not at all, whatever happens meanwhile. The guest is a
# synthetic Windows, which has the most outputs.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck source=tests/e2e/lib.sh
source "${H2K_TOP:?the source tree}/tests/e2e/lib.sh"

PATH=$PATH:/usr/sbin:/sbin
for tool in mkntfs ntfscat; do
    command -v $tool >/dev/null || skip_all "$tool is not installed"
done
guests=$H2K_TOP/tests/windows
"$guests/make-virtio-win" --only w7 --folder "$work/drivers"
"$guests/make-guest" --size 512 --release w7 --firmware bios "$work/guest.img" ||
    "$guests/make-guest" --size 1024 --release w7 --firmware bios "$work/guest.img"
names=(vm.raw vm-bootstrap.img vm-bootstrap.xml vm.xml)

# migrate OPTION...: into out/vm.raw
migrate() {
    "$H2K" local --disk "$work/guest.img" --to-output "$work/out/vm.raw" --out-format raw \
        --virtio-win-iso "$work/drivers" --inject-virtio "$@"
}

# old: a set of outputs whose contents are told from new ones
old() {
    local name
    rm -rf "$work/out" && mkdir "$work/out"
    for name in "${names[@]}"; do
        echo "old $name" >"$work/out/$name"
    done
}

# is_old NAME
is_old() {
    [ "$(head -c 100 "$work/out/$1" 2>/dev/null | tr -d '\0')" = "old $1" ]
}

# set_is HOW...: the set is all old, or all new, with nothing beside it
set_is() {
    local name n=0 how
    ls -A "$work/out"
    [ "$(ls -A "$work/out")" = "$(printf '%s\n' "${names[@]}" | LC_ALL=C sort)" ] || return 1
    for name in "${names[@]}"; do
        is_old "$name" && n=$((n + 1))
    done
    for how in "$@"; do
        [ "$how" = old ] && [ $n -eq ${#names[@]} ] && return
        [ "$how" = new ] && [ $n -eq 0 ] && qemu-img info -f raw "$work/out/vm.raw" >/dev/null &&
            grep -q '</domain>' "$work/out/vm.xml" && return
    done
    echo "$n of ${#names[@]} are old"
    return 1
}

# early CODE REGEX OPTION...: is refused before anything is checked or repaired
early() {
    local code=$1 regex=$2
    status "$code" migrate --progress=json "${@:3}" 2>"$work/events" || return 1
    cat "$work/events"
    grep '"level":"error"' "$work/events" | grep -qe "$regex" &&
        ! grep -E '"phase":"(check|repair|copy)"' "$work/events"
}

# taken NAME: the name is
taken() {
    rm -rf "$work/out" && mkdir "$work/out" && echo "old $1" >"$work/out/$1" &&
        early 9 "$1 exists.*--force" && is_old "$1" && [ "$(ls -A "$work/out")" = "$1" ]
}
for name in "${names[@]}"; do
    claim "$name is there: refused before the guest is repaired" taken "$name"
done

folder() {
    rm -rf "$work/out" && mkdir -p "$work/out/$1/x" &&
        early '2|10' "$1" --force && [ -d "$work/out/$1/x" ]
}
for name in "${names[@]}"; do
    claim "a folder is $name: refused, also with --force" folder "$name"
done

replaced() {
    old && migrate --force && set_is new
}
claim "with --force all of them are replaced" replaced

# What is not the first boot's is kept when that is not asked for.
without_first_boot() {
    old && migrate --force --no-two-phase-boot && is_old vm-bootstrap.xml && ! is_old vm.xml &&
        [ "$(ls -A "$work/out")" = "$(printf "%s\n" "${names[@]}" | LC_ALL=C sort)" ]
}
claim "files of a first boot that is not wanted stay" without_first_boot

# The small disk cannot be made, and the disk has its name by then.
fault() {
    old && mkdir -p "$work/out/vm-bootstrap.img.part/x" &&
        refused 10 'vm-bootstrap.img.part' migrate --force && rm -r "$work/out/vm-bootstrap.img.part" &&
        set_is old
}
claim "a commit that fails in the middle leaves the old outputs" fault

fault_of_new() {
    rm -rf "$work/out" && mkdir -p "$work/out/vm-bootstrap.img.part/x" &&
        refused 10 'vm-bootstrap.img.part' migrate && [ "$(ls -A "$work/out")" = vm-bootstrap.img.part ]
}
claim "without old outputs it leaves none" fault_of_new

# A link stays a link, and so does what it leads to.
linked() {
    old && mv "$work/out/vm.raw" "$work/real.raw" && ln -s ../real.raw "$work/out/vm.raw" &&
        mkdir -p "$work/out/vm-bootstrap.img.part/x" && ! migrate --force &&
        rm -r "$work/out/vm-bootstrap.img.part" && set_is old && [ -L "$work/out/vm.raw" ] &&
        [ ! -e "$work/real.raw.h2k-old" ]
}
claim "a disk behind a link is kept, too" linked

# Killed before the Nth change of a name: each name has something then, and when the next run has
# looked at it the set is one.
killed() {
    local n got name was seen=0
    for n in $(seq 1 40); do
        old
        got=0
        strace -f -qq -o "$work/trace" -e trace=link,linkat,rename,renameat,renameat2,unlink \
            -e "inject=link,linkat,rename,renameat,renameat2,unlink:signal=KILL:when=$n" \
            "$H2K" -q local --disk "$work/guest.img" --to-output "$work/out/vm.raw" --threads 1 \
            --out-format raw --virtio-win-iso "$work/drivers" --inject-virtio --force || got=$?
        [ "$got" -eq 0 ] && break
        was=
        for name in "${names[@]}"; do
            [ -e "$work/out/$name" ] || { echo "at $n there is no $name"; return 1; }
            is_old "$name" && was=$was.
        done
        [ -n "$was" ] && [ ${#was} -lt ${#names[@]} ] && seen=$((seen + 1))
        status 9 migrate || return 1
        rm -f "$work"/out/*.part "$work"/out/.[!.]* "$work"/out/*.xml.?????? || return 1
        set_is old new || { tail -n 5 "$work/trace"; echo "at $n"; return 1; }
    done
    echo "$((n - 1)) points, $seen with a part of the set"
    [ "$got" -eq 0 ] && [ "$n" -gt 8 ] && [ "$seen" -gt 0 ] && set_is new
}
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
    claim "SIGKILL between any two of them leaves the old outputs or the new ones" killed
else
    skip "SIGKILL between any two of them leaves the old outputs or the new ones" "no strace"
fi
finish
