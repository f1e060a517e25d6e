#!/bin/bash
# Outputs: every format with its options against qemu-img, standard output, block devices.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

python3 - "$work" <<'PYTHON'
import random, sys
for name, size, seed in (("in", 20000256, 1), ("base", 19000320, 2), ("small", 512, 3)):
    dice = random.Random(1)
    with open(f"{sys.argv[1]}/{name}.raw", "wb") as f:
        f.truncate(size)
        at = 0
        while at < size:
            n = min(dice.choice([512, 4096, 65536, 70144, 300032]), size - at)
            kind = dice.randrange(4)
            f.seek(at)
            if kind == 0 or at + n == size:
                f.write(dice.randbytes(n))
            elif kind == 1:
                f.write((b"hyper2kvm %d " % at * (n // 12 + 1))[:n])
            elif kind == 2:
                f.write(bytes(n))
            at += n
        for i in range(seed - 1):  # what the second differs from the first in
            f.seek(i * 3000000 + 1000000)
            f.write(bytes(100000) if i % 2 else random.Random(seed).randbytes(200000 if size > 512 else 0))
        f.truncate(size)
PYTHON

# output FORMAT FORMAT-FOR-QEMU OPTIONS: the same with any number of threads, and what qemu-img sees
output() {
    local format=$1 qemu=$2 options=$3 input
    for input in in small; do
        rm -rf "$work/1" "$work/4"
        mkdir "$work/1" "$work/4"
        for threads in 1 4; do
            "$H2K" -q convert --verify --threads $threads -O "$format" ${options:+-o "$options"} \
                "$work/$input.raw" "$work/$threads/disk" || return 1
        done
        cmp "$work/1/disk" "$work/4/disk" &&
            qemu-img compare -f raw -F "$qemu" "$work/$input.raw" "$work/1/disk" || return 1
        if [ "$qemu" != raw ] && [ "$qemu" != vpc ]; then
            qemu-img check -f "$qemu" "$work/1/disk" || return 1
        fi
    done
}

backing() {
    local options=$1 names
    for names in "in base" "base in"; do
        set -- "${names% *}" "${names#* }"
        rm -f "$work/over.qcow2"
        "$H2K" -q convert --verify --backing "$work/$2.raw" -o "$options" "$work/$1.raw" "$work/over.qcow2" &&
            qemu-img check "$work/over.qcow2" &&
            qemu-img compare -F raw "$work/over.qcow2" "$work/$1.raw" &&
            [ "$(stat -c %s "$work/over.qcow2")" -lt 6000000 ] || return 1
    done
    (cd "$work" && rm -f over.qcow2 && "$H2K" -q convert --backing base.raw in.raw over.qcow2) &&
        qemu-img info "$work/over.qcow2" | grep -q '^backing file: base.raw' &&
        refused 2 'backing' "$H2K" convert --backing "$work/base.raw" -O raw "$work/in.raw" "$work/x" &&
        refused 2 'source' "$H2K" convert --force --backing "$work/base.raw" "$work/in.raw" "$work/base.raw"
}

streamed() {
    local format
    for format in raw vhd vmdk; do
        rm -f "$work/disk.$format"
        "$H2K" -q convert -O "$format" "$work/in.raw" - | cat >"$work/piped.$format" || return 1
    done
    "$H2K" -q convert -O vhd "$work/in.raw" "$work/disk.vhd" && cmp "$work/disk.vhd" "$work/piped.vhd" &&
        cmp "$work/in.raw" "$work/piped.raw" &&
        qemu-img compare -F vmdk -f raw "$work/in.raw" "$work/piped.vmdk"
}

not_streamed() {
    refused 2 'standard output' "$H2K" convert "$work/in.raw" - &&
        refused 2 'standard output' "$H2K" convert -O vhdx "$work/in.raw" - &&
        refused 2 'verify' "$H2K" convert -O raw --verify "$work/in.raw" - &&
        status 2 script -qec "'$H2K' convert -O raw '$work/in.raw' - 2>'$work/t.err'" /dev/null &&
        grep -q 'is a terminal' "$work/t.err"
}

broken_pipe() {
    { "$H2K" -q convert -O raw "$work/in.raw" - || echo $? >"$work/code"; } 2>/dev/null | head -c 1000 >/dev/null
    [ "$(cat "$work/code")" = 10 ]
}

device() {
    local loop ok=0
    head -c 24000000 /dev/urandom >"$work/device"
    truncate -s 24000512 "$work/device"
    loop=$(losetup -f --show "$work/device") || return 1
    refused 9 '\-\-force' "$H2K" convert -O raw "$work/in.raw" "$loop" &&
        refused 2 'source' "$H2K" convert --force -f raw -O raw "$work/device" "$loop" &&
        refused 2 'block device' "$H2K" convert --force -O vmdk "$work/in.raw" "$loop" &&
        "$H2K" -q convert --force --verify -O raw "$work/in.raw" "$loop" &&
        cmp -n 20000256 "$work/in.raw" "$work/device" || ok=1
    truncate -s 40M "$work/large.raw"
    refused 11 'larger' "$H2K" convert --force -f raw -O raw "$work/large.raw" "$loop" || ok=1
    losetup -d "$loop"
    return $ok
}

claim "qcow2, version 2" output qcow2 qcow2 compat=0.10
claim "qcow2, clusters of 4 KiB, zstd announced" output qcow2 qcow2 cluster_size=4k,compression_type=zstd
for how in metadata falloc full; do
    claim "qcow2, preallocation=$how" output qcow2 qcow2 preallocation=$how
done
for how in off falloc full; do
    claim "raw, preallocation=$how" output raw raw preallocation=$how
done
claim "VMDK, streamOptimized" output vmdk vmdk subformat=streamOptimized,adapter_type=ide
claim "VHDX, dynamic" output vhdx vhdx subformat=dynamic,block_size=1M
claim "VHD, fixed" output vpc vpc subformat=fixed,force_size=on
claim "only what differs from a backing file" backing compat=1.1
claim "the same in version 2" backing compat=0.10,cluster_size=4k
claim "options that do not exist" refused 2 'takes cluster_size' "$H2K" convert -o foo=1 "$work/in.raw" "$work/x"
claim "standard output" streamed
claim "what cannot be streamed is refused" not_streamed
claim "a reader that goes away is an error" broken_pipe
if [ "$(id -u)" -eq 0 ] && losetup -f >/dev/null 2>&1; then
    claim "a block device" device
else
    count=$((count + 1))
    echo "ok $count - a block device # SKIP loop devices need root"
fi
finish
