#!/bin/bash
# Guests that lie on more than plain partitions: LVM, LUKS, UEFI with its system partition. Each boots
# on VMware's devices and not on virtio before; after, it boots on virtio with its network, again
# after a reboot of its own, and each filesystem's own fsck finds it clean.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
serial=$H2K_TOP/tests/guests/boot-serial
network='ip -4 -o addr show dev ens192 | grep -q " 10\.0\.2\." && ping -c 1 -W 5 10.0.2.2'
passphrase=$(sed -n "s/^passphrase='\(.*\)'$/\1/p" "$H2K_TOP/tests/guests/recipe/volumes")
printf %s "$passphrase" >"$work/key"
guests=(debian12-lvm debian12-uefi debian12-luks)

# What a guest takes besides: GUEST | options of boot-serial | of hyper2kvm | VMware's controller
needs=(
    "debian12-uefi|--uefi||ahci"
    "debian12-luks||--key=all:file:$work/key|pvscsi"
)

# The commands that check the filesystems of a guest's disk, without quotes, which guestfish would
# take away; the appliance's kernel has dm-crypt.
checks() {
    local group=$1-vg disk=/dev/disk/guestfs/disk
    case $1 in
    *-uefi) echo "fsck.vfat -n ${disk}1 && e2fsck -fn ${disk}2" && return ;;
    *-luks) echo "echo -n $passphrase | cryptsetup open --key-file - ${disk}5 sda5_crypt &&" ;;
    esac
    echo "lvm vgchange -qq -ay $group && e2fsck -fn ${disk}1 && e2fsck -fn /dev/$group/root"
}

filesystems_are_clean() {
    LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg \
        guestfish add-drive "$work/$1.qcow2" format:qcow2 readonly:true label:disk : run : \
        debug sh "{ $(checks "$1" | tr '\n' ' '); } 2>&1"
}

# The boot test has no key with which to put its unit into an encrypted root: the login prompt is its
# proof there, and the next claim looks at the network.
migrated() {
    local disk=$1 name=$2 proof='d["boot"]["verdict"] == "pass"'
    [ ${#key[@]} -gt 0 ] || proof+=' and "ens192" in d["boot"]["network"]'
    "$H2K" local --disk "$disk" --to-output "$work/$name.qcow2" --report "$work/$name.json" \
        --qemu-test "${key[@]}" &&
        json "$work/$name.json" "$proof" &&
        virt-xml-validate "$work/$name.xml" domain && qemu-img check "$work/$name.qcow2"
}

boots_after() {
    local mac
    mac=$(sed -n "s/.*<mac address=['\"]\([^'\"]*\)['\"].*/\1/p" "$work/$1.xml" | head -n 1)
    "$serial" --bus virtio-blk --nic virtio-net-pci --mac "$mac" --timeout 900 "${firmware[@]}" \
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
    for row in "${needs[@]}"; do
        IFS='|' read -r who option1 option2 bus <<<"$row"
        [ "$who" != "$name" ] || {
            firmware=(${option1:+"$option1"})
            key=(${option2:+"$option2"})
            controller=$bus
        }
    done
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
