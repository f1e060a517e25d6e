#!/bin/bash
# e2e/windows.sh - every release of Windows is inspected and gets the drivers of its VirtIO disk:
# synthetic guests of tests/windows, drivers of a synthetic virtio-win ISO, and what is found in the
# results by readers that share nothing with hyper2kvm.
#
# H2K_WINDOWS, where it is set, names the releases to run ("w7 2k22").
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck source=tests/e2e/lib.sh
source "${H2K_TOP:?the source tree}/tests/e2e/lib.sh"

PATH=$PATH:/usr/sbin:/sbin
for tool in mkntfs ntfscat ntfsls ntfsfix xorriso mcopy reglookup; do
    command -v $tool >/dev/null || skip_all "$tool is not installed"
done
guests=$H2K_TOP/tests/windows
iso=$work/virtio-win.iso
"$guests/make-virtio-win" "$iso"

# make NAME OPTION...: the guest NAME.img with its answers
make() {
    local name=$1
    shift
    "$guests/make-guest" --answers "$work/$name.json" "$@" "$work/$name.img"
}

# members FILE NAME...: members of a JSON object, by their path
member() {
    /usr/bin/python3 - "$@" <<'END'
import functools, json, sys
with open(sys.argv[1], encoding="utf-8") as file:
    document = json.load(file)
for path in sys.argv[2:]:
    value = functools.reduce(lambda at, part: at[int(part) if part.isdigit() else part],
                             path.split("."), document)
    print(json.dumps(value) if isinstance(value, (list, dict, bool)) else value)
END
}

# What an inspection says is what was put in.
inspected() {
    "$H2K" inspect --json "$work/$1.img" >"$work/$1.inspect" &&
        /usr/bin/python3 - "$work/$1.inspect" "$work/$1.json" <<'END'
import json, sys
found = json.load(open(sys.argv[1], encoding="utf-8"))
a = json.load(open(sys.argv[2], encoding="utf-8"))
w = found["windows"]
arches = {"x86": "i686", "amd64": "x86_64", "arm64": "aarch64"}
roles = {"WinNT": "client", "ServerNT": "server", "LanmanNT": "domain controller"}
name = a["product"].replace("Windows 10", "Windows 11") \
    if a["build"] >= 22000 and a["product_type"] == "WinNT" else a["product"]
s = a["states"]
expected = {
    "distro": (found["distro"], "windows"),
    "architecture": (found["architecture"], arches[a["arch"]]),
    "firmware": (found["firmware"], a["firmware"]),
    # What only the log of a dirty hive says.
    "hostname": (found["hostname"], "REPLAYED" if s["dirty_hive"] else a["hostname"]),
    "bootloader": (found["bootloader"], "bootmgr" if a["major"] >= 6 else "ntldr"),
    "product_name": (w["product_name"], a["product"]),
    "name": (w["name"].replace("Microsoft ", ""), name.replace("Microsoft ", "")),
    "edition": (w["edition"], a["edition"]),
    "role": (w["role"], roles[a["product_type"]]),
    "major": (w["major"], a["major"]),
    "minor": (w["minor"], a["minor"]),
    "build": (w["build"], a["build"]),
    "ubr": (w["ubr"], a["ubr"] if a["major"] >= 10 else w["ubr"]),
    "system_drive": (w["system_drive"], a["drive"]),
    "system_root": (w["system_root"].lower(), "/" + a["systemroot"].lower()),
    "control_set": (w["control_set"], a["current_control_set"]),
    "control_sets": (sorted(w["control_sets"]), sorted(a["control_sets"])),
    "clock": (w["clock_is_utc"], a["rtc_utc"]),
    "virtio": (w["virtio_drivers"], []),
    "hibernated": (w["hibernated"], s["hibernated"] or s["fast_startup"]),
    "fast_startup": (w["fast_startup"], s["fast_startup"]),
    "dirty": (w["dirty"], s["dirty_flag"]),
    "not_unmounted": (w["not_unmounted"] and not w["hibernated"], s["dirty"]),
    "renames": (w["pending_file_renames"], s["pending_renames"]),
    "servicing": (w["pending_servicing"], s["pending_servicing"]),
    "setup": (w["setup_in_progress"], s["setup_in_progress"]),
    "sysprep": (w["sysprep"] is not None, bool(s["sysprep"])),
    "dirty hive": (w["hives"][0]["dirty"], bool(s["dirty_hive"])),
    "secure boot": (w["secure_boot"], a["secure_boot"]),
    "nics": (sorted((n["name"], n["dhcp"], n["addresses"], n["masks"], n["gateways"])
                    for n in w["nics"]),
             sorted((n["name"], n["dhcp"], n["addresses"], n["masks"],
                     [g.split("@")[0] if isinstance(g, str) else g for g in n["gateways"]])
                    for n in a["nics"])),
}
wrong = {what: pair for what, pair in expected.items() if pair[0] != pair[1]}
for what, (is_, should) in wrong.items():
    print("%s is %r and should be %r" % (what, is_, should))
sys.exit(bool(wrong))
END
}

# migrate NAME OPTION...: into NAME-out.raw
migrate() {
    local name=$1
    shift
    rm -f "$work/$name"-out*
    "$H2K" local --disk "$work/$name.img" --to-output "$work/$name-out.raw" --out-format raw \
        --virtio-win-iso "$iso" --report "$work/$name-report.json" "$@"
}

# What the guest mounts was in order before the repairs, and is after them.
clean() {
    /usr/bin/python3 - "$work/$1-report.json" <<'END'
import json, sys
found = json.load(open(sys.argv[1], encoding="utf-8"))["filesystems"]
for fs in found:
    print(fs)
sys.exit(not found or not all(fs["status"] == "clean" for fs in found)
         or not any(fs["type"] == "ntfs" and fs["checked_by"] == "native"
                    and fs["checked_after_repair"] for fs in found))
END
}

injected() {
    migrate "$1" --windows --inject-virtio && clean "$1" &&
        "$guests/check-drivers" "$work/$1.img" "$work/$1-out.raw" "$work/$1.json"
}

# The whole of it, twice: the second time there is nothing left to do.
settled() {
    local name=$1 changes
    migrate "$name" && mv "$work/$name-out.raw" "$work/$name-twice.img" &&
        "$H2K" local --disk "$work/$name-twice.img" --virtio-win-iso "$iso" --dry-run --json \
            >"$work/$name-again.json" || return 1
    changes=$(/usr/bin/python3 -c '
import json, sys
for repair in json.load(open(sys.argv[1]))["repairs"]:
    for change in repair["changes"]:
        print(repair["name"], change["path"], change.get("diff", change.get("summary")))
' "$work/$name-again.json")
    rm -f "$work/$name-twice.img"
    [ -z "$changes" ] || { echo "$changes"; return 1; }
}

# Both definitions are valid, agree on what must not change, and differ in the bus.
defined() {
    local first=$work/$1-out-bootstrap.xml last=$work/$1-out.xml what
    virt-xml-validate "$first" domain && virt-xml-validate "$last" domain || return 1
    for what in uuid name 'mac address=".*"'; do
        [ "$(grep -o "<$what.*" "$first" | sort)" = "$(grep -o "<$what.*" "$last" | sort)" ] ||
            return 1
    done
    grep -q 'bus="virtio"' "$last" && ! grep -q 'bus="\(sata\|ide\)"' "$last" &&
        grep -Eq 'bus="(sata|ide)"' "$first" && grep -q virtio-win.iso "$first" &&
        ! grep -q "bootstrap\|virtio-win.iso" "$last" && [ -f "$work/$1-out-bootstrap.img" ]
}

one_guest() {
    local release=$1 arch=$2 firmware=$3 name=$1-$2-$3 options=()
    shift 3
    options=(--release "$release" --arch "$arch" --firmware "$firmware" "$@")
    make "$name" "${options[@]}" || return 1
    claim "$name: what inspect says is what there is" inspected "$name"
    claim "$name: the drivers of VirtIO disks are installed, nothing else is changed, all is clean" \
        injected "$name"
    claim "$name: both definitions are valid and of one machine" defined "$name"
    claim "$name: a second run changes nothing" settled "$name"
    rm -f "$work/$name"*
}

while read -r release arch firmware; do
    if [ -z "${H2K_WINDOWS:-}" ] || [[ " $H2K_WINDOWS " = *" $release "* ]]; then
        # Static addresses need the first-boot program, which few builds have for arm64.
        options=(--vmware-tools)
        [ "$arch" = arm64 ] || options+=(--static)
        one_guest "$release" "$arch" "$firmware" "${options[@]}"
    fi
done < <("$guests/make-guest" --list)

# --- what stands against a change -----------------------------------------------------------------

# refused STATE CODE TEXT: nothing is written, and the reason is told
refused() {
    local state=$1 code=$2 text=$3 status=0
    make refused --release w10 --firmware bios --size 1024 "--$state" || return 1
    cp "$work/refused.img" "$work/refused.before"
    migrate refused >"$work/refused.log" 2>&1 || status=$?
    cat "$work/refused.log"
    [ $status -eq "$code" ] && grep -qi -- "$text" "$work/refused.log" &&
        ! compgen -G "$work/refused-out*" >/dev/null && cmp "$work/refused.img" "$work/refused.before"
}
claim "a hibernated Windows is refused" refused hibernated 5 "hibernat"
claim "one that was shut down with Fast Startup is refused" refused fast-startup 5 "shutdown /s"
claim "an NTFS that was not unmounted is refused" refused dirty 5 "force-dirty"
claim "BitLocker is refused" refused bitlocker 5 "manage-bde"
claim "a dynamic disk is refused" refused ldm 5 "dynamic disk"

forced() {
    make forced --release w10 --firmware bios --dirty && migrate forced --force-dirty
}
claim "with --force-dirty an NTFS that was not unmounted is changed" forced

still_refused() {
    make forced --release w10 --firmware bios --hibernated || return 1
    ! migrate forced --force-dirty
}
claim "--force-dirty changes no hibernated Windows" still_refused

for kind in dirt hvle; do
    release=w7
    [ $kind = hvle ] && release=2k19
    dirty_hive() {
        make "hive-$kind" --release "$release" --firmware bios --dirty-hive "$kind" &&
            inspected "hive-$kind" && migrate "hive-$kind" --inject-virtio
    }
    claim "a hive with a log of the kind $kind is replayed before it is changed" dirty_hive
done

# The hive of an installed Windows 10, with changes in both of its logs, in the place of a guest's.
real_hive() {
    local hives=$H2K_TESTDATA/hive/regipy config=/Windows/System32/config image=$work/real.img next
    make real --release w10 --build 1709 --firmware bios || return 1
    for name in SYSTEM SYSTEM.LOG1 SYSTEM.LOG2; do
        next=$work/real-$name.qcow2
        xzcat "$hives/SYSTEM_B${name#SYSTEM}.xz" >"$work/hive" &&
            "$H2K" put "$image" "$work/hive" "$config/$name" --to-output "$next" || return 1
        image=$next
    done
    "$H2K" inspect --json "$image" >"$work/real.inspect" &&
        [ "$(member "$work/real.inspect" windows.hives.0.replayed_logs)" != None ] &&
        "$H2K" local --disk "$image" --to-output "$work/real-out.qcow2" --virtio-win-iso "$iso" &&
        "$H2K" local --disk "$work/real-out.qcow2" --virtio-win-iso "$iso" --dry-run --json \
            >"$work/real-again.json" &&
        ! grep -q '"status" : "changed"' "$work/real-again.json" &&
        "$H2K" cat "$work/real-out.qcow2" $config/SYSTEM >"$work/hive" &&
        reglookup -p '/ControlSet001/Services/viostor/Start' "$work/hive" | grep -q 0x00000000 &&
        [ "$("$H2K" cat "$work/real-out.qcow2" $config/SYSTEM.h2k-backup | sha256sum)" = \
            "$(xzcat "$hives/SYSTEM_B.xz" | sha256sum)" ]
}
if [ -f "${H2K_TESTDATA:-}/hive/regipy/SYSTEM_B.xz" ]; then
    claim "the real hive of a Windows 10 is replayed, changed and read back" real_hive
else
    skip "the real hive of a Windows 10 is replayed, changed and read back" "H2K_TESTDATA has none"
fi

# --- options ----------------------------------------------------------------------------------------

make plain --release 2k22 --firmware uefi
no_source() {
    local status=0
    "$H2K" local --disk "$work/plain.img" --to-output "$work/none.raw" --virtio-win-iso /nonexistent \
        2>"$work/log" || status=$?
    cat "$work/log"
    [ $status -ne 0 ] && [ ! -e "$work/none.raw" ]
}
claim "without drivers nothing is written" no_source

no_fit() {
    local status=0
    "$guests/make-virtio-win" --only viostor/xp --folder "$work/only-xp" &&
        { "$H2K" local --disk "$work/plain.img" --to-output "$work/none.raw" \
            --virtio-win-iso "$work/only-xp" 2>"$work/log" || status=$?; }
    cat "$work/log"
    [ $status -ne 0 ] && [ ! -e "$work/none.raw" ] && grep -q "xp" "$work/log"
}
claim "drivers for other releases only: the error lists them" no_fit

dry() {
    "$H2K" local --disk "$work/plain.img" --virtio-win-iso "$iso" --dry-run >"$work/plan" &&
        grep -q 'Services\\\\viostor' "$work/plan" && grep -q '"Start"=dword:0x00000000' "$work/plan" &&
        grep -q 'drivers/viostor.sys' "$work/plan" && grep -q 'SYSTEM.h2k' "$work/plan"
}
claim "--dry-run lists every file and every value" dry

alone() {
    migrate plain --no-two-phase-boot && [ ! -e "$work/plain-out-bootstrap.xml" ] &&
        [ ! -e "$work/plain-out-bootstrap.img" ]
}
claim "--no-two-phase-boot writes one definition" alone

# Whoever is killed leaves no clone that lacks it.
cloned() {
    local folder=$work/store/clones/plain
    strace -f -e trace=open,openat,renameat2 -o "$work/trace" "$H2K" -q clone create \
        --state-dir "$work/store" --virtio-win-iso "$iso" "$work/plain.img" plain || return 1
    sed '0,/RENAME_NOREPLACE/d' "$work/trace" | grep -E 'O_WRONLY|O_RDWR' | grep -F "$folder" && return 1
    virt-xml-validate "$folder/domain-bootstrap.xml" domain && [ -f "$folder/domain-bootstrap.img" ] &&
        grep -qF "file=\"$folder/domain-bootstrap.img\"" "$folder/domain-bootstrap.xml" &&
        "$H2K" -q clone delete --state-dir "$work/store" plain
}
if command -v strace >/dev/null; then
    claim "a clone has the definition of its first boot as soon as it has its name" cloned
else
    skip "a clone has the definition of its first boot as soon as it has its name" "there is no strace"
fi

without() {
    migrate plain --no-inject-virtio --no-two-phase-boot &&
        [ "$(member "$work/plain-report.json" repairs.0.status)" = "not selected" ]
}
claim "--no-inject-virtio leaves the drivers out" without

# Disks that Windows has drivers for need no others, and there are none here.
known_bus() {
    rm -f "$work"/plain-out*
    "$H2K" local --disk "$work/plain.img" --to-output "$work/plain-out.raw" --out-format raw \
        --bus "$1" "${@:2}" --report "$work/plain-report.json" 2>&1 | tee "$work/log"
    [ "${PIPESTATUS[0]}" -eq 0 ] && [ ! -e "$work/plain-out-bootstrap.xml" ] &&
        ! grep -Eq 'bus="virtio"|model type="virtio"' "$work/plain-out.xml" &&
        grep -q "bus=\"$1\"" "$work/plain-out.xml" &&
        ! "$H2K" cat "$work/plain-out.raw" /Windows/System32/drivers/viostor.sys &&
        "$H2K" cat "$work/plain-out.raw" /Windows/System32/config/SYSTEM >"$work/hive" &&
        reglookup -p '/ControlSet001/Services/storahci/Start' "$work/hive" | grep 0x00000000
}
if [ -e /usr/share/virtio-win ] || [ -e /usr/share/virtio ] || [ -e /usr/local/share/virtio-win ]; then
    skip "--bus sata and ide need no drivers" "virtio-win is installed"
else
    claim "--bus sata needs no drivers" known_bus sata
    claim "the report says so" grep -q "warning: no VirtIO drivers are named" "$work/log"
    claim "--bus ide needs no drivers" known_bus ide
fi
claim "--bus sata with --no-inject-virtio starts the controller's driver, too" known_bus sata \
    --no-inject-virtio

sata_with_drivers() {
    migrate plain --bus sata --inject-virtio && "$guests/check-drivers" "$work/plain.img" "$work/plain-out.raw" \
        "$work/plain.json" && grep -q 'model type="virtio"' "$work/plain-out.xml"
}
claim "--bus sata with drivers puts them in, and the network is VirtIO's" sata_with_drivers

no_driver() {
    migrate plain --no-inject-virtio 2>"$work/log"
    cat "$work/log"
    grep -q 'warning: this Windows has no driver viostor' "$work/log"
}
claim "VirtIO disks without a driver are a warning" no_driver

from_folder() {
    "$guests/make-virtio-win" --folder "$work/folder" && rm -f "$work"/plain-out* &&
        "$H2K" local --disk "$work/plain.img" --to-output "$work/plain-out.raw" --out-format raw \
            --inject-virtio --virtio-win-iso "$work/folder" &&
        "$guests/check-drivers" "$work/plain.img" "$work/plain-out.raw" "$work/plain.json"
}
claim "the drivers come from a folder, too" from_folder
finish
