#!/bin/bash
# Bad input: one clear error, its own exit code, nothing under the final name, nothing left over.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
stream=$(guest debian12-vmware vmdk-stream)
sparse=$(guest debian12-vmware vmdk-sparse)
out=$work/out
temp=$work/temp
mkdir "$out" "$temp"

# bad TEXT CODE REGEX VMDK [OPTION...]: the migration is refused and leaves nothing
bad() {
    local text=$1 code=$2 regex=$3 disk=$4
    shift 4
    claim "$text" bad_input "$code" "$regex" "$disk" "$@"
}

bad_input() {
    rm -rf "$out" "$temp"
    mkdir "$out" "$temp"
    local code=$1 regex=$2 disk=$3 sum=
    shift 3
    [ -f "$disk" ] && sum=$(sha256sum "$disk")
    refused "$code" "$regex" "$H2K" local --vmdk "$disk" --to-output "$out/guest.qcow2" \
        --temp-dir "$temp" "$@" || return 1
    empty "$out" && empty "$temp" || return 1
    [ -z "$sum" ] || sha256sum -c --quiet <<<"$sum"
}

# patched NAME SOURCE OFFSET BYTES: a copy of SOURCE with bytes (printf's format) at OFFSET
patched() {
    cp --sparse=always "$2" "$work/$1"
    # shellcheck disable=SC2059
    printf "$4" | dd of="$work/$1" bs=1 seek="$3" conv=notrunc status=none
    echo "$work/$1"
}

# cut NAME SOURCE BYTES: the first bytes of SOURCE
cut_to() {
    head -c "$3" "$2" >"$work/$1"
    echo "$work/$1"
}

small_vmdk() {
    truncate -s 64M "$work/blank.raw"
    qemu-img convert -O vmdk -o "subformat=$1" "$work/blank.raw" "$work/$2"
    echo "$work/$2"
}

size=$(stat -c %s "$stream")
: >"$work/nothing.vmdk"
head -c 1048576 /dev/urandom >"$work/noise.vmdk"

bad "a missing VMDK" 3 'missing\.vmdk.*[Nn]o such file' "$work/missing.vmdk"
bad "a directory" 3 'folder' "$work"
bad "an empty file" 4 'nothing\.vmdk' "$work/nothing.vmdk"
bad "a file that is no VMDK" 4 'noise\.vmdk' "$work/noise.vmdk"
bad "a qcow2 given as VMDK" 4 'VMDK|vmdk' "$(
    qemu-img create -q -f qcow2 "$work/q.vmdk" 1M
    echo "$work/q.vmdk"
)"
bad "a VMDK cut in its header" 4 'truncated|short|end of file|VMDK' "$(cut_to header.vmdk "$stream" 100)"
bad "a stream-optimised VMDK cut in the middle" 4 'truncated' "$(cut_to half.vmdk "$stream" $((size / 2)))"
bad "a stream-optimised VMDK without its last 64 KiB" 4 'truncated' "$(cut_to tail.vmdk "$stream" $((size - 65536)))"
bad "a sparse VMDK cut in the middle" 4 'truncated|beyond|end' "$(cut_to shalf.vmdk "$sparse" $(($(stat -c %s "$sparse") / 2)))"
small=$(small_vmdk monolithicSparse small.vmdk)
bad "a VMDK that FTP damaged" 4 'binary mode' "$(patched ftp.vmdk "$small" 73 '\n\n\n\n')"
bad "an impossible grain size" 4 'grain' "$(patched grain.vmdk "$small" 20 '\003\000\000\000')"
bad "a grain directory outside the file" 4 'grain director|beyond|outside' "$(patched gd.vmdk "$small" 48 '\377\377\377\377\377\377\377\000\377\377\377\377\377\377\377\000')"
bad "corrupt grain data" 4 'grain' "$(patched data.vmdk "$stream" $((size / 3)) "$(printf '\\252%.0s' $(seq 300))")"

flat=$(small_vmdk monolithicFlat flat.vmdk)
rm "$work/flat-flat.vmdk"
bad "a missing extent" 3 'flat-flat\.vmdk' "$flat"
child=$(small_vmdk monolithicSparse child.vmdk)
qemu-img create -q -f vmdk -b "$child" -F vmdk "$work/delta.vmdk"
rm "$child"
bad "a missing parent" '3|4|5' 'child\.vmdk' "$work/delta.vmdk"
bad "a disk without an operating system" 6 'no operating system' "$(small_vmdk streamOptimized blank.vmdk)"

full_filesystem() {
    mkdir -p "$work/full"
    mount -t tmpfs -o size=64m tmpfs "$work/full" || return 1
    refused 11 'needed.*available|available.*needed' "$H2K" local --vmdk "$sparse" \
        --to-output "$work/full/guest.qcow2" --temp-dir "$temp"
    local ok=$?
    empty "$work/full" && empty "$temp"
    ok=$((ok + $?))
    umount "$work/full"
    [ "$ok" -eq 0 ]
}

# Compressed size is not known beforehand: the space runs out while the disk is written.
full_while_writing() {
    mkdir -p "$work/full"
    mount -t tmpfs -o size=180m tmpfs "$work/full" || return 1
    refused 11 'space' "$H2K" local --vmdk "$sparse" --to-output "$work/full/guest.qcow2" \
        --temp-dir "$temp" --compress=zstd
    local ok=$?
    empty "$work/full" && empty "$temp"
    ok=$((ok + $?))
    umount "$work/full"
    [ "$ok" -eq 0 ]
}

read_only_directory() {
    mkdir -p "$work/ro"
    mount -t tmpfs -o size=1m,ro tmpfs "$work/ro" || return 1
    refused 10 'ro/|ro:' "$H2K" local --vmdk "$sparse" --to-output "$work/ro/guest.qcow2"
    local ok=$?
    umount "$work/ro"
    [ "$ok" -eq 0 ]
}

existing() {
    echo precious >"$out/guest.qcow2"
    refused 9 'guest\.qcow2.*--force' "$H2K" local --vmdk "$sparse" --to-output "$out/guest.qcow2" &&
        [ "$(cat "$out/guest.qcow2")" = precious ]
    local ok=$?
    rm -f "$out/guest.qcow2"
    empty "$out" && [ "$ok" -eq 0 ]
}

existing_definition() {
    echo precious >"$out/guest.xml"
    refused 9 'guest\.xml.*--force' "$H2K" local --vmdk "$sparse" --to-output "$out/guest.qcow2" &&
        [ "$(cat "$out/guest.xml")" = precious ]
    local ok=$?
    rm -f "$out/guest.xml"
    empty "$out" && [ "$ok" -eq 0 ]
}

# also through a symbolic and a hard link
source_is_output() {
    local copy=$out/source.vmdk sum
    cp --sparse=always "$sparse" "$copy"
    sum=$(sha256sum "$copy")
    ln -s source.vmdk "$out/soft.vmdk"
    ln "$copy" "$out/hard.vmdk"
    local ok=0 target
    for target in source soft hard; do
        refused 2 'source' "$H2K" local --vmdk "$copy" --to-output "$out/$target.vmdk" --force || ok=1
    done
    sha256sum -c --quiet <<<"$sum" || ok=1
    rm -f "$out"/*.vmdk
    empty "$out" && [ "$ok" -eq 0 ]
}

# The report and the definition must not take the place of a source or of the disk.
side_files() {
    local copy=$out/source.json sum
    cp --sparse=always "$small" "$copy"
    cp --sparse=always "$small" "$out/definition.xml"
    sum=$(sha256sum "$copy" "$out/definition.xml")
    local ok=0
    refused 2 'report would replace the source' "$H2K" local --vmdk "$copy" --dry-run --report "$copy" || ok=1
    refused 2 'definition would replace the source' "$H2K" local --vmdk "$out/definition.xml" \
        --to-output "$out/definition.qcow2" --force || ok=1
    refused 2 'name of the disk' "$H2K" local --vmdk "$copy" --to-output "$out/guest.xml" || ok=1
    sha256sum -c --quiet <<<"$sum" || ok=1
    rm -f "$copy" "$out/definition.xml"
    empty "$out" && [ "$ok" -eq 0 ]
}

# A name in the root filesystem leads to an inode that is not in use.
make_corrupt() {
    qemu-img convert -O raw "$sparse" "$work/corrupt.raw" &&
        debugfs -w -R 'clri /etc/issue.net' "$work/corrupt.raw?offset=1048576"
}

corrupt_filesystem() {
    local times
    make_corrupt || return 1
    times=$(stat -c '%s %y %z' "$work/corrupt.raw")
    refused 7 'partition 1 .ext4.: the filesystem is corrupt: .*"issue\.net".*not in use.*--skip-fsck' \
        "$H2K" local --disk "$work/corrupt.raw" --to-output "$out/guest.qcow2" --temp-dir "$temp" &&
        empty "$out" && empty "$temp" && [ "$(stat -c '%s %y %z' "$work/corrupt.raw")" = "$times" ]
}

corrupt_filesystem_skipped() {
    "$H2K" local --disk "$work/corrupt.raw" --to-output "$work/skipped.qcow2" --skip-fsck \
        --report "$work/skipped.json" &&
        json "$work/skipped.json" 'd["status"] == "ok"' &&
        json "$work/skipped.json" 'all(f["status"] == "skipped" for f in d["filesystems"])' &&
        json "$work/skipped.json" 'len(d["filesystems"]) > 0'
    local ok=$?
    rm -f "$work"/corrupt.raw "$work"/skipped.*
    [ "$ok" -eq 0 ]
}

if is_root && unshare -m true; then
    claim "a full output filesystem is found out first, both numbers said" full_filesystem
    claim "space that runs out while writing leaves nothing" full_while_writing
    claim "a read-only output directory" read_only_directory
else
    skip "a full output filesystem" "mounting a small filesystem needs root"
    skip "space that runs out while writing" "mounting a small filesystem needs root"
    skip "a read-only output directory" "mounting a small filesystem needs root"
fi
claim "a corrupt filesystem of the guest, with what was found" corrupt_filesystem
claim "--skip-fsck goes on all the same" corrupt_filesystem_skipped
claim "a report that will have no place is found out first" refused 10 'the report cannot be written to .*nowhere' \
    "$H2K" local --vmdk "$sparse" --to-output "$work/no-report.qcow2" --report "$work/nowhere/r.json"
claim "and nothing was made" test ! -e "$work/no-report.qcow2"
claim "a missing output directory" refused 10 'nowhere' "$H2K" local --vmdk "$sparse" --to-output "$work/nowhere/guest.qcow2"
claim "an existing output is kept" existing
claim "an existing definition is kept" existing_definition
claim "an output that is the source, also through links" source_is_output
claim "a report or definition that would replace a source or the disk" side_files
finish
