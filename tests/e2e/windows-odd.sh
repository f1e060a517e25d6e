#!/bin/bash
# e2e/windows-odd.sh - Windows guests and surroundings that are not as they should be: hostile texts
# in the registry, links where files will be written, what an earlier run left, volumes that only
# look as if Windows were started from them.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck source=tests/e2e/lib.sh
source "${H2K_TOP:?the source tree}/tests/e2e/lib.sh"

PATH=$PATH:/usr/sbin:/sbin
for tool in mkntfs ntfscat ntfscp mcopy mkfs.vfat sfdisk xorriso hivexregedit; do
    command -v $tool >/dev/null || skip_all "$tool is not installed"
done
guests=$H2K_TOP/tests/windows
iso=$work/virtio-win.iso
"$guests/make-virtio-win" "$iso"
folder="/Program Files/hyper2kvm/firstboot"

# make OPTION...: guest.img with its answers
make() {
    "$guests/make-guest" --size 1024 --answers "$work/guest.json" "$@" "$work/guest.img"
}

# edit IMAGE HIVE: what standard input says goes into the hive
edit() {
    cat >"$work/edit.reg"
    "$guests/edit-hive" "$work/$1" "$work/guest.json" "$2" "$work/edit.reg"
}

# migrate FROM TO OPTION...: TO.raw
migrate() {
    local from=$1 to=$2
    shift 2
    "$H2K" local --disk "$work/$from" --to-output "$work/$to.raw" --out-format raw --no-test \
        --report "$work/$to.json" "$@" 2>&1 | tee "$work/log"
    return "${PIPESTATUS[0]}"
}

# "A", CR, LF, "error: B" as a product's name
two_lines() {
    make --release 2k22 --firmware bios && edit guest.img SOFTWARE <<'END' || return 1
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion]
"ProductName"=hex(1):41,00,0d,00,0a,00,65,00,72,00,72,00,6f,00,72,00,3a,00,20,00,42,00,00,00
END
    "$H2K" inspect "$work/guest.img" | grep '^System: *A  error: B' &&
        migrate guest.img lines --virtio-win-iso "$iso" &&
        grep '^hyper2kvm: guest: A  error: B' "$work/log"
}
claim "a text of the registry is one line wherever it is shown" two_lines

linked() {
    local image=$work/linked-bootstrap.img
    echo precious >"$work/precious" && ln -s precious "$image" &&
        migrate guest.img linked --virtio-win-iso "$iso" --force &&
        [ "$(cat "$work/precious")" = precious ] && [ ! -L "$image" ] &&
        [ "$(stat -c %s "$image")" -eq $((64 << 20)) ] && [ ! -e "$image.part" ]
}
claim "the small disk of the first boot replaces a link, and leaves what it leads to alone" linked

# A package of a newer version, before the first one was dealt with by a boot.
newer() {
    "$guests/make-virtio-win" --folder "$work/newer" &&
        find "$work/newer" -iname '*.inf' -exec sed -i '1i ; a newer version\r' {} + || return 1
    migrate guest.img first --virtio-win-iso "$iso" &&
        migrate first.raw second --virtio-win-iso "$work/newer" || return 1
    "$H2K" cat "$work/first.raw" "$folder/data/offline-drivers.txt" >"$work/list.1" &&
        "$H2K" cat "$work/second.raw" "$folder/data/offline-drivers.txt" >"$work/list.2" || return 1
    cat "$work/list.2"
    [ "$(wc -l <"$work/list.1")" -eq 2 ] && [ "$(wc -l <"$work/list.2")" -eq 4 ] &&
        [ "$(cut -f 3 "$work/list.2" | sort -u | wc -l)" -eq 4 ] &&
        [ "$(head -n 2 "$work/list.2")" = "$(cat "$work/list.1")" ]
}
claim "the first boot is told of the packages of every run before it" newer

# The name that a package has in the folder INF comes from the registry.
led_out() {
    local package
    package=$(cut -f 2 "$work/list.1" | grep viostor) && [ -n "$package" ] || return 1
    edit first.raw SYSTEM <<END || return 1
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\\SYSTEM\\DriverDatabase\\DriverPackages\\$package]
@="../../evil.inf"
END
    migrate first.raw led --virtio-win-iso "$iso" &&
        ! "$H2K" ls "$work/led.raw" /evil.inf && "$H2K" ls "$work/led.raw" /Windows/INF/oem2.inf
}
claim "a package's name that leads out of its folder is not followed" led_out

# What an installation DVD has, on a data disk.
copied_dvd() {
    make --release w7 --firmware bios && truncate -s 64M "$work/data.img" &&
        echo 'start=2048, type=7' | sfdisk -q --label dos "$work/data.img" &&
        mkfs.vfat --offset 2048 "$work/data.img" >"$work/mkfs.log" || return 1
    echo store >"$work/BCD"
    mmd -i "$work/data.img@@1M" ::/EFI ::/EFI/Microsoft ::/EFI/Microsoft/Boot &&
        mcopy -i "$work/data.img@@1M" "$work/BCD" ::/EFI/Microsoft/Boot/BCD || return 1
    "$H2K" ls "$work/data.img" / >"$work/log" 2>&1
    "$H2K" inspect "$work/guest.img" "$work/data.img" | tee "$work/inspect" &&
        grep -q '^Firmware: *bios' "$work/inspect"
}
claim "Windows that BIOS starts stays so beside a copy of its installation DVD" copied_dvd

# The repair behind an NBD export takes the options of a migration.
served() {
    echo 'echo one' >"$work/one.cmd"
    make --release w7 --firmware bios && migrate guest.img local --virtio-win-iso "$iso" || return 1
    # shellcheck disable=SC2016 # the command's own shell has the URI
    "$H2K" nbd-serve --repair --virtio-win-iso "$iso" --firstboot "$work/one.cmd" "$work/guest.img" -- \
        sh -c '"$H2K" cat "$uri" /Windows/System32/drivers/viostor.sys >"$1/viostor.sys" &&
            "$H2K" cat "$uri" "$2/scripts/500-one.cmd" | grep one' sh "$work" "$folder" &&
        "$H2K" cat "$work/local.raw" /Windows/System32/drivers/viostor.sys | cmp - "$work/viostor.sys"
}
export H2K
claim "nbd-serve --repair puts drivers and scripts into Windows" served
served_without() {
    "$H2K" nbd-serve --repair --bus sata "$work/guest.img" -- true &&
        refused 3 'no package of virtio drivers' "$H2K" nbd-serve --repair "$work/guest.img" -- true
}
if [ -e /usr/share/virtio-win ] || [ -e /usr/share/virtio ] || [ -e /usr/local/share/virtio-win ]; then
    skip "nbd-serve --repair needs drivers unless the bus is one that Windows knows" \
        "virtio-win is installed"
else
    claim "nbd-serve --repair needs drivers unless the bus is one that Windows knows" served_without
fi

# --- paths as Windows writes them -----------------------------------------------------------------

# The system is on D:, a data disk with folder/text.txt is C:.
lettered_guest() {
    make --release w7 --firmware bios --drive D && truncate -s 64M "$work/data.img" &&
        echo 'start=2048, type=7' |
        sfdisk -q --label dos "$work/data.img" >"$work/log" 2>&1 &&
        sfdisk -q --disk-id "$work/data.img" 0x11223344 &&
        mkfs.vfat --offset 2048 "$work/data.img" >"$work/log" || return 1
    echo lettered >"$work/text.txt"
    mmd -i "$work/data.img@@1M" ::/folder &&
        mcopy -i "$work/data.img@@1M" "$work/text.txt" ::/folder/text.txt && edit guest.img SYSTEM <<'END'
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SYSTEM\MountedDevices]
"\\DosDevices\\C:"=hex(3):44,33,22,11,00,00,10,00,00,00,00,00
END
}
claim "a guest whose system's drive is D: and that has a C:" lettered_guest

# on COMMAND PATH [OPTION...]
on() {
    local command=$1
    shift
    "$H2K" "$command" -a "$work/guest.img" -a "$work/data.img" "$@"
}

# shellcheck disable=SC1003 # backslashes are meant
system_drive() {
    local path
    on cat /Windows/System32/drivers/etc/hosts >"$work/hosts" && [ -s "$work/hosts" ] || return 1
    for path in 'D:\Windows\System32\drivers\etc\hosts' 'd:/windows/System32\drivers/etc/hosts' \
        '\Windows\System32\drivers\etc\hosts' 'D:\\Windows\\System32\drivers\etc\hosts'; do
        on cat "$path" | cmp - "$work/hosts" || return 1
    done
    for path in 'D:' 'D:\' 'd:/' '\'; do
        on ls "$path" | diff - <(on ls /) || return 1
    done
    on ls -R 'D:\Windows\System32\drivers' | diff - <(on ls -R /Windows/System32/drivers) &&
        on ls --json 'D:\Windows' | diff - <(on ls --json /Windows) &&
        on tree 'D:\Windows' | diff - <(on tree /Windows)
}
claim "the system's drive is the root, by its letter and with backslashes" system_drive

# shellcheck disable=SC1003
data_drive() {
    on cat 'C:\folder\text.txt' | cmp - "$work/text.txt" &&
        on cat 'c:/Folder/text.txt' | cmp - "$work/text.txt" && [ "$(on ls 'C:\')" = folder ] &&
        on cat '/C:/folder/text.txt' | cmp - "$work/text.txt"
}
claim "another drive is where it is mounted" data_drive

copied() {
    mkdir "$work/copies" && on get 'C:\folder\text.txt' 'D:\Windows\System32\drivers\etc' -o "$work/copies" &&
        cmp "$work/copies/text.txt" "$work/text.txt" && cmp "$work/copies/etc/hosts" "$work/hosts" &&
        on put "$work/text.txt" 'C:\folder\new.txt' -o "$work/new.qcow2" &&
        "$H2K" cat -a "$work/guest.img" -a "$work/new-disk2.qcow2" 'C:\folder\new.txt' |
        cmp - "$work/text.txt" && on put "$work/text.txt" 'D:\Windows' -o "$work/more.qcow2" &&
        "$H2K" cat "$work/more.qcow2" /Windows/text.txt | cmp - "$work/text.txt"
}
claim "get and put take such paths, and files keep their own names" copied

# shellcheck disable=SC1003
no_drive() {
    refused 1 'x:.x: the guest has no drive X:, but D:, C:$' on cat 'x:\x' &&
        refused 2 'root of a drive' on cat 'D:Windows' &&
        refused 2 'no absolute path' on cat 'Windows\win.ini' &&
        refused 1 'no drive E:' on put "$work/text.txt" 'E:\' -o "$work/none.qcow2" &&
        [ ! -e "$work/none.qcow2" ]
}
claim "a drive that is not there: the error has those that are" no_drive
finish
