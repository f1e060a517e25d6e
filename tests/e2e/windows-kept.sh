#!/bin/bash
# e2e/windows-kept.sh - VirtIO drivers that Windows has already: newer ones stay and start at boot,
# others are replaced with a reason. Synthetic guests and drivers of tests/windows, and what is found
# in the results by readers that share nothing with hyper2kvm.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck source=tests/e2e/lib.sh
source "${H2K_TOP:?the source tree}/tests/e2e/lib.sh"

PATH=$PATH:/usr/sbin:/sbin
for tool in mkntfs ntfscat ntfscp hivexregedit; do
    command -v $tool >/dev/null || skip_all "$tool is not installed"
done
guests=$H2K_TOP/tests/windows
drivers=/Windows/System32/drivers
store=/Windows/System32/DriverStore/FileRepository
staged="/Program Files/hyper2kvm/firstboot/drivers"
for build in 100 101 102; do
    "$guests/make-virtio-win" --build $build --only w7,w10,2k22 --folder "$work/$build"
done

# make OPTION...: guest.img with its answers
make() {
    "$guests/make-guest" --size 1024 --firmware bios --answers "$work/guest.json" "$@" \
        "$work/guest.img"
}

# edit IMAGE: what standard input says goes into SYSTEM
edit() {
    cat >"$work/edit.reg"
    "$guests/edit-hive" "$work/$1" "$work/guest.json" SYSTEM "$work/edit.reg"
}

# migrate FROM TO BUILD: TO.raw, with the drivers of that build
migrate() {
    rm -f "$work/$2".* "$work/$2"-*
    "$H2K" local --disk "$work/$1" --to-output "$work/$2.raw" --out-format raw --no-test \
        --inject-virtio --virtio-win-iso "$work/$3" --report "$work/$2.json" 2>&1 | tee "$work/log"
    return "${PIPESTATUS[0]}"
}

# as_put IMAGE FILE PATH: IMAGE has FILE as PATH
as_put() {
    rm -f "$work/put.qcow2"
    "$H2K" put "$work/$1" "$2" "$3" --to-output "$work/put.qcow2" &&
        "$H2K" convert "$work/put.qcow2" "$work/put.raw" --out-format raw --force &&
        mv "$work/put.raw" "$work/$1"
}

# holds IMAGE PATH FILE
holds() {
    "$H2K" cat "$work/$1" "$2" | cmp - "$3"
}

# again NAME BUILD: a second run of NAME.raw changes nothing
again() {
    migrate "$1.raw" again "$2" && no_changes "$work/again.json"
}

no_changes() {
    json "$1" 'not [c for r in d["repairs"] for c in r["changes"]]'
}

# replaced REASON: the report says why
replaced() {
    json "$work/out.json" "any('viostor.sys' in c['path'] and '$1' in c['reason'] for r in d['repairs']
        for c in r['changes'])"
}

# newer RELEASE FOLDER: Windows has the newer drivers as it installs them itself, on demand
newer() {
    local release=$1 folder=$2 set number=3
    make --release "$release" && migrate guest.img first 102 || return 1
    for set in viostor vioscsi; do
        # Offline, old releases get no package.
        [ "$release" != w7 ] ||
            as_put first.raw "$work/102/$set/w7/amd64/$set.inf" /Windows/INF/oem$number.inf ||
            return 1
        number=12
    done
    for set in ControlSet001 ControlSet002; do
        [ "$release" = 2k22 ] && [ $set = ControlSet002 ] && continue
        edit first.raw <<END || return 1
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\\SYSTEM\\$set\\Services\\viostor]
"Start"=dword:00000003

[HKEY_LOCAL_MACHINE\\SYSTEM\\$set\\Services\\viostor\\StartOverride]
"0"=dword:00000003
END
    done
    migrate first.raw out 101 &&
        grep -q 'viostor.sys of the guest is [0-9]*.102.104.28500 of 2025-07-08 (oem[0-9]*.inf) and stays' \
            "$work/log" && grep -q 'vioscsi.sys of the guest' "$work/log" &&
        holds out.raw $drivers/viostor.sys "$work/102/viostor/$folder/amd64/viostor.sys" &&
        "$guests/check-drivers" "$work/guest.img" "$work/out.raw" "$work/guest.json" && again out 101
}
claim "a newer driver of Windows 7 stays, and starts at boot" newer w7 w7
claim "a newer driver of Server 2022 stays, and starts at boot" newer 2k22 2k22

# Where Windows 11 has it: the service leads into the driver store, drivers has no file.
in_store() {
    local package file
    make --release 2k22 && migrate guest.img first 102 || return 1
    package=$("$H2K" ls "$work/first.raw" $store | grep '^viostor.inf_amd64') || return 1
    file=$store/$package/viostor.sys
    printf 'no driver' >"$work/none"
    as_put first.raw "$work/none" $drivers/viostor.sys && edit first.raw <<END || return 1
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\viostor]
"ImagePath"="\\\\SystemRoot\\\\System32\\\\DriverStore\\\\FileRepository\\\\$package\\\\viostor.sys"
"Start"=dword:00000003
END
    migrate first.raw out 101 && grep -q 'viostor.sys of the guest .* stays' "$work/log" &&
        holds out.raw "$file" "$work/102/viostor/2k22/amd64/viostor.sys" &&
        holds out.raw $drivers/viostor.sys "$work/none" &&
        "$H2K" cat "$work/out.raw" /Windows/System32/config/SYSTEM >"$work/SYSTEM" &&
        hivexregedit --export --unsafe-printable-strings "$work/SYSTEM" \
            '\ControlSet001\services\viostor' >"$work/service" && cat "$work/service" &&
        grep -q '"Start"=dword:00000000' "$work/service" &&
        grep -q "SystemRoot.*FileRepository.*$package" "$work/service" && again out 101
}
claim "a newer driver in the driver store stays there" in_store

# A file and a service, without a package that Windows knows.
without_package() {
    local release=$1
    make --release "$release" &&
        as_put guest.img "$work/102/viostor/$release/amd64/viostor.sys" $drivers/viostor.sys &&
        migrate guest.img out 101 &&
        grep -q 'viostor.sys of the guest is [0-9]*.102.104.28500 and stays' "$work/log" &&
        holds out.raw $drivers/viostor.sys "$work/102/viostor/$release/amd64/viostor.sys" &&
        holds out.raw $drivers/vioscsi.sys "$work/101/vioscsi/$release/amd64/vioscsi.sys" &&
        again out 101
}
claim "a newer file of Windows 7 without a package stays" without_package w7
claim "a newer file of Server 2022 without a package stays" without_package 2k22

older() {
    make --release 2k22 && migrate guest.img first 100 && migrate first.raw out 101 &&
        ! grep -q stays "$work/log" && replaced 'is older: 100.100.104.28500' &&
        holds out.raw $drivers/viostor.sys "$work/101/viostor/2k22/amd64/viostor.sys" && again out 101
}
claim "an older driver is replaced, and the report says why" older

# A newer package waits in the driver store, the file is an older one.
waits() {
    make --release w7 && migrate guest.img first 102 &&
        as_put first.raw "$work/100/viostor/w7/amd64/viostor.sys" $drivers/viostor.sys &&
        migrate first.raw out 101 && replaced 'is older: 61.100.104.28500' &&
        holds out.raw $drivers/viostor.sys "$work/101/viostor/w7/amd64/viostor.sys" && again out 101
}
claim "a newer package does not make an older file stay" waits

# unfit REASON FILE
unfit() {
    make --release w7 && migrate guest.img first 102 && as_put first.raw "$2" $drivers/viostor.sys &&
        migrate first.raw out 101 && replaced "$1" && ! grep -q 'viostor.sys of the guest' "$work/log" &&
        holds out.raw $drivers/viostor.sys "$work/101/viostor/w7/amd64/viostor.sys" && again out 101
}
head -c 1500 "$work/102/viostor/w7/amd64/viostor.sys" >"$work/cut.sys"
echo text >"$work/text.sys"
claim "a driver for another processor is replaced" unfit 'is for x86, the guest for amd64' \
    "$work/102/viostor/w7/x86/viostor.sys"
claim "a driver that is cut off is replaced" unfit 'is cut off' "$work/cut.sys"
claim "what is no driver is replaced" unfit 'is no driver' "$work/text.sys"

# Without a source there is nothing to replace it by.
ready() {
    make --release w7 && migrate guest.img first 101 && edit first.raw <<'END' &&
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Services\netkvm]
"Start"=dword:00000003
END
        "$H2K" local --disk "$work/first.raw" --dry-run --inject-virtio >"$work/plan" || return 1
    as_put first.raw "$work/cut.sys" $drivers/viostor.sys &&
        status 3 "$H2K" local --disk "$work/first.raw" --dry-run --inject-virtio
}
if [ -e /usr/share/virtio-win ]; then
    skip "drivers that are there need no source, unless one is cut off" "virtio-win is installed"
else
    claim "drivers that are there need no source, unless one is cut off" ready
fi

# The network's driver is installed by Windows, so not staged where it has a newer one.
network() {
    make --release w7 && migrate guest.img out 101 &&
        "$H2K" ls "$work/out.raw" "$staged/netkvm" || "$H2K" ls "$work/out.raw" "$staged" || return 1
    cp "$work/102/NetKVM/w7/amd64/netkvm.inf" "$work/oem9.inf" &&
        as_put guest.img "$work/102/NetKVM/w7/amd64/netkvm.sys" $drivers/netkvm.sys &&
        as_put guest.img "$work/oem9.inf" /Windows/INF/oem9.inf && edit guest.img <<'END' || return 1
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Services\netkvm]
"ImagePath"="System32\\drivers\\netkvm.sys"
"Start"=dword:00000003
"Type"=dword:00000001
END
    migrate guest.img out 101 && "$H2K" ls "$work/out.raw" "$staged" >"$work/list" &&
        grep -q 'netkvm.sys of the guest is 61.102.104.28500 of 2025-07-08 (oem9.inf)' "$work/log" &&
        ! grep -qi netkvm "$work/list" && grep -qi balloon "$work/list" && again out 101
}
claim "a newer driver of the network is not staged over" network
finish
