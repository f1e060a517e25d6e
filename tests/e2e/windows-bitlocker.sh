#!/bin/bash
# e2e/windows-bitlocker.sh - Windows guests whose system volume is encrypted by BitLocker: while it
# is suspended they are migrated and stay encrypted; else they are refused. What is inside, before
# and after, is what dislocker and libbde say.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck source=tests/e2e/lib.sh
source "${H2K_TOP:?the source tree}/tests/e2e/lib.sh"

PATH=$PATH:/usr/sbin:/sbin
for tool in mkntfs ntfscat ntfsls ntfsfix xorriso mcopy reglookup dislocker-file cryptsetup; do
    command -v $tool >/dev/null || skip_all "$tool is not installed"
done
guests=$H2K_TOP/tests/windows
iso=$work/virtio-win.iso
"$guests/make-virtio-win" --only w7,w8.1,w10,2k22 "$iso"

# --- volumes --------------------------------------------------------------------------------------

truncate -s 24M "$work/plain.ntfs"
mkntfs -q -F -Q -c 4096 -s 512 -p 2048 -H 255 -S 63 "$work/plain.ntfs" >/dev/null 2>&1

# What the tests' own maker makes is BitLocker to others, too. (What hyper2kvm reads of each cipher is
# compared by the unit tests.)
agreed() {
    local method=$1
    "$guests/make-bitlocker" --method "$method" --shown "$work/shown" "$work/plain.ntfs" \
        "$work/volume.img" && cryptsetup bitlkDump "$work/volume.img" >"$work/dump" &&
        grep -q "clear key" "$work/dump" || return 1
    rm -f "$work/seen"
    dislocker-file -q -r -V "$work/volume.img" -c -- "$work/seen" &&
        cmp "$work/seen" "$work/shown" || return 1
    # libbde of 2019 says of each XTS-256 key that it is too small.
    if [ "$method" != xts-256 ] && by_libbde "$work/volume.img" "$work/seen.bde"; then
        cmp "$work/seen.bde" "$work/shown" || return 1
        rm "$work/seen.bde"
    fi
}

# by_libbde IMAGE OUT: false where it is not installed, or this machine has no FUSE
by_libbde() {
    local status=1
    command -v bdemount >/dev/null && mkdir -p "$work/fuse" &&
        bdemount "$1" "$work/fuse" >/dev/null 2>&1 || return 1
    cp "$work/fuse/bde1" "$2" && status=0
    fusermount -u "$work/fuse"
    return $status
}

for method in cbc-128-diffuser cbc-256-diffuser cbc-128 cbc-256 xts-128 xts-256; do
    claim "$method: dislocker and libbde read what was encrypted" agreed $method
done
rm -f "$work"/plain.ntfs "$work"/volume.img "$work"/shown "$work"/seen

# --- guests ---------------------------------------------------------------------------------------

# member FILE EXPRESSION: of a JSON object D
member() {
    /usr/bin/python3 -c 'import json, sys
D = json.load(open(sys.argv[1], encoding="utf-8"))
print(eval(sys.argv[2]))' "$work/$1" "$2"
}

# Something to find where NTFS has nothing: 64 KiB of noise in the middle of a large hole.
soil() {
    /usr/bin/python3 - "$work/$1.img" "$work/$1.json" <<'END'
import json, os, sys
part = [p for p in json.load(open(sys.argv[2]))["partitions"] if p["role"] == "windows"][0]
with open(sys.argv[1], "r+b", buffering=0) as disk:
    at, end, best = part["start"], part["start"] + part["size"], (0, 0)
    while at < end:
        hole = os.lseek(disk.fileno(), at, os.SEEK_HOLE)
        try:
            at = os.lseek(disk.fileno(), hole, os.SEEK_DATA)
        except OSError:
            at = end
        best = max(best, (min(at, end) - hole, hole))
    place = (best[1] + best[0] // 2) // 65536 * 65536
    disk.seek(place)
    disk.write(os.urandom(65536))
print(place)
END
}

inspected() {
    "$H2K" inspect --json "$work/$1.img" >"$work/$1-inspect.json" &&
        "$H2K" inspect "$work/$1.img" >"$work/$1-inspect.txt" || return 1
    cat "$work/$1-inspect.txt"
    [ "$(member "$1-inspect.json" 'D["windows"]["bitlocker"], D["windows"]["bitlocker_suspended"]')" \
        = "(True, True)" ] &&
        [ "$(member "$1-inspect.json" '[v["layout"] for v in D["volumes"]]')" \
            = "['BitLocker, $2, suspended (clear key)']" ] &&
        grep -q "^State: .*BitLocker suspended" "$work/$1-inspect.txt"
}

migrated() {
    "$H2K" local --disk "$work/$1.img" --to-output "$work/$1-out.raw" --out-format raw --no-test \
        --windows --inject-virtio --virtio-win-iso "$iso" --verify 2>&1 | tee "$work/log"
    [ "${PIPESTATUS[0]}" -eq 0 ] && grep -q "warning: BitLocker is suspended" "$work/log" || return 1
    "$guests/open-bitlocker" "$work/$1.img" "$work/$1.json" "$work/before.img" "$work/a.json" &&
        "$guests/open-bitlocker" "$work/$1-out.raw" "$work/$1.json" "$work/after.img" \
            "$work/a.json" && "$guests/check-drivers" "$work/before.img" "$work/after.img" \
        "$work/a.json"
}

# part IMAGE: its system volume
part() {
    local start size
    start=$(member "$1.json" '[p["start"] for p in D["partitions"] if p["role"] == "windows"][0]')
    size=$(member "$1.json" '[p["size"] for p in D["partitions"] if p["role"] == "windows"][0]')
    dd if="$work/$2" bs=1M iflag=skip_bytes,count_bytes skip="$start" count="$size" status=none
}

# Neither names that the repairs bring along nor those of NTFS are to be read in the output.
encrypted() {
    local word
    part "$1" "$1-out.raw" >"$work/part"
    [ "$(head -c 11 "$work/part" | tail -c 8)" = "-FVE-FS-" ] || return 1
    part "$1" after.img >"$work/part.plain"
    for word in 'viostor\.sys' 'v.i.o.s.t.o.r' 'hbin....' 'F.V.E.2.\..{'; do
        LC_ALL=C grep -qa "$word" "$work/part.plain" || { echo "$word is not inside"; return 1; }
        [ "$word" = 'hbin....' ] && continue # four bytes are met by chance
        ! LC_ALL=C grep -qa "$word" "$work/part" || { echo "$word is to be read"; return 1; }
    done
}

# The three copies and the boot sectors: byte by byte what they were.
kept() {
    /usr/bin/python3 - "$work/$1.img" "$work/$1-out.raw" "$work/$1.json" <<'END'
import json, struct, sys
part = [p for p in json.load(open(sys.argv[3]))["partitions"] if p["role"] == "windows"][0]
before, after = open(sys.argv[1], "rb"), open(sys.argv[2], "rb")
def read(file, offset, size):
    file.seek(part["start"] + offset)
    return file.read(size)
places = [(0, 8192)] + [(at, 65536) for at in struct.unpack("<QQQ", read(before, 0xB0, 24))]
for at, size in places:
    if read(before, at, size) != read(after, at, size):
        sys.exit("what lies at %d was changed" % at)
END
}

# left_out NAME PLACE: zeros there, in a file that has a hole for them
left_out() {
    [ "$(dd if="$work/$1-out.raw" bs=64K iflag=skip_bytes skip="$2" count=1 status=none |
        tr -d '\0' | wc -c)" -eq 0 ] &&
        [ "$(dd if="$work/$1.img" bs=64K iflag=skip_bytes skip="$2" count=1 status=none |
            tr -d '\0' | wc -c)" -gt 60000 ]
}

settled() {
    "$H2K" local --disk "$work/$1.img" --to-output "$work/first.raw" --out-format raw --no-test \
        --virtio-win-iso "$iso" &&
        "$H2K" local --disk "$work/first.raw" --virtio-win-iso "$iso" --dry-run --json \
            >"$work/again.json" || return 1
    [ "$(member again.json '[c for r in D["repairs"] for c in r["changes"]]')" = "[]" ]
}

# What dislocker decrypts of the file is what hyper2kvm reads, through the output.
readable() {
    local file="/Windows/System32/config/SYSTEM"
    "$H2K" cat "$work/$1-out.raw" "$file" >"$work/hive.h2k" && part "$1" after.img >"$work/part.plain" &&
        ntfscat -f "$work/part.plain" "$file" >"$work/hive.dislocker" &&
        cmp "$work/hive.h2k" "$work/hive.dislocker"
}

one_guest() {
    local name=$1 cipher=$2 place
    shift 2
    "$guests/make-guest" --size 320 --bitlocker-clear-key --answers "$work/$name.json" "$@" \
        "$work/$name.img" || return 1
    place=$(soil "$name")
    claim "$name: inspect says that BitLocker is suspended, and its cipher" inspected "$name" "$cipher"
    claim "$name: the drivers are there, as dislocker sees it" migrated "$name"
    claim "$name: the output is as encrypted as the source" encrypted "$name"
    claim "$name: BitLocker's metadata are what they were" kept "$name"
    claim "$name: what NTFS does not use is left out" left_out "$name" "$place"
    claim "$name: files are read from the output as dislocker reads them" readable "$name"
    claim "$name: a second run changes nothing" settled "$name"
    rm -f "$work/$name"* "$work"/before.img "$work"/after.img "$work"/first* "$work"/part*
}
one_guest w10 "AES-XTS 128" --release w10
one_guest w7 "AES-CBC 128 with diffuser" --release w7 --firmware bios
one_guest w8.1 "AES-CBC 128" --release w8.1 --firmware bios
one_guest 2k22 "AES-XTS 256" --release 2k22 --bitlocker-method xts-256

# --- what is refused ------------------------------------------------------------------------------

refused() {
    local status=0
    "$guests/make-guest" --release w10 --size 320 --bitlocker "$work/locked.img" &&
        cp "$work/locked.img" "$work/locked.before" || return 1
    "$H2K" local --disk "$work/locked.img" --to-output "$work/locked-out.raw" --out-format raw \
        --no-test --virtio-win-iso "$iso" 2>&1 | tee "$work/log"
    status=${PIPESTATUS[0]}
    [ "$status" -eq 5 ] && grep -q "opens with a TPM or a recovery password" "$work/log" &&
        grep -q "manage-bde -protectors -disable" "$work/log" &&
        ! compgen -G "$work/locked-out*" >/dev/null && cmp "$work/locked.img" "$work/locked.before"
}
claim "without a clear key it is refused with the next step, and nothing is written" refused

# The recovery password of tests/windows/bitlocker.py; dislocker takes it, too.
looked_into() {
    local key=471207-278498-422125-177177-561902-537405-468006-693451 status=0 start
    echo $key >"$work/recovery.txt"
    "$guests/make-guest" --release w10 --size 320 --bitlocker --answers "$work/locked.json" \
        "$work/locked.img" || return 1
    start=$(member locked.json '[p["start"] for p in D["partitions"] if p["role"] == "windows"][0]')
    dislocker-file -q -r -O "$start" -V "$work/locked.img" -p$key -- "$work/locked.ntfs" &&
        ntfscat -f "$work/locked.ntfs" /Windows/System32/config/SYSTEM >"$work/hive.dislocker" &&
        "$H2K" cat --key "all:file:$work/recovery.txt" "$work/locked.img" \
            /Windows/System32/config/SYSTEM >"$work/hive.h2k" &&
        cmp "$work/hive.h2k" "$work/hive.dislocker" || return 1
    "$H2K" local --key "all:file:$work/recovery.txt" --disk "$work/locked.img" --no-test \
        --to-output "$work/locked-out.raw" --virtio-win-iso "$iso" 2>&1 | tee "$work/log"
    status=${PIPESTATUS[0]}
    [ "$status" -eq 5 ] && grep -q "error: .*BitLocker is not suspended" "$work/log" &&
        ! compgen -G "$work/locked-out*" >/dev/null
}
claim "with its recovery password it is looked into, and still not migrated" looked_into

as_it_is() {
    "$H2K" local --disk "$work/locked.img" --to-output "$work/copy.raw" --out-format raw --no-test \
        --no-guest-inspection && cmp "$work/locked.img" "$work/copy.raw"
}
claim "with --no-guest-inspection it is copied as it is" as_it_is

finish
