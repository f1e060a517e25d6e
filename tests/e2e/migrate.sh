#!/bin/bash
# The promise: a VMware guest that does not boot on virtio goes in, a disk that does comes out.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
serial=$H2K_TOP/tests/guests/boot-serial

stream=$(guest debian12-vmware vmdk-stream)
sparse=$(guest debian12-vmware vmdk-sparse)
sums=$(sha256sum "$stream" "$sparse")
network='ip -4 -o addr show dev ens192 | grep -q " 10\.0\.2\." && ping -c 1 -W 5 10.0.2.2'

unchanged() {
    sha256sum -c <<<"$sums"
}

migrate() {
    "$H2K" local --vmdk "$stream" --to-output "$work/guest.qcow2" --qemu-test --verify \
        --report "$work/report.md" --json >"$work/report.json" &&
        json "$work/report.json" 'd["boot"]["verdict"] == "pass" and "ens192" in d["boot"]["network"]'
}

migrate_sparse() {
    "$H2K" local --vmdk "$sparse" --to-output "$work/sparse.qcow2" --report "$work/sparse.json" &&
        json "$work/sparse.json" 'd["filesystems"][0]["status"] == "clean"' &&
        json "$work/sparse.json" 'd["filesystems"][0]["checked_after_repair"]'
}

# Without repairs, whose times differ from run to run.
same_content() {
    "$H2K" -q local --vmdk "$stream" --to-output "$work/a.raw" --out-format raw --no-guest-inspection &&
        qemu-img compare -f raw -F vmdk "$work/a.raw" "$sparse"
    local ok=$?
    rm -f "$work/a.raw" "$work/a.xml"
    [ "$ok" -eq 0 ]
}

report_is_whole() {
    local word
    for word in '# Migration of guest' '/etc/fstab' '/etc/default/grub' 'grub.cfg' 'initrd.img' \
        'ens192' '+UUID=' 'by native: a driver' 'Verdict | pass' 'virsh' 'qemu-system' 'Timings'; do
        grep -qF -- "$word" "$work/report.md" || {
            echo "the report lacks: $word"
            return 1
        }
    done
}

# The root filesystem of the result, checked by e2fsck itself.
root_is_clean() {
    qemu-img convert -O raw "$work/guest.qcow2" "$work/guest.raw" &&
        e2fsck -fn "$work/guest.raw?offset=1048576"
    local ok=$?
    rm -f "$work/guest.raw"
    [ "$ok" -eq 0 ]
}

plan_is_empty() {
    "$H2K" local --disk "$work/guest.qcow2" --dry-run --json >"$work/again.json" &&
        json "$work/again.json" 'd["status"] == "planned" and d["overlay_bytes"] == 0' &&
        json "$work/again.json" 'all(not r["changes"] for r in d["repairs"])'
}

# domain_mac NAME: of the definition $work/NAME.xml
domain_mac() {
    sed -n "s/.*<mac address='\([^']*\)'.*/\1/p; s/.*<mac address=\"\([^\"]*\)\".*/\1/p" \
        "$work/$1.xml" | head -n 1
}

boots() {
    "$serial" --bus "$1" --nic virtio-net-pci --mac "$(domain_mac guest)" --timeout 900 \
        --run "$network" --reboot "$work/guest.qcow2"
}

proves() {
    "$H2K" boot-test --json --reboot --bus "$1" --mac "$(domain_mac sparse)" "$work/sparse.qcow2" \
        >"$work/boot.json" &&
        json "$work/boot.json" 'd["verdict"] == "pass" and d["reboots"] >= 1' &&
        json "$work/boot.json" '"ens192" in d["network"]'
}

claim "the guest boots on VMware's devices (pvscsi, vmxnet3)" \
    "$serial" --bus pvscsi --nic vmxnet3 --timeout 600 "$stream"
claim "it does not find its root on virtio before" \
    "$serial" --bus virtio-blk --nic virtio-net-pci --timeout 600 \
    --expect 'ALERT! +/dev/sda1 does not exist' "$stream"
claim "hyper2kvm local migrates it and proves that it boots" migrate
claim "the report says what was done and how to start the VM" report_is_whole
claim "the sources are bit for bit what they were" unchanged
claim "qemu-img check finds the output clean" qemu-img check "$work/guest.qcow2"
claim "e2fsck finds the output's root clean" root_is_clean
claim "the definition is valid" virt-xml-validate "$work/guest.xml" domain
claim "after: login, network and a reboot on virtio-blk" boots virtio-blk
claim "a second repair changes nothing" plan_is_empty
claim "the monolithicSparse VMDK migrates as well" migrate_sparse
claim "after that: proof, network and a reboot on virtio-scsi, by boot-test" proves virtio-scsi
claim "the streamOptimized VMDK reads as the monolithicSparse one does to qemu-img" same_content
claim "the sources are still what they were" unchanged
finish
