#!/bin/bash
# A clone of Windows starts from a controller that it knows until its first boot on KVM is over, and
# which start that is is said by the state that is started. The synthetic guests of tests/windows;
# what the first boot does to its service's key is written by other programs.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck source=tests/e2e/own-libvirt.sh
. "$(dirname "$0")/own-libvirt.sh"

PATH=$PATH:/usr/sbin:/sbin
for tool in mkntfs ntfscat ntfscp xorriso hivexregedit; do
    command -v $tool >/dev/null || skip_all "$tool is not installed"
done
guests=$H2K_TOP/tests/windows
store=$place/store
iso=$place/virtio-win.iso

clean_up() {
    clone stop --force --timeout 0 win 2>/dev/null
    libvirt_ends
    rm -rf "$work"
}
trap clean_up EXIT

# command_line NAME: what would start it, and what is said of that
command_line() {
    "$H2K" clone run --print --state-dir "$store" "$1" >"$work/args" 2>"$work/said"
}

first_is_ahead() {
    command_line win && grep -q 'first boot of this Windows on KVM: its disks are on SATA' "$work/said" &&
        grep -q "ide-hd.*bootindex=1" "$work/args" && grep -q "domain-bootstrap.img" "$work/args" &&
        grep -q "$iso" "$work/args"
}

first_is_over() {
    command_line win && ! grep -q 'first boot' "$work/said" && ! grep -q 'ide-hd\|bootstrap' "$work/args" &&
        grep -q virtio-blk-pci "$work/args"
}

# edit WORD...: the present state's SYSTEM gets what standard input says, as if Windows had written it
edit() {
    cat >"$work/edit.reg"
    rm -f "$work/state.raw"
    clone flatten win --to "$work/state.raw" -O raw &&
        "$guests/edit-hive" "$work/state.raw" "$work/guest.json" SYSTEM "$work/edit.reg" &&
        qemu-img convert -n -t unsafe -f raw -O qcow2 "$work/state.raw" "$store/clones/win/current/disk.qcow2"
}

service='Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Services\h2k-firstboot]'

created() {
    "$guests/make-virtio-win" "$iso" && chmod 644 "$iso" &&
        "$guests/make-guest" --size 1024 --release 2k22 --firmware bios --answers "$work/guest.json" "$place/win.img" &&
        clone create --memory 64 --virtio-win-iso "$iso" "$place/win.img" win && sum=$(sha256sum "$place/win.img") &&
        "$H2K" -q inspect "$place/win.img" --json >"$work/original.json" &&
        json "$work/original.json" 'not d["windows"]["first_boot_ahead"]'
}
claim "a clone of Windows is made" created
claim "its first boot is from SATA, with VirtIO beside it" first_is_ahead

# A service that removed itself is marked until nothing holds it.
marked() {
    clone snapshot win --name before && printf '%s\n"DeleteFlag"=dword:00000001\n' "$service" | edit && first_is_over
}
claim "when its service has removed itself, VirtIO is next" marked

# A migration of such a state has a first boot again, which Windows does not remove.
again() {
    echo 'echo again' >"$work/again.cmd"
    "$H2K" -q inspect "$work/state.raw" --json >"$work/marked.json" && json "$work/marked.json" 'not d["windows"]["first_boot_ahead"]' &&
        "$H2K" -q local --disk "$work/state.raw" --to-output "$work/again.raw" --out-format raw --no-test --force-dirty \
            --virtio-win-iso "$iso" --firstboot "$work/again.cmd" &&
        "$H2K" -q inspect "$work/again.raw" --json >"$work/again.json" && json "$work/again.json" 'd["windows"]["first_boot_ahead"]'
}
claim "a marked service is installed anew when there is something new to do" again

reset_to() {
    clone snapshot win --name after && clone reset win --to before && first_is_ahead &&
        clone reset win --to after && first_is_over && clone reset win && first_is_ahead
}
claim "each state has a first boot of its own, ahead or over" reset_to

disabled() {
    printf '%s\n"Start"=dword:00000004\n' "$service" | edit && first_is_over && clone reset win && first_is_ahead
}
claim "a service that could only be disabled counts as gone" disabled

exported() {
    clone export win --to "$work/out" && virt-xml-validate "$work/out/domain-bootstrap.xml" domain &&
        (cd "$work/out" && sha256sum --quiet -c SHA256SUMS && [ "$(wc -l <SHA256SUMS)" -eq 4 ]) &&
        grep -qF "file=\"$work/out/domain-bootstrap.img\"" "$work/out/domain-bootstrap.xml" &&
        grep -qF "file=\"$iso\"" "$work/out/domain-bootstrap.xml" && ! grep -qrF "$store" "$work"/out/*.xml &&
        clone export win --snapshot after --to "$work/over" && [ ! -e "$work/over/domain-bootstrap.xml" ]
}
claim "an export has a definition for the first boot while that is ahead" exported

encrypted() {
    echo secret >"$work/key" && chmod 600 "$work/key" &&
        clone create --encrypt "$work/key" --virtio-win-iso "$iso" "$place/win.img" secret && command_line secret &&
        grep -q 'first boot of this Windows' "$work/said" && clone delete secret
}
claim "an encrypted clone is looked into, too" encrypted

# --- libvirt --------------------------------------------------------------------------------------

libvirt_starts || exit 1

by_libvirt() {
    "$H2K" clone start --state-dir "$store" win 2>&1 | grep 'first boot of this Windows' &&
        virsh dumpxml win >"$work/live.xml" && grep -q '<target dev=.sda. bus=.sata.' "$work/live.xml" &&
        grep -q 'domain-bootstrap.img' "$work/live.xml" && grep -q "$iso" "$work/live.xml" &&
        clone stop --force --timeout 0 win && grep -q 'bus="virtio"' "$store/clones/win/domain.xml" &&
        ! grep -q sata "$store/clones/win/domain.xml"
}
claim "libvirt starts the first boot from SATA, once" by_libvirt

# A definition that is kept is the final one.
defined() {
    "$H2K" clone define --state-dir "$store" win 2>&1 | grep 'first boot of this Windows on KVM is ahead' &&
        virsh dumpxml win | grep -q 'bus=.virtio.' && clone start win && virsh dumpxml win | grep -q 'bus=.sata.' &&
        virsh dumpxml --inactive win | grep -q 'bus=.virtio.' && ! virsh dumpxml --inactive win | grep -q 'bus=.sata.' &&
        clone stop --force --timeout 0 win && clone reset win --to after && clone start win &&
        ! virsh dumpxml win | grep -q 'bus=.sata.' && clone stop --force --timeout 0 win
}
claim "a kept definition is the final one, and is used when the first boot is over" defined

unreadable() {
    chmod 600 "$iso" && clone reset win && "$H2K" clone start --state-dir "$store" win 2>&1 | grep 'no CD-ROM with drivers' &&
        virsh dumpxml win | grep -q 'bus=.sata.' && ! virsh dumpxml win | grep -q "$iso" && clone stop --force --timeout 0 win
}
claim "an ISO that QEMU's user cannot read is left out" unreadable

gone() {
    rm "$iso" && command_line win && grep -q 'no CD-ROM with drivers' "$work/said" && grep -q ide-hd "$work/args"
}
claim "one that is gone is left out" gone

old() {
    "$guests/make-guest" --size 1024 --release xp --firmware bios --arch x86 --answers "$work/xp.json" "$place/xp.img" &&
        "$guests/make-virtio-win" "$iso" && clone create --virtio-win-iso "$iso" "$place/xp.img" xp && command_line xp &&
        grep -q 'its disks are on IDE' "$work/said"
}
claim "Windows XP starts from IDE" old

as_it_was() {
    [ "$(sha256sum "$place/win.img")" = "$sum" ] && clone verify win && clone delete win && [ -z "$(virsh list --all --name)" ]
}
claim "the original is as it was, and nothing stays behind" as_it_was
finish
