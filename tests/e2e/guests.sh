#!/bin/bash
# The other guests: each does not boot on virtio before (within five times what it takes after; some
# wait for their disk for ever and say nothing) and boots with its network after. Those on more than
# plain partitions are in guest-volumes.sh.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
serial=$H2K_TOP/tests/guests/boot-serial

migrated() {
    local disk=$1 name=$2
    "$H2K" local --disk "$disk" --to-output "$work/$name.qcow2" --report "$work/$name.json" \
        --force --qemu-test &&
        json "$work/$name.json" 'd["boot"]["verdict"] == "pass"' &&
        json "$work/$name.json" '"ens192" in d["boot"]["network"]' &&
        qemu-img check "$work/$name.qcow2"
}

again() {
    "$H2K" local --disk "$work/$1.qcow2" --dry-run --json >"$work/again.json" &&
        json "$work/again.json" 'd["overlay_bytes"] == 0 and all(not r["changes"] for r in d["repairs"])'
}

for name in $("$H2K_TOP/tests/guests/build" --list plain | awk '{print $1}' | grep -vE '^debian12-(vmware|uefi)$'); do
    disk=$(guest "$name" raw)
    sum=$(sha256sum "$disk")
    fails "$name does not boot on virtio before" \
        "$serial" --bus virtio-blk --nic virtio-net-pci --timeout 300 "$disk"
    claim "$name boots on virtio after, with its network" migrated "$disk" "$name"
    claim "$name needs no second repair" again "$name"
    claim "$name's source is what it was" sha256sum -c <<<"$sum"
    rm -f "$work/$name".*
done
finish
