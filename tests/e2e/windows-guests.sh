#!/bin/bash
# e2e/windows-guests.sh - the synthetic Windows guests of tests/windows are sound: other programs
# read their partitions, filesystems and hives, and find in them what their answers say.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck source=tests/e2e/lib.sh
source "${H2K_TOP:?the source tree}/tests/e2e/lib.sh"

PATH=$PATH:/usr/sbin:/sbin
for tool in mkntfs ntfscat sgdisk sfdisk mkfs.vfat fsck.vfat mcopy hivexregedit reglookup; do
    command -v $tool >/dev/null || skip_all "$tool is not installed"
done
guests=$H2K_TOP/tests/windows
image=$work/guest.img
answers=$work/guest.json

# sound OPTION...: the guest is built and passes
sound() {
    rm -f "$image" &&
        "$guests/make-guest" --answers "$answers" "$@" "$image" &&
        "$guests/check-guest" "$image" "$answers"
}

# Some hundred bytes of NTFS' own metadata differ, and the times of the ESP's folders.
same_again() {
    local options=(--release w7 --firmware bios --size 1024)
    "$guests/make-guest" "${options[@]}" --answers "$work/one.json" "$work/one.img" && sleep 2 &&
        "$guests/make-guest" "${options[@]}" --answers "$work/two.json" "$work/two.img" &&
        cmp "$work/one.json" "$work/two.json" &&
        [ "$(cmp -l "$work/one.img" "$work/two.img" | wc -l)" -lt 4000 ]
}

while read -r release arch firmware; do
    claim "$release for $arch with $firmware is sound" \
        sound --release "$release" --arch "$arch" --firmware "$firmware"
done < <("$guests/make-guest" --list)
for hypervisor in vmware-tools hyperv xen parallels virtualbox; do
    claim "a guest of $hypervisor is sound" sound --release w7 "--$hypervisor" --static
    claim "a newer guest of $hypervisor is sound" sound --release 2k25 "--$hypervisor" --static
done
claim "another drive, folder and control set are found" \
    sound --release 2k8 --firmware bios --drive D --windows-dir WINNT --control-set 2 --dc --recovery
claim "two systems on one disk are sound" sound --release w10 --firmware bios --two-systems w7
claim "a guest on a dynamic disk is sound" sound --release w7 --firmware bios --ldm
fails "a release that is not made for arm64 is refused" \
    "$guests/make-guest" --release w7 --arch arm64 "$image"
claim "the same options make the same guest, but for some metadata" same_again
finish
