#!/bin/bash
# Outputs: every format with its options against qemu-img, standard output, block devices, NBD
# exports.
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

# nbd SIZE ARGUMENT...: nbdkit on a socket, over a file of SIZE bytes of old data; sets uri
nbd() {
    local size=$1
    shift
    nbd_stop
    rm -f "$work/nbd.sock" "$work/nbd.pid"
    head -c "$size" /dev/urandom >"$work/export"
    nbdkit -f -U "$work/nbd.sock" -P "$work/nbd.pid" --log=null "$@" &
    nbd_pid=$!
    until [ -s "$work/nbd.pid" ] || ! kill -0 "$nbd_pid"; do sleep 0.05; done
    uri="nbd+unix:///?socket=$work/nbd.sock"
}

nbd_stop() {
    if [ -n "${nbd_pid:-}" ]; then
        kill "$nbd_pid" 2>/dev/null
        wait "$nbd_pid" 2>/dev/null
    fi
    nbd_pid=
}

# Only what was started here, by its process id.
trap 'nbd_stop; rm -rf "$work"' EXIT

nbd_raw() {
    local filter
    for filter in --filter=noextents --filter=nozero --filter=multi-conn; do
        nbd 24000000 $filter file "$work/export" && cp "$work/export" "$work/old" &&
            "$H2K" -q convert --force --verify -O raw "$work/in.raw" "$uri" && nbd_stop &&
            cmp -n 20000256 "$work/in.raw" "$work/export" &&
            cmp -i 20000256 "$work/old" "$work/export" || return 1
    done
}

nbd_images() {
    local format size options
    while read -r format size options; do
        nbd "$size" --filter=noextents file "$work/export"
        # shellcheck disable=SC2086
        "$H2K" -q convert --force --verify -O "$format" $options "$work/in.raw" "$uri" &&
            qemu-img compare -f raw -F "${format/vhd/vpc}" "$work/in.raw" "$uri" &&
            nbd_stop || return 1
    done <<'END'
qcow2 24000000
qcow2 24000000 --compress=zstd
qcow2 24000000 -o compat=0.10,cluster_size=4k
vpc 20972032
END
    nbd 60000000 file "$work/export"
    "$H2K" -q convert --force --verify -O vhdx "$work/in.raw" "$uri" &&
        qemu-img compare -f raw -F vhdx "$work/in.raw" "$uri" && nbd_stop
}

nbd_refused() {
    truncate -s 40M "$work/large.raw"
    nbd 24000000 file "$work/export" && cp "$work/export" "$work/old" &&
        refused 9 '\-\-force' "$H2K" convert -O raw "$work/in.raw" "$uri" &&
        refused 2 'source' "$H2K" convert --force -f raw -O raw "$uri" "$uri" &&
        refused 2 'resume' "$H2K" convert --force --resume -O raw "$work/in.raw" "$uri" &&
        refused 2 'checksum' "$H2K" convert --force --checksum -O raw "$work/in.raw" "$uri" &&
        refused 2 'backing' "$H2K" convert --force --backing "$work/base.raw" "$work/in.raw" "$uri" &&
        refused 2 'NBD export' "$H2K" convert --force -O vmdk "$work/in.raw" "$uri" &&
        refused 2 '20972032' "$H2K" convert --force -O vhd "$work/in.raw" "$uri" &&
        refused 11 'larger' "$H2K" convert --force -f raw -O raw "$work/large.raw" "$uri" &&
        refused 2 'files' "$H2K" local --disk "$work/in.raw" --to-output "$uri" &&
        refused 2 'cannot be written' "$H2K" convert --force "$work/in.raw" https://me:secret@127.0.0.1/x &&
        ! grep secret "$work/.stderr" && cmp "$work/old" "$work/export" && [ ! -e https: ] &&
        nbd 24000000 -r file "$work/export" &&
        refused 10 'read-only' "$H2K" convert --force -O raw "$work/in.raw" "$uri" && nbd_stop &&
        refused 10 'cannot connect' "$H2K" convert --force -O raw "$work/in.raw" "$uri"
}

# The server is killed in the middle and comes back.
nbd_comes_back() {
    local pid
    nbd 24000000 --filter=delay --filter=multi-conn file "$work/export" wdelay=100ms multi-conn-mode=disable
    H2K_PATIENCE=20 "$H2K" convert --force -O raw "$work/in.raw" "$uri" 2>"$work/errors" &
    pid=$!
    sleep 0.7
    kill -9 "$nbd_pid"
    cp "$work/export" "$work/half"
    nbd 0 file "$work/half"
    wait "$pid" && nbd_stop && cat "$work/errors" && grep -q 'lost for a while' "$work/errors" &&
        cmp -n 20000256 "$work/in.raw" "$work/half"
}

nbd_is_gone() {
    local pid code=0
    nbd 24000000 --filter=delay --filter=multi-conn file "$work/export" wdelay=100ms multi-conn-mode=disable
    H2K_PATIENCE=3 "$H2K" convert --force -O raw "$work/in.raw" "$uri" 2>"$work/errors" &
    pid=$!
    sleep 0.7
    nbd_stop
    wait "$pid" || code=$?
    cat "$work/errors"
    [ "$code" -eq 10 ] && [ "$(grep -c ': error: ' "$work/errors")" -eq 1 ] && grep -q 'cannot connect' "$work/errors"
}

nbd_interrupted() {
    local code=0 start pid
    nbd 24000000 --filter=delay file "$work/export" wdelay=600
    "$H2K" -q convert --force -O raw "$work/in.raw" "$uri" 2>"$work/errors" &
    pid=$!
    sleep 1
    start=$(date +%s%N)
    kill "$pid"
    wait "$pid" || code=$?
    cat "$work/errors"
    kill -9 "$nbd_pid"
    [ "$code" -eq 143 ] && [ $((($(date +%s%N) - start) / 1000000)) -lt 3000 ]
}

# Servers that are a disk image themselves, and end with their last client.
nbd_qemu() {
    qemu-img create -q -f qcow2 "$work/q.qcow2" 24000000 || return 1
    qemu-nbd -k "$work/q.sock" -x disk -f qcow2 "$work/q.qcow2" &
    nbd_pid=$!
    until [ -S "$work/q.sock" ]; do sleep 0.05; done
    "$H2K" --log-level=error convert --progress=json --force --verify -O raw "$work/in.raw" \
        "nbd+unix:///disk?socket=$work/q.sock" 2>"$work/progress" && wait "$nbd_pid" &&
        qemu-img compare "$work/q.qcow2" "$work/in.raw" && cat "$work/progress" &&
        grep -q '"copy"' "$work/progress" && grep -q '"verify"' "$work/progress"
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
claim "an NBD export" nbd_raw
claim "images in NBD exports" nbd_images
claim "NBD exports that are refused are not touched" nbd_refused
claim "qemu-nbd with a qcow2, and the progress" nbd_qemu
claim "an NBD server that comes back is read back" nbd_comes_back
claim "an NBD server that does not" nbd_is_gone
claim "SIGTERM while an NBD server stalls" nbd_interrupted
if has_loop_devices; then
    claim "a block device" device
else
    skip "a block device" "loop devices need root"
fi
finish
