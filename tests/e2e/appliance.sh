#!/bin/bash
# Exported VMs: OVA, OVF and .vmx with one and with several disks, read in place and checked against
# the manifest.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
disk=$(guest debian12-vmware vmdk-stream)
box=$work/box
mac=00:50:56:9a:12:34

# describe FILE DISK...: an OVF of a VM with these disks
describe() {
    python3 - "$mac" "$@" >"$1" <<'PYTHON'
import os, sys
mac, path, disks = sys.argv[1], sys.argv[2], sys.argv[3:]
folder = os.path.dirname(path)
files = "".join(f'<File ovf:id="f{i}" ovf:href="{d}" ovf:size="{os.path.getsize(os.path.join(folder, d))}"/>'
                for i, d in enumerate(disks))
section = "".join(f'<Disk ovf:diskId="d{i}" ovf:fileRef="f{i}" ovf:capacity="4294967296" '
                  'ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>'
                  for i in range(len(disks)))

def item(kind, number, more):
    return (f"<Item><rasd:ElementName>item {number}</rasd:ElementName>"
            f"<rasd:InstanceID>{number}</rasd:InstanceID>{more}<rasd:ResourceType>{kind}</rasd:ResourceType></Item>")

items = item(3, 1, "<rasd:VirtualQuantity>3</rasd:VirtualQuantity>")
items += item(4, 2, "<rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:VirtualQuantity>1536</rasd:VirtualQuantity>")
items += item(6, 3, "<rasd:Address>0</rasd:Address><rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType>")
for i in range(len(disks)):
    items += item(17, 10 + i, f"<rasd:AddressOnParent>{i}</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d{i}</rasd:HostResource><rasd:Parent>3</rasd:Parent>")
items += item(10, 20, f"<rasd:Address>{mac}</rasd:Address><rasd:Connection>VM Network</rasd:Connection><rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>")
print(f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
<References>{files}</References>
<DiskSection><Info>Disks</Info>{section}</DiskSection>
<NetworkSection><Info>Networks</Info><Network ovf:name="VM Network"/></NetworkSection>
<VirtualSystem ovf:id="web-01"><Info>A VM</Info><Name>web-01</Name>
<OperatingSystemSection ovf:id="96"><Info>Guest</Info><Description>Debian 12</Description></OperatingSystemSection>
<VirtualHardwareSection><Info>Hardware</Info>{items}</VirtualHardwareSection></VirtualSystem></Envelope>""")
PYTHON
}

# pack ALGORITHM: box/ as an OVA with its manifest
pack() {
    local algorithm=$1
    (
        cd "$box" && rm -f ./*.mf ../vm.ova &&
            for f in *; do
                echo "${algorithm^^}($f)= $("${algorithm}sum" "$f" | cut -d' ' -f1)"
            done >../vm.mf && mv ../vm.mf vm.mf && tar -cf ../vm.ova vm.ovf vm.mf ./*.vmdk
    )
}

prepare() {
    mkdir "$box" && cp --reflink=auto "$disk" "$box/vm-disk1.vmdk" &&
        dd if=/dev/urandom of="$work/data.raw" bs=1M count=9 status=none &&
        qemu-img convert -q -f raw -O vmdk -o subformat=streamOptimized "$work/data.raw" "$box/vm-disk2.vmdk" &&
        describe "$box/vm.ovf" vm-disk1.vmdk vm-disk2.vmdk && pack sha256
}

# right NAME: the outputs of vm are what the appliance held
right() {
    local name=$1
    json "$work/$name.json" 'd["status"] == "ok" and len(d["output"]["disks"]) == 2 and d["name"] == "web-01"' &&
        grep -q "<mac address=.$mac./>" "$work/$name.xml" && grep -q '>web-01</name>' "$work/$name.xml" &&
        grep -q '<vcpu[^>]*>3</vcpu>' "$work/$name.xml" && grep -q '1536' "$work/$name.xml" &&
        virt-xml-validate "$work/$name.xml" domain && qemu-img check "$work/$name.qcow2" &&
        qemu-img compare -f raw -F qcow2 "$work/data.raw" "$work/$name-disk2.qcow2"
}

migrates() {
    local name=$1
    shift
    "$H2K" -q local "$@" --to-output "$work/$name.qcow2" --report "$work/$name.json" --force --verify && right "$name"
}

ova() {
    local sums
    pack "$1" && sums=$(sha256sum "$work/vm.ova") && migrates ova --ova "$work/vm.ova" && sha256sum -c <<<"$sums" &&
        json "$work/ova.json" 'd["output"]["manifest_verified"] is True'
}

ovf() {
    pack sha256 && migrates ovf --ovf "$box/vm.ovf" &&
        json "$work/ovf.json" 'd["output"]["manifest_verified"] is True'
}

vmx() {
    cat >"$box/vm.vmx" <<VMX
.encoding = "UTF-8"
displayName = "web-01"
numvcpus = "3"
memsize = "1536"
scsi0.present = "TRUE"
scsi0.virtualDev = "pvscsi"
scsi0:0.present = "TRUE"
scsi0:0.fileName = "/vmfs/volumes/datastore1/vm/vm-disk1.vmdk"
scsi0:1.present = "TRUE"
scsi0:1.fileName = "vm-disk2.vmdk"
ethernet0.present = "TRUE"
ethernet0.addressType = "vpx"
ethernet0.generatedAddress = "$mac"
VMX
    migrates vmx --vmx "$box/vm.vmx"
    local ok=$?
    rm "$box/vm.vmx"
    return $ok
}

# One byte of a disk changes after the manifest was made, in a place that no reader looks at.
tampered() {
    pack sha256 && cp "$work/vm.ova" "$work/bad.ova" &&
        python3 - "$work/bad.ova" <<'PYTHON' &&
import sys, tarfile
with tarfile.open(sys.argv[1]) as archive:
    at = archive.getmember("./vm-disk1.vmdk").offset_data + 0x100
with open(sys.argv[1], "r+b") as f:
    f.seek(at)
    f.write(b"x")
PYTHON
        mkdir -p "$work/none" &&
        refused 4 'vm-disk1.vmdk.*digest' "$H2K" -q local --ova "$work/bad.ova" --to-output "$work/none/x.qcow2" &&
        empty "$work/none"
}

# The description itself is changed.
description_tampered() {
    pack sha256 && sed -i 's/1536/9999/' "$box/vm.ovf" &&
        refused 4 'vm.ovf.*digest' "$H2K" -q local --ovf "$box/vm.ovf" --to-output "$work/none/x.qcow2" &&
        describe "$box/vm.ovf" vm-disk1.vmdk vm-disk2.vmdk && empty "$work/none"
}

incomplete() {
    (cd "$box" && tar -cf ../part.ova vm.ovf vm-disk1.vmdk) &&
        refused '3|4' 'vm-disk2.vmdk' "$H2K" -q local --ova "$work/part.ova" --to-output "$work/none/x.qcow2" &&
        head -c 100000000 "$work/vm.ova" >"$work/cut.ova" &&
        refused 4 'cut short' "$H2K" -q local --ova "$work/cut.ova" --to-output "$work/none/x.qcow2" &&
        (cd "$box" && tar -cf ../empty.ova vm-disk2.vmdk) &&
        refused 4 'no OVA' "$H2K" -q local --ova "$work/empty.ova" --to-output "$work/none/x.qcow2" &&
        refused 2 'stand alone' "$H2K" local --ova "$work/vm.ova" --disk "$work/data.raw" -o "$work/none/x.qcow2" &&
        empty "$work/none"
}

# A manifest that leaves a disk out is worth a warning.
uncovered() {
    pack sha256 && sed -i '/vm-disk2/d' "$box/vm.mf" &&
        "$H2K" -q local --ovf "$box/vm.ovf" --to-output "$work/un.qcow2" --report "$work/un.json" &&
        json "$work/un.json" 'any("vm-disk2.vmdk" in w for w in d["warnings"])'
}

# A description must not lead to files of this host.
confined() {
    mkdir "$work/outside" && cp "$box/vm.ovf" "$work/outside/vm.ovf" &&
        ln -s "$box/vm-disk1.vmdk" "$work/outside/vm-disk1.vmdk" && cp "$box/vm-disk2.vmdk" "$work/outside/" &&
        refused 5 'leads out of' "$H2K" -q local --ovf "$work/outside/vm.ovf" --to-output "$work/none/x.qcow2" &&
        sed -i 's#href="vm-disk1.vmdk"#href="../box/vm-disk1.vmdk"#' "$work/outside/vm.ovf" &&
        refused '4|5' 'box/vm-disk1' "$H2K" -q local --ovf "$work/outside/vm.ovf" --to-output "$work/none/x.qcow2" &&
        empty "$work/none"
}

source_kept() {
    sha256sum -c --quiet "$work/sums"
}

claim "an appliance of two disks is made" prepare
sha256sum "$box"/*.vmdk >"$work/sums"
claim "an OVA with a SHA-256 manifest is migrated in place" ova sha256
claim "an OVA with a SHA-1 manifest" ova sha1
claim "an OVA with a SHA-512 manifest" ova sha512
claim "an OVF with its files beside it" ovf
claim "a .vmx whose disks were on a datastore" vmx
claim "a changed byte fails the migration, and nothing is kept" tampered
claim "a changed description is not used" description_tampered
claim "a disk without a digest is warned about" uncovered
claim "incomplete appliances are refused" incomplete
claim "a description does not lead to other files" confined
claim "the disks of the appliance are what they were" source_kept
finish
