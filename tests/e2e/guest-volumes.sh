#!/bin/bash
# Guests that lie on more than plain partitions, or not on ext4: LVM, LUKS, UEFI with its system
# partition, each with ext4, XFS and btrfs. Each boots on VMware's devices and not on virtio before;
# after, it boots on virtio with its network, again after a reboot of its own, and each filesystem's
# own fsck finds it clean.
# usage: guest-volumes.sh [GUEST...]
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
serial=$H2K_TOP/tests/guests/boot-serial
network='ip -4 -o addr show dev ens192 | grep -q " 10\.0\.2\." && ping -c 1 -W 5 10.0.2.2'
passphrase=$(sed -n "s/^passphrase='\(.*\)'$/\1/p" "$H2K_TOP/tests/guests/recipe/volumes")
printf %s "$passphrase" >"$work/key"
guests=("$@")
[ $# -gt 0 ] || guests=(debian12-{lvm,uefi,luks}{,-xfs,-btrfs})

# The commands that check the filesystems of a guest's disk, without quotes, which guestfish would
# take away; the appliance's kernel has dm-crypt.
checks() {
    local disk=/dev/disk/guestfs/disk root=/dev/$1-vg/root boot='e2fsck -fn' fsck='e2fsck -fn'
    case $1 in
    *-xfs) fsck='xfs_repair -n' boot=$fsck ;;
    *-btrfs) fsck='btrfs check --readonly' ;;
    esac
    case $1 in
    *-uefi*) echo "fsck.vfat -n ${disk}1 && $fsck ${disk}2" && return ;;
    *-luks*) echo "echo -n $passphrase | cryptsetup open --key-file - ${disk}5 sda5_crypt &&" ;;
    esac
    echo "lvm vgchange -qq -ay $1-vg && $boot ${disk}1 && $fsck $root"
}

filesystems_are_clean() {
    LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg \
        guestfish add-drive "$work/$1.qcow2" format:qcow2 readonly:true label:disk : run : \
        debug sh "{ $(checks "$1" | tr '\n' ' '); } 2>&1"
}

# What the repairs changed was changed through the backend that can, and that is told.
migrated() {
    local disk=$1 name=$2 backend=native
    case $name in
    *-xfs | *-btrfs) backend='native, libguestfs' ;;
    esac
    "$H2K" local --disk "$disk" --to-output "$work/$name.qcow2" --report "$work/$name.json" \
        --qemu-test "${key[@]}" &&
        json "$work/$name.json" 'd["boot"]["verdict"] == "pass" and "ens192" in d["boot"]["network"]' &&
        json "$work/$name.json" "['$backend'] == [v['backend'] for k in [d['guest'], *d['guest']['disks']]
            for v in k['volumes'] if v.get('mountpoint') == '/']" &&
        virt-xml-validate "$work/$name.xml" domain && qemu-img check "$work/$name.qcow2"
}

boots_after() {
    local mac
    mac=$(sed -n "s/.*<mac address=['\"]\([^'\"]*\)['\"].*/\1/p" "$work/$1.xml" | head -n 1)
    "$serial" --bus virtio-blk --nic virtio-net-pci --mac "$mac" --timeout 1800 "${firmware[@]}" \
        --run "$network" --reboot "$work/$1.qcow2"
}

again() {
    "$H2K" local --disk "$work/$1.qcow2" --dry-run --json "${key[@]}" >"$work/again.json" &&
        json "$work/again.json" 'd["overlay_bytes"] == 0 and all(not r["changes"] for r in d["repairs"])'
}

for name in "${guests[@]}"; do
    disk=$(guest "$name" raw)
    sum=$(sha256sum "$disk")
    firmware=() key=() controller=pvscsi
    case $name in
    *-uefi*) firmware=(--uefi) controller=ahci ;;
    *-luks*) key=("--key=all:file:$work/key") ;;
    esac
    claim "$name boots on VMware's devices ($controller, vmxnet3)" \
        "$serial" --bus "$controller" --nic vmxnet3 --timeout 900 "${firmware[@]}" --run "$network" "$disk"
    claim "$name does not find its root on virtio before" \
        "$serial" --bus virtio-blk --nic virtio-net-pci --timeout 900 "${firmware[@]}" \
        --expect 'ALERT! [\s\S]{0,150}does\s+not\s+exist' "$disk"
    claim "$name migrates and is proven to boot on virtio" migrated "$disk" "$name"
    claim "$name: login, network and a reboot" boots_after "$name"
    claim "$name: fsck finds the filesystems clean" filesystems_are_clean "$name"
    claim "$name needs no second repair" again "$name"
    claim "$name's source is what it was" sha256sum -c <<<"$sum"
    rm -f "$work/$name".*
done
finish
