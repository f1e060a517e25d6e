#!/bin/bash
# Every kind of image that a clone can be made of, with all of its files: what the clone reads, and
# that a change of any of them is found before a start.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

export XDG_RUNTIME_DIR=$work/run
mkdir -m 700 "$work/run"
store=$work/store
# Clones take the processes that serve their originals with them.
leave() {
    local name
    for name in "$store"/clones/*/; do
        "$H2K" -q clone serve --stop --force --state-dir "$store" "$(basename "$name")" 2>/dev/null
    done
    rm -rf "$work"
}
trap leave EXIT

# --- sources ------------------------------------------------------------------------------------

# a.raw: data, zeros and holes in 32 MiB. b.raw: the same with what a child has of its own, which is
# whole MiB (of a differencing VHDX and VHD) from 4 MiB on.
python3 - "$work/a.raw" "$work/b.raw" <<'PYTHON'
import random, shutil, sys
dice = random.Random(7)
with open(sys.argv[1], "wb") as f:
    f.truncate(32 << 20)
    for _ in range(40):
        f.seek(dice.randrange(31 << 20) // 512 * 512)
        f.write(dice.randbytes(dice.randrange(300) * 512))
    f.seek((32 << 20) - 4096)
    f.write(dice.randbytes(4096))
shutil.copyfile(sys.argv[1], sys.argv[2])
with open(sys.argv[2], "r+b") as f:
    for at in (4, 30):
        f.seek(at << 20)
        f.write(dice.randbytes(2 << 20))
PYTHON

# folder NAME: an empty one, into which the kind's files go
folder() {
    dir=$work/$1
    mkdir "$dir"
}

# what b.raw has of its own goes into an image over a.raw
own_blocks() {
    local at
    for at in 4 30; do
        dd if="$work/b.raw" of="$work/piece" bs=1M skip=$at count=2 status=none
        qemu-io -f "$2" -c "write -q -s $work/piece ${at}M 2M" "$1" || return 1
    done
}

# vmx FILE DISK: a VM of that disk
vmx() {
    cat >"$1" <<VMX
.encoding = "UTF-8"
displayName = "web-01"
numvcpus = "3"
memsize = "1536"
scsi0.present = "TRUE"
scsi0.virtualDev = "pvscsi"
scsi0:0.present = "TRUE"
scsi0:0.fileName = "$2"
VMX
}

# A differencing VHDX over base.vhdx: one that qemu-img made, with what it says of a parent.
differencing_vhdx() {
    qemu-img create -q -f vhdx -o block_size=1M,block_state_zero=off "$dir/child.vhdx" 32M &&
        own_blocks "$dir/child.vhdx" vhdx &&
        python3 - "$dir/base.vhdx" "$dir/child.vhdx" <<'PYTHON'
import struct, sys, uuid
MIB = 1 << 20
def region(data, name):
    count, = struct.unpack_from("<I", data, 0x30008)
    for i in range(count):
        guid, at, length = struct.unpack_from("<16sQI", data, 0x30010 + 32 * i)
        if uuid.UUID(bytes_le=guid) == uuid.UUID(name):
            return at
base = open(sys.argv[1], "rb").read()
linkage = max((struct.unpack_from("<Q", base, at + 8)[0], base[at + 32:at + 48]) for at in (0x10000, 0x20000))[1]
child = bytearray(open(sys.argv[2], "rb").read())
at = region(child, "8b7ca206-4790-4b9a-b8fe-575f050f886e")
count, = struct.unpack_from("<H", child, at + 10)
for i in range(count):
    guid, offset = struct.unpack_from("<16sI", child, at + 32 + 32 * i)
    if uuid.UUID(bytes_le=guid) == uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b"):
        flags, = struct.unpack_from("<I", child, at + offset + 4)
        struct.pack_into("<I", child, at + offset + 4, flags | 2)
pairs = [("relative_path", ".\\base.vhdx"), ("parent_linkage", "{%s}" % uuid.UUID(bytes_le=linkage))]
table, text = b"", b""
for key, value in pairs:
    key, value = key.encode("utf-16le"), value.encode("utf-16le")
    start = 20 + 12 * len(pairs) + len(text)
    table += struct.pack("<IIHH", start, start + len(key), len(key), len(value))
    text += key + value
item = uuid.UUID("b04aefb7-d19e-4a81-b789-25b8e9445913").bytes_le + struct.pack("<HH", 0, len(pairs)) + table + text
place = 0x80000
child[at + place:at + place + len(item)] = item
struct.pack_into("<H", child, at + 10, count + 1)
struct.pack_into("<16sIIII", child, at + 32 + 32 * count,
                 uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le, place, len(item), 4, 0)
open(sys.argv[2], "wb").write(child)
PYTHON
}

# --- what is claimed of each --------------------------------------------------------------------

# reads NAME RAW: what QEMU and this program find in the clone
reads() {
    local image=$store/clones/$1/current/disk.qcow2
    "$H2K" -q convert --force -O raw "$image" "$work/seen.raw" && cmp "$work/seen.raw" "$2" &&
        clone flatten "$1" --to "$work/flat.qcow2" --force && qemu-img compare -f qcow2 -F raw "$work/flat.qcow2" "$2" &&
        clone serve "$1" && qemu-img compare -f qcow2 -F raw "$image" "$2"
}

# notices NAME FILE: a change of FILE, a part of the original, is found before a start
notices() {
    local ok=0
    touch -r "$2" "$work/time"
    touch "$2"
    refused 12 "$(basename "$2") was written to since|written to since: see" "$H2K" clone run --print --state-dir "$store" "$1" &&
        status 12 clone verify "$1" | grep -q "$(basename "$2") was written to since" &&
        clone list | grep -q "^$1 .*(changed)" || ok=1
    touch -r "$work/time" "$2"
    clone serve --stop --force "$1"
    mv "$2" "$work/away"
    refused '3|12' "$(basename "$2")" "$H2K" clone run --print --state-dir "$store" "$1" &&
        clone list | grep -qE "^$1 .*\((missing|changed)\)" || ok=1
    mv "$work/away" "$2"
    [ "$ok" -eq 0 ] && clone verify "$1" && clone run --print "$1" >/dev/null
}

# is_part NAME FILE: whether clone.json knows it
is_part() {
    python3 -c 'import json, sys
known = json.load(open(sys.argv[1]))["originals"][0]["fingerprint"]["file"]
sys.exit(sys.argv[2] not in [f["path"] for f in known])' "$store/clones/$1/clone.json" "$2"
}

# original NAME TOP RAW SERVED FILE...: a clone of TOP, which lies in the FILEs of $dir and has the
# content RAW; SERVED: yes where QEMU does not read it
original() {
    local name=$1 top=$2 raw=$3 served=$4 sums file
    shift 4
    sums=$(sha256sum "$dir"/*) || return 1
    clone create --no-repair --full "$dir/$top" "$name" && clone show "$name" && clone verify "$name" &&
        clone verify --full "$name" && reads "$name" "$raw" || return 1
    [ "$served" = "$(if grep -q '"served"' "$store/clones/$name/clone.json"; then echo yes; else echo no; fi)" ] || {
        echo "served should be: $served"
        return 1
    }
    for file; do
        if ! is_part "$name" "$dir/$file" || ! notices "$name" "$dir/$file"; then
            echo "of the file $file"
            return 1
        fi
    done
    clone delete "$name" && [ ! -e "$store/clones/$name" ] && sha256sum --quiet -c <<<"$sums" && rm -r "$dir"
}

vhdx_child() {
    folder vhdx-child
    qemu-img convert -q -f raw -O vhdx "$work/a.raw" "$dir/base.vhdx" && differencing_vhdx &&
        original vhdx-child child.vhdx "$work/b.raw" yes child.vhdx base.vhdx
}

# plain NAME FORMAT OPTIONS SUFFIX [FILE...]: without others below it
plain() {
    local name=$1 format=$2 options=$3 suffix=$4
    shift 4
    folder "$name"
    qemu-img convert -q -f raw -O "$format" ${options:+-o "$options"} "$work/a.raw" "$dir/a.$suffix" &&
        original "$name" "a.$suffix" "$work/a.raw" no "a.$suffix" "$@"
}

qcow2_chain() {
    folder chain
    qemu-img convert -q -f raw -O qcow2 "$work/a.raw" "$dir/0.qcow2" &&
        (cd "$dir" && qemu-img create -q -f qcow2 -b 0.qcow2 -F qcow2 1.qcow2 &&
            qemu-img create -q -f qcow2 -b 1.qcow2 -F qcow2 2.qcow2) && own_blocks "$dir/2.qcow2" qcow2 &&
        original chain 2.qcow2 "$work/b.raw" no 2.qcow2 1.qcow2 0.qcow2
}


# A chain of hosted sparse deltas, as VMware Workstation makes them.
vmx_chain() {
    folder vmx-chain
    qemu-img convert -q -f raw -O vmdk "$work/a.raw" "$dir/vm.vmdk" &&
        (cd "$dir" && qemu-img create -q -f vmdk -b vm.vmdk -F vmdk vm-000001.vmdk &&
            qemu-img create -q -f vmdk -b vm-000001.vmdk -F vmdk vm-000002.vmdk) &&
        own_blocks "$dir/vm-000002.vmdk" vmdk && vmx "$dir/vm.vmx" vm-000002.vmdk &&
        original vmx-chain vm.vmx "$work/b.raw" no vm-000002.vmdk vm-000001.vmdk vm.vmdk
}

# The same, whose deltas name their parents as they were called on the host that they come from.
vmx_moved() {
    folder vmx-moved
    qemu-img convert -q -f raw -O vmdk "$work/a.raw" "$dir/vm.vmdk" &&
        (cd "$dir" && qemu-img create -q -f vmdk -b vm.vmdk -F vmdk vm-000001.vmdk) &&
        own_blocks "$dir/vm-000001.vmdk" vmdk && python3 - "$dir/vm-000001.vmdk" <<'PYTHON' || return 1
import sys
data = open(sys.argv[1], "rb").read()
old = b'parentFileNameHint="vm.vmdk"'
new = b'parentFileNameHint="/vmfs/volumes/ds1/vm/vm.vmdk"'
at = data.index(old)
end = data.index(b"\0", at)
room = len(new) - len(old)
assert data[end:end + room] == bytes(room)
data = data[:at] + new + data[at + len(old):end] + data[end + room:]
open(sys.argv[1], "wb").write(data)
PYTHON
    vmx "$dir/vm.vmx" /vmfs/volumes/ds1/vm/vm-000001.vmdk &&
        original vmx-moved vm.vmx "$work/b.raw" yes vm-000001.vmdk vm.vmdk
}

vmx_flat() {
    folder vmx-flat
    qemu-img convert -q -f raw -O vmdk -o subformat=monolithicFlat "$work/a.raw" "$dir/vm.vmdk" &&
        vmx "$dir/vm.vmx" vm.vmdk && original vmx-flat vm.vmx "$work/a.raw" no vm.vmdk vm-flat.vmdk
}

# A snapshot as ESXi makes it on VMFS: a descriptor and a COWD extent, over a flat disk.
vmx_esxi() {
    folder vmx-esxi
    qemu-img convert -q -f raw -O vmdk -o subformat=monolithicFlat "$work/a.raw" "$dir/vm.vmdk" &&
        python3 - "$dir" "$work/b.raw" <<'PYTHON' && vmx "$dir/vm.vmx" vm-000001.vmdk || return 1
import re, struct, sys
folder, changed = sys.argv[1:]
cid = re.search(r"^CID=(\w+)", open(f"{folder}/vm.vmdk").read(), re.M).group(1)
with open(f"{folder}/vm-000001.vmdk", "w") as f:
    f.write(f"""# Disk DescriptorFile
version=1
CID=12345678
parentCID={cid}
createType="vmfsSparse"
parentFileNameHint="vm.vmdk"
RW 65536 VMFSSPARSE "vm-000001-delta.vmdk"
""")
data = open(changed, "rb").read()
ENTRIES, SECTORS = 4096, 65536
tables = SECTORS // ENTRIES
directory, extent, at = [0] * tables, bytearray(), 4 + 1
for t in range(tables):
    own = [s for s in range(t * ENTRIES, (t + 1) * ENTRIES) if s // 2048 in (4, 5, 30, 31)]
    if not own:
        continue
    directory[t] = at
    table = [0] * ENTRIES
    grains = bytearray()
    for n, s in enumerate(own):
        table[s % ENTRIES] = at + ENTRIES * 4 // 512 + n
        grains += data[s * 512:(s + 1) * 512]
    extent += struct.pack(f"<{ENTRIES}I", *table) + grains
    at = 5 + len(extent) // 512
head = struct.pack("<4sIIIIIII", b"COWD", 1, 3, SECTORS, 1, 4, tables, at).ljust(2048, b"\0")
with open(f"{folder}/vm-000001-delta.vmdk", "wb") as f:
    f.write(head + struct.pack(f"<{tables}I", *directory).ljust(512, b"\0") + extent)
PYTHON
    original vmx-esxi vm.vmx "$work/b.raw" no vm-000001.vmdk vm-000001-delta.vmdk vm.vmdk vm-flat.vmdk
}

# A VHD of which QEMU believes another size, below a qcow2.
over_vhd() {
    folder over-vhd
    qemu-img convert -q -f raw -O vpc -o force_size=on "$work/a.raw" "$dir/a.vhd" &&
        python3 - "$dir/a.vhd" <<'PYTHON' && (cd "$dir" && qemu-img create -q -f qcow2 -b a.vhd -F vpc a.qcow2 32M) || return 1
import struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
for at in (0, len(data) - 512):
    data[at + 28:at + 32] = b"vs  "  # VirtualBox: cylinders, heads and sectors count for QEMU
    struct.pack_into(">HBB", data, at + 56, 900, 4, 17)
    struct.pack_into(">I", data, at + 64, 0)
    struct.pack_into(">I", data, at + 64, ~sum(data[at:at + 512]) & 0xffffffff)
open(sys.argv[1], "wb").write(data)
PYTHON
    original over-vhd a.qcow2 "$work/a.raw" yes a.qcow2 a.vhd
}


# ovf FILE DISK [COMPRESSION]: a VM of that disk
ovf() {
    cat >"$1" <<OVF
<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
<References><File ovf:id="f0" ovf:href="$2" ${3:+ovf:compression=\"$3\"}/></References>
<DiskSection><Info>D</Info><Disk ovf:diskId="d0" ovf:fileRef="f0" ovf:capacity="33554432"
 ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/></DiskSection>
<VirtualSystem ovf:id="web-01"><Info>A VM</Info><Name>web-01</Name>
<VirtualHardwareSection><Info>H</Info>
<Item><rasd:InstanceID>1</rasd:InstanceID><rasd:VirtualQuantity>3</rasd:VirtualQuantity><rasd:ResourceType>3</rasd:ResourceType></Item>
<Item><rasd:Address>0</rasd:Address><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType></Item>
<Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d0</rasd:HostResource><rasd:InstanceID>10</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
</VirtualHardwareSection></VirtualSystem></Envelope>
OVF
}

ovf_beside() {
    folder ovf
    qemu-img convert -q -f raw -O vmdk -o subformat=streamOptimized "$work/a.raw" "$dir/disk.vmdk" &&
        ovf "$dir/vm.ovf" disk.vmdk && original ovf vm.ovf "$work/a.raw" no disk.vmdk
}

ovf_gzip() {
    folder ovf-gzip
    qemu-img convert -q -f raw -O vmdk -o subformat=streamOptimized "$work/a.raw" "$dir/disk.vmdk" &&
        gzip "$dir/disk.vmdk" && ovf "$dir/vm.ovf" disk.vmdk.gz gzip && original ovf-gzip vm.ovf "$work/a.raw" yes disk.vmdk.gz
}

# QEMU looks for a data file in the folder that it was started in.
data_file() {
    folder data-file
    (cd "$dir" && qemu-img create -q -f qcow2 -o data_file=a.data a.qcow2 32M &&
        qemu-img convert -n -q -f raw -O qcow2 "$work/a.raw" a.qcow2) &&
        original data-file a.qcow2 "$work/a.raw" yes a.qcow2 a.data
}

data_file_absolute() {
    folder data-absolute
    qemu-img create -q -f qcow2 -o "data_file=$dir/a.data,data_file_raw=on" "$dir/a.qcow2" 32M &&
        qemu-img convert -n -q -f raw -O qcow2 "$work/a.raw" "$dir/a.qcow2" &&
        original data-absolute a.qcow2 "$work/a.raw" no a.qcow2 a.data
}

# Names that a shell, a URI or QEMU would read as something else.
odd_names() {
    folder 'odd, names: 50% "é"'
    (cd "$dir" && qemu-img convert -q -f raw -O qcow2 "$work/a.raw" "base, a=b.qcow2" &&
        qemu-img create -q -f qcow2 -b "base, a=b.qcow2" -F qcow2 'top #1.qcow2') &&
        own_blocks "$dir/top #1.qcow2" qcow2 &&
        original odd 'top #1.qcow2' "$work/b.raw" no 'base, a=b.qcow2' 'top #1.qcow2'
}
# over NAME TOP: a clone lies over TOP now, and QEMU reads what it did
over() {
    clone rebase "$1" "$dir/$2" && [ "$(readlink "$store/clones/$1/original")" = "$dir/$2" ] &&
        [ ! -e "$store/clones/$1/original.b" ] && clone verify "$1" && reads "$1" "$work/want.raw"
}

# From one file to several and back, with what was written to the clone.
rebases() {
    folder rebase
    cp "$work/b.raw" "$dir/b.raw" && cp "$work/b.raw" "$work/want.raw" &&
        printf '\7%.0s' {1..4096} | dd of="$work/want.raw" bs=4096 seek=100 conv=notrunc status=none &&
        qemu-img convert -q -f raw -O vmdk -o subformat=monolithicFlat "$work/b.raw" "$dir/flat.vmdk" &&
        qemu-img convert -q -f raw -O vmdk -o subformat=twoGbMaxExtentSparse "$work/b.raw" "$dir/split.vmdk" &&
        qemu-img convert -q -f raw -O qcow2 "$work/a.raw" "$dir/0.qcow2" &&
        (cd "$dir" && qemu-img create -q -f qcow2 -b 0.qcow2 -F qcow2 1.qcow2) && own_blocks "$dir/1.qcow2" qcow2 &&
        clone create --no-repair --full "$dir/b.raw" moves &&
        qemu-io -f qcow2 -c 'write -q -P 7 409600 4096' "$store/clones/moves/current/disk.qcow2" || return 1
    over moves flat.vmdk && over moves split.vmdk && clone snapshot moves --name one && over moves 1.qcow2 &&
        clone reset moves --to one && reads moves "$work/want.raw" && over moves b.raw && over moves flat.vmdk || return 1
    # What clone.json knew of it is found again.
    rm "$store/clones/moves/clone.json"
    clone show moves | grep -qF "$dir/flat.vmdk" && clone reset moves &&
        qemu-img compare -f qcow2 -F raw "$store/clones/moves/current/disk.qcow2" "$work/b.raw" && clone delete moves &&
        rm -r "$dir"
}

claim "a differencing VHDX" vhdx_child
claim "a fixed VHD" plain vhd-fixed vpc subformat=fixed,force_size=on vhd
claim "a dynamic VHD" plain vhd vpc subformat=dynamic,force_size=on vhd
claim "a VHDX" plain vhdx vhdx "" vhdx
claim "a VDI" plain vdi vdi "" vdi
claim "a static VDI" plain vdi-static vdi static=on vdi
claim "a streamOptimized VMDK" plain stream vmdk subformat=streamOptimized vmdk
claim "a VMDK that is split" plain split vmdk subformat=twoGbMaxExtentSparse vmdk a-s001.vmdk
claim "a flat VMDK" plain flat vmdk subformat=monolithicFlat vmdk a-flat.vmdk
claim "a chain of qcow2 images" qcow2_chain
claim "an OVF with its disk beside it" ovf_beside
claim "an OVF whose disk is compressed" ovf_gzip
claim "a qcow2 with its data in another file" data_file
claim "a QED image, which QEMU reads for us" plain qed qed "" qed
claim "a qcow2 with its data in another file, by its full name" data_file_absolute
claim "names that mean something elsewhere" odd_names
claim "a .vmx of a flat VMDK" vmx_flat
claim "a .vmx of a chain of snapshots" vmx_chain
claim "a .vmx of snapshots that name their parents by other paths" vmx_moved
claim "a .vmx of a snapshot of ESXi's" vmx_esxi
claim "a qcow2 over a VHD that QEMU reads otherwise" over_vhd
# What an encrypted layer lies over, and what a served one is compared with.
states() {
    folder states
    printf 'a secret of 20 bytes' >"$work/key" && chmod 600 "$work/key" &&
        qemu-img convert -q -f raw -O vmdk -o subformat=monolithicFlat "$work/a.raw" "$dir/flat.vmdk" &&
        clone create --no-repair --encrypt "$work/key" "$dir/flat.vmdk" locked && clone verify locked &&
        clone flatten locked --to "$work/flat.qcow2" --force && qemu-img compare -f qcow2 -F raw "$work/flat.qcow2" "$work/a.raw" &&
        clone delete locked || return 1
    qemu-img convert -q -f raw -O vhdx "$work/a.raw" "$dir/base.vhdx" && differencing_vhdx &&
        clone create --no-repair "$dir/child.vhdx" child && clone serve child &&
        qemu-io -f qcow2 -c 'write -q -P 7 1M 64k' "$store/clones/child/current/disk.qcow2" &&
        clone diff child --blocks | grep -qE '^0x100000 +0x10000 ' && clone export child --to "$work/exported" &&
        (cd "$work/exported" && sha256sum --quiet -c SHA256SUMS) &&
        qemu-img compare -f qcow2 -F qcow2 "$work/exported/child.qcow2" "$store/clones/child/current/disk.qcow2" &&
        clone snapshot child --name seven && clone reset child && clone diff child seven --blocks | grep -qE '^0x100000 +0x10000 ' &&
        clone delete child && rm -r "$dir"
}

claim "encrypted over several files; served, compared and exported" states
claim "a clone goes from one file to several and back" rebases
finish
