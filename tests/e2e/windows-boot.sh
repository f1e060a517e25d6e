#!/bin/bash
# e2e/windows-boot.sh - what starts Windows is put right where it is broken, and left alone where it
# is not: synthetic guests are converted, their boot configuration is followed by other readers, and
# a second run on the result changes nothing.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck source=tests/e2e/lib.sh
source "${H2K_TOP:?the source tree}/tests/e2e/lib.sh"

PATH=$PATH:/usr/sbin:/sbin
for tool in mkntfs ntfscat ntfsfix sfdisk mkfs.vfat fsck.vfat mtype mcopy mdel; do
    command -v $tool >/dev/null || skip_all "$tool is not installed"
done
image=$work/guest.img
answers=$work/guest.json
out=$work/out.img
report=$work/report.json

make_guest() {
    rm -f "$image"
    "$H2K_TOP/tests/windows/make-guest" --answers "$answers" "$@" "$image"
}

starts() {
    python3 "$H2K_TOP/tests/e2e/windows-boot/check.py" "$@"
}

fails_to_start() {
    ! starts "$image" "$answers" 2>/dev/null
}

# convert FILE OUT: by this repair alone
convert() {
    "$H2K" local --disk "$1" --to-output "$2" --out-format raw --force --fix-bootloader \
        --report "$report" --quiet
}

# told STATUS: what the report says of the repair
told() {
    json "$report" "[r['status'] for r in d['repairs'] if r['name'] == 'windows-boot'] == ['$1']"
}

# again: a second run on the result changes nothing
again() {
    convert "$out" "$work/again.img" && told "nothing to do"
}

# left_alone OPTION...: a guest that starts is not changed
left_alone() {
    make_guest "$@" && starts "$image" "$answers" no-backup && convert "$image" "$out" &&
        told "nothing to do" && starts "$out" "$answers" no-backup
}

# repaired BACKUP OPTION...: a guest that does not start does so afterwards
repaired() {
    local backup=$1
    shift
    make_guest "$@" && fails_to_start && convert "$image" "$out" && told changed && starts "$out" "$answers" "$backup" && again
}

# warned REGEX: by the repair
warned() {
    json "$report" "__import__('re').search(r'$1', ' '.join(d['guest']['warnings'] + d.get('warnings', [])))"
}

# at ROLE: bytes before the partition with this role
at() {
    python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
print(next(p["start"] for p in d["partitions"] if p["role"] == sys.argv[2]))' "$answers" "$1"
}

# poke OFFSET BYTES: changes the guest
poke() {
    printf '%b' "$2" | dd of="$image" bs=1 seek="$1" conv=notrunc status=none
}

for release in "vista bios" "w7 bios" "w7 uefi" "w8.1 bios" "w10 bios" "w10 uefi" "w11 uefi" \
    "2k8 bios" "2k12r2 uefi" "2k22 uefi" "2k25 uefi"; do
    read -r name firmware <<<"$release"
    guest=(--release "$name" --firmware "$firmware")
    claim "$release starts and is left alone" left_alone "${guest[@]}"
    for broken in missing-winload wrong-disk no-default corrupt; do
        claim "$release with $broken is repaired" repaired backup "${guest[@]}" --bcd-broken $broken
    done
done
for release in xp 2k3; do
    claim "$release starts and is left alone" left_alone --release $release
    claim "$release with another partition in boot.ini is repaired" \
        repaired backup --release $release --bcd-broken wrong-disk
    claim "$release without a default in boot.ini is repaired" \
        repaired backup --release $release --bcd-broken no-default
    claim "$release with a damaged boot.ini is repaired" \
        repaired backup --release $release --bcd-broken corrupt
    claim "the heads in the boot sector of $release are repaired" \
        repaired no-backup --release $release --heads 240
done
claim "heads do not matter to later ones" left_alone --release w7 --firmware bios --heads 240
claim "a system without a partition of its own to start from is left alone" \
    left_alone --release w7 --firmware bios --single-partition
claim "a system without such a partition is repaired" \
    repaired backup --release w7 --firmware bios --single-partition --bcd-broken wrong-disk
for guest in "w10 amd64" "w10 x86" "w11 arm64"; do
    read -r name arch <<<"$guest"
    claim "$guest without the removable-media path gets it" \
        repaired no-backup --release "$name" --arch "$arch" --firmware uefi --no-fallback
done
claim "another folder and drive are left alone" \
    left_alone --release 2k8 --firmware bios --drive D --windows-dir WINNT

# --- what make-guest has no option for ------------------------------------------------------------

esp() {
    MTOOLS_SKIP_CHECK=1 "$1" -i "$image@@$(at system)" "${@:2}"
}

other_fallback() {
    make_guest --release w11 --firmware uefi && echo "shim" >"$work/shim.efi" &&
        esp mcopy -o "$work/shim.efi" ::/EFI/Boot/bootx64.efi && convert "$image" "$out" &&
        told "nothing to do" && warned "bootx64.efi is not Windows"
}

no_manager() {
    make_guest --release w11 --firmware uefi && esp mdel ::/EFI/Microsoft/Boot/bootmgfw.efi &&
        fails_to_start && convert "$image" "$out" && told changed &&
        starts "$out" "$answers" no-backup && again
}

hidden_sectors() {
    make_guest --release w7 --firmware bios && poke $(($(at system) + 28)) '\0\x01\x02\0' &&
        fails_to_start && convert "$image" "$out" && told changed && again
}

no_active() {
    make_guest --release w7 --firmware bios && poke 446 '\0' && poke 462 '\0' &&
        convert "$image" "$out" && told changed && sfdisk -d "$out" | grep -q bootable && again
}

no_boot_code() {
    make_guest --release w7 --firmware bios && dd if=/dev/zero of="$image" bs=440 count=1 \
        conv=notrunc status=none && refused '[0-9]+' 'no boot code.*bootrec' convert "$image" "$out"
}

disk_signature() {
    make_guest --release w7 --firmware bios && poke 440 '\x12\x34\x56\x78' &&
        python3 - "$answers" <<'END' && fails_to_start && convert "$image" "$out" &&
import json, sys
a = json.load(open(sys.argv[1]))
a["disk"]["signature"] = "78563412"
json.dump(a, open(sys.argv[1], "w"))
END
        told changed && starts "$out" "$answers" backup && again
}

notes() {
    make_guest --release w10 --firmware uefi --ems --graphics-disabled && convert "$image" "$out" &&
        told "nothing to do" && warned "Emergency Management" && warned graphicsmodedisabled &&
        json "$report" "d['guest']['windows']['boot']['ems']" &&
        json "$report" "d['guest']['windows']['boot']['graphics_mode_disabled']"
}

inspected() {
    make_guest --release w10 --firmware bios --bcd-broken wrong-disk &&
        "$H2K" inspect --json "$image" >"$work/inspect.json" &&
        json "$work/inspect.json" "any('system device' in p for p in d['windows']['boot']['problems'])" &&
        json "$work/inspect.json" "not any(e['leads_to_system'] for e in d['windows']['boot']['entries'])"
}

# hal ID VCPUS: how many processors a HAL can run on
hal() {
    make_guest --release xp --hal "$1" && "$H2K" inspect --json "$image" >"$work/inspect.json" &&
        json "$work/inspect.json" "d['windows']['hal'] == '$1' and d['windows']['max_vcpus'] == $2"
}

no_acpi() {
    hal e_isa_up 1 && convert "$image" "$out" && told "nothing to do" && warned "no ACPI" &&
        warned "one vCPU"
}

# rebuilt: what a new store has is in the report
rebuilt() {
    make_guest --release w10 --firmware uefi --bcd-broken corrupt && convert "$image" "$out" &&
        warned "made anew" && cp "$report" "$work/first.json" && convert "$image" "$out" &&
        python3 - "$work/first.json" "$report" <<'END'
import json, sys
one, two = ([r["changes"] for r in json.load(open(name))["repairs"] if r["name"] == "windows-boot"]
            for name in sys.argv[1:])
assert one == two
assert any("winload.efi" in change.get("diff", "") for change in one[0])
END
}

no_template() {
    make_guest --release w7 --firmware bios --single-partition --bcd-broken corrupt &&
        python3 - "$image" <<'END' && refused '[0-9]+' 'BCD is damaged.*bootrec' convert "$image" "$out"
import os, sys
old, new = ("BCD-Templ%s" % end for end in ("ate", "gon"))
with open(sys.argv[1], "r+b", buffering=0) as image:
    # The file's record and its folder's index name it in UTF-16.
    at, end = 0, os.fstat(image.fileno()).st_size
    while at < end:
        try:
            at = os.lseek(image.fileno(), at, os.SEEK_DATA)
        except OSError:
            break
        data = os.pread(image.fileno(), 1 << 20, at)
        changed = data.replace(old.encode("utf-16-le"), new.encode("utf-16-le"))
        if changed != data:
            os.pwrite(image.fileno(), changed, at)
        at += len(data)
END
}

claim "the report has what a new store is made of, the same in each run" rebuilt
claim "a damaged store without a template is refused" no_template
claim "a HAL for one processor is told" hal acpiapic_up 1
claim "a HAL for several processors is told" hal acpiapic_mp 0
claim "a HAL without ACPI is told, with what to do" no_acpi
claim "another boot loader at the removable-media path is left there, with a warning" other_fallback
claim "a boot manager that is missing comes from Windows' folder" no_manager
claim "a boot sector that names another start of its partition is repaired" hidden_sectors
claim "a table without an active partition gets one" no_active
claim "a disk without boot code is refused" no_boot_code
claim "a store that names the disk by its old signature is repaired" disk_signature
claim "settings of the owner are left, and told" notes
claim "the inspection tells what is wrong" inspected
finish
