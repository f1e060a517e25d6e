#!/bin/bash
# Single images: convert, info and compare against qemu-img, for every format and variant.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# fill FILE BYTES SEED: random data, zeros and holes, in pieces that fit no cluster size
fill() {
    python3 - "$@" <<'PYTHON'
import random, sys
path, size, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
dice = random.Random(seed)
with open(path, "wb") as f:
    f.truncate(size)
    at = 0
    while at < size:
        n = min(dice.choice([512, 4096, 65536, 70000, 300000, 2 << 20]), size - at)
        kind = dice.randrange(4)
        f.seek(at)
        if kind == 0:
            f.write(dice.randbytes(n))
        elif kind == 1:
            f.write((b"hyper2kvm %d " % at * (n // 12 + 1))[:n])
        elif kind == 2:
            f.write(bytes(n))
        at += n
PYTHON
}

# same IMAGE FORMAT-FOR-QEMU: OURS of it are identical for both programs, and info says the same
same() {
    local image=$1 format=$2 theirs ours
    theirs=$(qemu-img info --output=json -f "$format" "$image" | python3 -c 'import json, sys; print(json.load(sys.stdin)["virtual-size"])')
    ours=$("$H2K" info --json "$image" | python3 -c 'import json, sys; print(json.load(sys.stdin)["virtual-size"])')
    [ "$theirs" = "$ours" ] || {
        echo "qemu-img says $theirs bytes, info $ours"
        return 1
    }
    "$H2K" -q convert --force --verify "$image" "$work/out.qcow2" &&
        "$H2K" -q convert --force --verify --compress=zstd "$image" "$work/zstd.qcow2" &&
        "$H2K" -q convert --force -O raw "$image" "$work/out.raw" &&
        qemu-img check "$work/out.qcow2" && qemu-img check "$work/zstd.qcow2" &&
        qemu-img compare -f "$format" -F qcow2 "$image" "$work/out.qcow2" &&
        qemu-img compare -f "$format" -F qcow2 "$image" "$work/zstd.qcow2" &&
        qemu-img compare -f "$format" -F raw "$image" "$work/out.raw" &&
        "$H2K" -q compare "$image" "$work/out.raw" &&
        "$H2K" -q compare "$work/zstd.qcow2" "$work/out.qcow2"
}

# variant NAME FORMAT OPTIONS SIZE: made by qemu-img, read by us
variant() {
    local suffix=$1 format=$2 options=$3 size=$4
    fill "$work/in.raw" "$size" "$size" &&
        rm -f "$work"/v.* "$work"/v-*.vmdk &&
        qemu-img convert -q -f raw -O "$format" ${options:+-o "$options"} "$work/in.raw" "$work/v.$suffix" &&
        same "$work/v.$suffix" "$format"
}

chain() {
    local format=$1 suffix=$2
    rm -f "$work"/chain-*
    fill "$work/base.raw" 9000960 1 &&
        qemu-img convert -q -f raw -O "$format" "$work/base.raw" "$work/chain-0.$suffix" &&
        for n in 1 2 3; do
            qemu-img create -q -f "$format" -b "chain-$((n - 1)).$suffix" -F "$format" "$work/chain-$n.$suffix" &&
                qemu-io -f "$format" -c "write -P $n $((n * 1000000 / 512 * 512)) 700416" \
                    -c "write -z $((n * 2000000 / 65536 * 65536)) 131072" "$work/chain-$n.$suffix" || return 1
        done &&
        same "$work/chain-3.$suffix" "$format" &&
        "$H2K" info "$work/chain-3.$suffix" | grep -q "^backing file: .*chain-0.$suffix" &&
        rm "$work/chain-1.$suffix" &&
        refused '3|4' "chain-1.$suffix" "$H2K" -q convert --force "$work/chain-3.$suffix" "$work/out.qcow2"
}

# A qcow2 whose backing file is a VHD, which QEMU calls vpc.
over_vhd() {
    rm -f "$work"/over.*
    fill "$work/base.raw" 9000960 11 &&
        qemu-img convert -q -f raw -O vpc -o force_size=on "$work/base.raw" "$work/over.vhd" &&
        qemu-img create -q -f qcow2 -b over.vhd -F vpc "$work/over.qcow2" &&
        qemu-io -c "write -P 5 1000448 70144" "$work/over.qcow2" && same "$work/over.qcow2" qcow2
}

differs() {
    fill "$work/a.raw" 5000192 7 && cp "$work/a.raw" "$work/b.raw" &&
        printf x | dd of="$work/b.raw" bs=1 seek=4999999 conv=notrunc &&
        "$H2K" -q compare "$work/a.raw" "$work/a.raw" &&
        status 1 "$H2K" -q compare "$work/a.raw" "$work/b.raw" &&
        { "$H2K" -q compare --json "$work/a.raw" "$work/b.raw" || true; } >"$work/c.json" &&
        json "$work/c.json" 'd == {"same-content": False, "same-size": True, "offset": 4999999}' &&
        cp "$work/a.raw" "$work/b.raw" && truncate -s +1M "$work/b.raw" &&
        "$H2K" -q compare "$work/a.raw" "$work/b.raw" && "$H2K" -q compare "$work/b.raw" "$work/a.raw" &&
        status 1 "$H2K" -q compare --strict "$work/a.raw" "$work/b.raw" &&
        status 3 "$H2K" -q compare "$work/a.raw" "$work/missing"
}

keeps_source() {
    local sum
    fill "$work/s.raw" 3000320 3 && sum=$(sha256sum "$work/s.raw") &&
        refused 2 'is (the|a) source|also' "$H2K" convert --force -f raw -O raw "$work/s.raw" "$work/s.raw" &&
        refused 9 'exists' "$H2K" convert -O raw "$work/s.raw" "$work/b.raw" &&
        sha256sum -c <<<"$sum"
}

clusters() {
    local size
    fill "$work/k.raw" 7000064 5 &&
        for size in 512 4K 64K 2M; do
            "$H2K" -q convert --force --verify --cluster-size $size "$work/k.raw" "$work/k.qcow2" &&
                qemu-img check "$work/k.qcow2" && qemu-img compare "$work/k.raw" "$work/k.qcow2" || return 1
        done
    refused 2 'power of two' "$H2K" convert --cluster-size 3K "$work/k.raw" "$work/k2.qcow2"
}

# What was deleted in an ext4 filesystem reaches the output only when that is asked for.
deleted() {
    local marker=DELETED-BUT-STILL-THERE
    rm -f "$work/fs.raw"
    yes "$marker" | head -c 3000000 >"$work/secret"
    truncate -s 64M "$work/fs.raw"
    mke2fs -q -t ext4 "$work/fs.raw" &&
        debugfs -w -R "write $work/secret secret" "$work/fs.raw" && debugfs -w -R 'rm secret' "$work/fs.raw" &&
        grep -qa "$marker" "$work/fs.raw" &&
        "$H2K" -q convert --verify -O raw "$work/fs.raw" "$work/without.raw" &&
        ! grep -qa "$marker" "$work/without.raw" && e2fsck -fn "$work/without.raw" &&
        "$H2K" -q convert --no-sparsify -O raw "$work/fs.raw" "$work/with.raw" &&
        cmp "$work/fs.raw" "$work/with.raw"
}

# huge_source GiB: a disk of that size in huge.raw, with data at both ends and at seeded places, and
# in huge.places where to look: around them, and where there is nothing
huge_source() {
    python3 - "$work/huge" "$1" <<'PYTHON'
import random, sys
name, size = sys.argv[1], int(sys.argv[2]) << 30
dice = random.Random(size)
data = [0, size - 70144] + [dice.randrange(size // 512 - 1000) * 512 for _ in range(14)]
with open(f"{name}.raw", "wb") as f:
    f.truncate(size)
    for at in data:
        f.seek(at)
        f.write(dice.randbytes(70144 if at + 70144 == size else dice.choice([512, 4096, 70144])))
empty = [dice.randrange(size // 512 - 3000) * 512 for _ in range(4)]
with open(f"{name}.places", "w") as f:
    for at in data + empty:
        f.write(f"{max(0, min(at - 300032, size - (1 << 20)))}\n")
PYTHON
}

# window OFFSET FORMAT IMAGE: a MiB of an image, for qemu-img
window() {
    echo "driver=raw,offset=$1,size=1048576,file.driver=$2,file.file.driver=file,file.file.filename=$3"
}

# huge_same IMAGE FORMAT: QEMU sees huge.raw in it. What it goes through grain by grain (VMDK) or
# reads whole (VHDX) would take it minutes, so that it is asked at the places that matter.
huge_same() {
    local at
    case $2 in
    vmdk | vhdx)
        while read -r at; do
            qemu-img compare --image-opts "$(window "$at" "$2" "$1")" \
                "driver=raw,offset=$at,size=1048576,file.driver=file,file.filename=$work/huge.raw" || {
                echo "at $at"
                return 1
            }
        done <"$work/huge.places"
        ;;
    *) qemu-img compare -f "$2" -F raw "$1" "$work/huge.raw" ;;
    esac
}

# huge_input FORMAT OPTIONS: written by qemu-img, read by us
huge_input() {
    rm -f "$work/huge.image" "$work/huge.qcow2"
    qemu-img convert -q -f raw -O "$1" ${2:+-o "$2"} "$work/huge.raw" "$work/huge.image" &&
        "$H2K" -q compare --strict "$work/huge.image" "$work/huge.raw" &&
        "$H2K" -q convert --verify "$work/huge.image" "$work/huge.qcow2" &&
        qemu-img check -q "$work/huge.qcow2" && huge_same "$work/huge.qcow2" qcow2 &&
        huge_same "$work/huge.image" "$1"
}

# huge_output FORMAT FORMAT-FOR-QEMU: written by us, read by QEMU
huge_output() {
    rm -f "$work/huge.image"
    "$H2K" -q convert --verify -O "$1" "$work/huge.raw" "$work/huge.image" && huge_same "$work/huge.image" "$2" &&
        "$H2K" -q compare --strict "$work/huge.image" "$work/huge.raw" &&
        [ "$(du -k "$work/huge.image" | cut -f 1)" -lt 65536 ] || return 1
    case $2 in
    raw | vpc) ;;
    *) qemu-img check -q -f "$2" "$work/huge.image" ;;
    esac
}

claim "raw" variant raw raw "" 8388096
claim "qcow2, version 3" variant qcow2 qcow2 "" 20000256
claim "qcow2, version 2, clusters of 4 KiB" variant qcow2 qcow2 "compat=0.10,cluster_size=4096" 9000448
claim "VMDK, monolithicSparse" variant vmdk vmdk "subformat=monolithicSparse" 20000256
claim "VMDK, streamOptimized" variant vmdk vmdk "subformat=streamOptimized" 20000256
claim "VMDK, monolithicFlat" variant vmdk vmdk "subformat=monolithicFlat" 9000448
claim "VMDK, twoGbMaxExtentSparse" variant vmdk vmdk "subformat=twoGbMaxExtentSparse" 9000448
claim "VDI, dynamic" variant vdi vdi "" 20000256
claim "VDI, static" variant vdi vdi "static=on" 9000448
claim "VHD, dynamic" variant vhd vpc "subformat=dynamic,force_size=on" 20000256
claim "VHD, fixed" variant vhd vpc "subformat=fixed,force_size=on" 9000448
claim "VHDX, dynamic" variant vhdx vhdx "subformat=dynamic" 20000256
claim "VHDX, fixed" variant vhdx vhdx "subformat=fixed" 9000448
claim "a chain of qcow2 images" chain qcow2 qcow2
claim "a chain of VMDKs" chain vmdk vmdk
claim "a qcow2 over a VHD" over_vhd
claim "compare tells what differs" differs
claim "clusters from 512 bytes to 2 MiB" clusters
# A volume whose used blocks nobody here knows is whole in the output, and that is said.
copied_whole() {
    zstd -qd "$H2K_TOP/tests/fixtures/volumes/luks2-on-lvm/disk1.zst" -o "$work/lvm.raw" &&
        "$H2K" convert "$work/lvm.raw" "$work/lvm.qcow2" 2>"$work/lvm.err" &&
        grep 'all of it is copied: .*logical volume secret: which blocks are in use is not known' "$work/lvm.err" &&
        "$H2K" compare "$work/lvm.raw" "$work/lvm.qcow2"
}

claim "a logical volume that cannot be looked into is copied whole, which is said" copied_whole
claim "deleted data are left out, or kept with --no-sparsify" deleted
huge_source 2048
claim "2 TiB: qcow2" huge_input qcow2 ""
claim "2 TiB: qcow2 with subclusters" huge_input qcow2 extended_l2=on,cluster_size=128k
claim "2 TiB: VMDK, monolithicSparse" huge_input vmdk subformat=monolithicSparse
claim "2 TiB: VMDK, streamOptimized" huge_input vmdk subformat=streamOptimized
claim "2 TiB: VHDX" huge_input vhdx subformat=dynamic
claim "2 TiB: VDI" huge_input vdi ""
for format in qcow2 raw vmdk vhdx; do
    claim "2 TiB: to $format" huge_output $format $format
done
huge_source 2040
claim "2040 GiB: VHD, dynamic" huge_input vpc subformat=dynamic,force_size=on
claim "2040 GiB: to a VHD" huge_output vhd vpc
rm -f "$work"/huge.*
claim "the source is never the output, and outputs are not replaced" keeps_source
finish
