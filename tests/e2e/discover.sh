#!/bin/bash
# e2e/discover.sh - hyper2kvm discover: attached disks (loop devices), images in all formats and
# folders of them, pools, who uses what, who may read what. What is looked at is never written.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck source=tests/e2e/lib.sh
source "${H2K_TOP:?the source tree}/tests/e2e/lib.sh" || exit 1

PATH=$PATH:/usr/sbin:/sbin
for tool in sfdisk mke2fs mkfs.vfat mcopy mmd qemu-img zstd grub-mkimage python3; do
    command -v $tool >/dev/null || skip_all "$tool is not installed"
done
grub=/usr/lib/grub/i386-pc
[ -f $grub/boot.img ] || skip_all "GRUB for BIOS is not installed"
loops=()
daemon=
cleanup() {
    local loop
    umount "$work"/mnt* 2>/dev/null
    for loop in "${loops[@]}"; do
        swapoff "$loop" 2>/dev/null
        for part in 1 2 3; do delpart "$loop" $part 2>/dev/null; done
        losetup -d "$loop" 2>/dev/null
    done
    [ -z "$daemon" ] || kill "$daemon"
    rm -rf "$work"
}
trap cleanup EXIT

# discover ARGUMENTS...: the JSON of it in $work/json
discover() {
    "$H2K" discover --json "$@" >"$work/json" 2>"$work/err"
    local code=$?
    cat "$work/err" "$work/json"
    return $code
}

# found EXPRESSION PATH...: whether it holds of the document, and of the first disk k
found() {
    local expression=$1
    shift
    discover "$@" && json "$work/json" "(lambda k: $expression)(d['disks'][0])"
}

roles() {
    found "[p['role'] for p in k['partitions']] == [$1]" "$2"
}

# --- a small system: GPT with a BIOS boot partition, an ESP, and Debian on ext4 -------------------

MIB=1048576
part_table() {
    sfdisk -q "$1" <<END
label: gpt
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649
start=4096, size=69632, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=73728, size=${2:-102400}, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
END
}

# with_grub DISK: GRUB as grub-install would put it there; the core's sector is at byte 92
with_grub() {
    grub-mkimage -O i386-pc -o "$work/core" -p /boot/grub biosdisk part_gpt ext2 || return 1
    head -c 440 $grub/boot.img | dd of="$1" conv=notrunc status=none &&
        printf '\0\10\0\0\0\0\0\0' | dd of="$1" bs=1 seek=92 conv=notrunc status=none &&
        dd if="$work/core" of="$1" bs=1M seek=1 conv=notrunc status=none
}

# esp FILE VENDOR: the filesystem of an ESP with a loader
esp() {
    rm -f "$1"
    truncate -s $((34 * MIB)) "$1" && mkfs.vfat -F 32 "$1" >/dev/null && echo loader >"$work/loader" &&
        mmd -i "$1" ::/EFI ::/EFI/BOOT "::/EFI/$2" &&
        mcopy -i "$1" "$work/loader" ::/EFI/BOOT/BOOTX64.EFI &&
        mcopy -i "$1" "$work/loader" "::/EFI/$2/grubx64.efi"
}

# system FOLDER NAME: the files that make it one
system() {
    mkdir -p "$1"/{etc,bin,boot,usr/bin,var/lib/dpkg,lib/modules,sbin} &&
        printf 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n' >"$1/etc/os-release" &&
        echo "$2" >"$1/etc/hostname" && echo root:x:0:0::/root:/bin/sh >"$1/etc/passwd" &&
        echo '/dev/sda3 / ext4 defaults 0 1' >"$1/etc/fstab" && : >"$1/bin/sh" &&
        printf 'Package: base-files\nStatus: install ok installed\nVersion: 12.4\n\n' >"$1/var/lib/dpkg/status"
}

make_disk() {
    rm -f "$1"
    truncate -s $((96 * MIB)) "$1" && part_table "$1" && with_grub "$1" && esp "$work/esp" debian &&
        dd if="$work/esp" of="$1" bs=1M seek=2 conv=notrunc status=none &&
        mke2fs -q -F -t ext4 -d "$2" -E offset=$((36 * MIB)) "$1" 50M 2>/dev/null
}

system "$work/root" server1
claim "a small system's disk is made" make_disk "$work/disk.raw" "$work/root"
disk=$work/disk.raw
sum=$(sha256sum <"$disk")
claim "Debian, its version and its host's name are read from its files" \
    found "k['system']['distro'] == 'debian' and k['system']['version'] == '12' and
        k['system']['hostname'] == 'server1' and k['system']['source'] == 'files'" "$disk"
claim "BIOS boot, ESP and root have their roles" roles "'bios-boot', 'esp', 'root'" "$disk"
claim "both kinds of firmware start it, and it needs no other disk" \
    found "k['firmware'] == 'both' and k['bootable'] and k['boots_alone'] and not k['lacks']" "$disk"

only() {
    cp "$disk" "$work/other.raw" && dd if=/dev/zero of="$work/other.raw" bs=1 count="$2" seek="$1" \
        conv=notrunc status=none && found "k['firmware'] == '$3' and k['bootable'] == ('$3' != 'none')" "$work/other.raw"
}
claim "without boot code it is UEFI's alone" only 0 440 uefi
claim "without GRUB's core it is UEFI's alone" only $MIB 100000 uefi
claim "without the ESP's filesystem it is BIOS's alone" only $((2 * MIB)) 1000000 bios
neither() {
    only $((2 * MIB)) 1000000 bios && dd if=/dev/zero of="$work/other.raw" bs=440 count=1 conv=notrunc status=none &&
        found "k['firmware'] == 'none' and not k['bootable'] and 'boot loader' in k['lacks'][0] and
            k['system']['hostname'] == 'server1'" "$work/other.raw"
}
claim "without both it does not boot, and says what it lacks" neither

proxmox() {
    cp -r "$work/root" "$work/pve" && printf '%s\n' 'Package: pve-manager' \
        'Status: install ok installed' 'Version: 8.2.4' '' >>"$work/pve/var/lib/dpkg/status" &&
        make_disk "$work/pve.raw" "$work/pve" &&
        found "k['system']['product'] == 'proxmox-ve' and k['system']['product_version'] == '8.2.4' and
            k['system']['name'] == 'Proxmox VE 8.2.4' and k['resources']['memory_mib'] >= 2048" "$work/pve.raw"
}
claim "a Debian with pve-manager is a Proxmox VE" proxmox
removed() {
    sed -i 's/^Status: install ok installed$/Status: deinstall ok config-files/' "$work/pve/var/lib/dpkg/status" &&
        make_disk "$work/pve.raw" "$work/pve" &&
        found "'product' not in k['system'] and k['system']['distro'] == 'debian'" "$work/pve.raw"
}
claim "but not when it was removed" removed

# --- memory and CPUs ------------------------------------------------------------------------------

sized() {
    found "k['resources']['memory_mib'] <= max(d['host']['memory_mib'] // 2, 2048) and
        1 <= k['resources']['vcpus'] <= d['host']['cpus'] and k['resources']['why_memory']" "$disk"
}
claim "memory and CPUs of a VM fit the host, with the reason" sized

# --- formats and folders --------------------------------------------------------------------------

formats=(qcow2 vmdk vhdx vpc vdi)
mkdir "$work/images"
for format in "${formats[@]}"; do
    converted() {
        qemu-img convert -q -O "$format" "$disk" "$work/images/a.$format" &&
            found "k['system']['hostname'] == 'server1' and k['firmware'] == 'both'" "$work/images/a.$format"
    }
    claim "the same system is found in a $format" converted
done
each_once() {
    local d=$work/folder
    mkdir "$d" "$d/below" && qemu-img convert -q -O vmdk -o subformat=twoGbMaxExtentSparse "$disk" "$d/split.vmdk" &&
        qemu-img convert -q -O vmdk -o subformat=monolithicFlat "$disk" "$d/flat.vmdk" &&
        qemu-img convert -q -O qcow2 "$disk" "$d/base.qcow2" &&
        qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 "$d/middle.qcow2" &&
        qemu-img create -q -f qcow2 -F qcow2 -b middle.qcow2 "$d/top.qcow2" &&
        cp "$disk" "$d/raw.img" && cp "$disk" "$d/below/raw.img" && ln -s .. "$d/below/up" &&
        echo text >"$d/notes.txt" && head -c 100000 /dev/urandom >"$d/random.bin" &&
        discover "$d" && json "$work/json" "(sorted(k['path'].split('/')[-1] for k in d['disks']) ==
            ['flat.vmdk', 'raw.img', 'split.vmdk', 'top.qcow2'])"
}
claim "of a folder each chain and each split image counts once" each_once
deeper() {
    discover --recursive "$work/folder" && json "$work/json" "len(d['disks']) == 5"
}
claim "folders below it with --recursive, and links do not lead in circles" deeper
broken() {
    rm "$work/folder/base.qcow2"
    status 3 discover "$work/folder" && json "$work/json" "[k['path'].split('/')[-1] for k in d['disks']
        if 'error' in k] == ['middle.qcow2', 'top.qcow2'] and len(d['disks']) == 5"
}
claim "images of a broken chain are told of, and the exit code says so" broken
claim "a path that is not there is told of, and the exit code says so" status 3 discover "$work/nothing"
no_secret() {
    status 3 discover "http://me:secret@127.0.0.1:1/disk.raw" && json "$work/json" "d['disks'][0]['kind'] == 'remote'" &&
        ! grep -q secret "$work/json" "$work/err"
}
claim "a URI is shown without its password" no_secret
hostile() {
    local name=$work/$'a\033[31mb\nc.raw'
    cp "$disk" "$name" && "$H2K" discover --details "$name" >"$work/out" 2>&1 && cat -v "$work/out" &&
        ! grep -q $'\033' "$work/out" && grep -qF 'a\x1b[31mb' "$work/out"
}
claim "names are escaped" hostile
hostile_guest() {
    printf 'evil\033]0;x\007' >"$work/root/etc/hostname" && make_disk "$work/other.raw" "$work/root" &&
        "$H2K" discover --details "$work/other.raw" >"$work/out" && cat -v "$work/out" &&
        ! grep -q $'\033' "$work/out" && grep -q 'evil' "$work/out"
}
claim "and what guests call themselves" hostile_guest
narrow() {
    "$H2K" discover --details "$disk" "$work"/images/* "$work/nothing" >"$work/out"
    cat "$work/out"
    python3 - "$work/out" <<END
import sys
lines = [l.rstrip('\n') for l in open(sys.argv[1], encoding='utf-8')]
long = [l for l in lines if len(l) > 80 and '$work' not in l]
print(long)
sys.exit(bool(long))
END
}
claim "the table fits 80 columns" narrow

# --- members of something larger ------------------------------------------------------------------

# sample NAME: the disks of a sample, unpacked
sample() {
    mkdir -p "$work/$1"
    for packed in "$H2K_TOP/tests/fixtures/$2/$1"/disk*.zst; do
        zstd -q -d -f "$packed" -o "$work/$1/$(basename "$packed" .zst).raw" || return 1
    done
}
lvm_part() {
    sample lvm-striped volumes && found "[p['role'] for p in k['partitions']] == ['lvm'] and k['lacks'] and
        not k['boots_alone']" "$work/lvm-striped/disk1.raw"
}
claim "one physical volume of several lacks the others" lvm_part
md_part() {
    sample md0-1.2 volumes && found "[p['role'] for p in k['partitions']] == ['md'] and k['lacks']" \
        "$work/md0-1.2/disk1.raw"
}
claim "one member of a RAID 0 lacks the others" md_part
luks() {
    sample luks1 volumes && found "'luks' in [p['role'] for p in k['partitions']] and not k['lacks']" \
        "$work/luks1/disk1.raw"
}
claim "a LUKS container is one" luks

# --- Windows --------------------------------------------------------------------------------------

windows_roles() {
    local firmware=$1 roles=$2
    rm -f "$work/windows.img"
    "$H2K_TOP/tests/windows/make-guest" --release w10 --firmware "$firmware" --recovery --size 2048 \
        --hostname DESK --answers "$work/answers" "$work/windows.img" &&
        found "[p['role'] for p in k['partitions']] == [$roles] and k['firmware'] == '$firmware' and
            'Windows 10' in k['system']['name'] and k['system']['hostname'] == 'DESK' and k['boots_alone'] and
            k['resources']['memory_mib'] >= 2048" "$work/windows.img"
}
if command -v mkntfs >/dev/null && command -v hivexregedit >/dev/null; then
    claim "Windows of UEFI, its reserved and its recovery partition" \
        windows_roles uefi "'esp', 'msr', 'windows', 'windows-recovery'"
    claim "Windows of BIOS, and what it is started from" \
        windows_roles bios "'windows-boot', 'windows', 'windows-recovery'"
    two_systems() {
        rm -f "$work/windows.img"
        "$H2K_TOP/tests/windows/make-guest" --release w10 --firmware bios --two-systems w7 --size 3072 \
            --answers "$work/answers" "$work/windows.img" &&
            found "k['system'] and k['bootable'] and any('2 operating systems' in w for w in k['warnings'])" "$work/windows.img"
    }
    claim "of two systems on a disk the first one is named, and both are told of" two_systems
    rm -f "$work/windows.img"
else
    skip "Windows guests" "mkntfs or hivexregedit is not installed"
fi

# --- pools ----------------------------------------------------------------------------------------

pool() {
    sample mirror zfs && found "[(p['type'], p['name'], p['hostname'], p['state'], p['complete'], p['vdev'])
        for p in k['pools']] == [('zfs', 'tank', 'vm', 'active', True, 'mirror')] and
        k['partitions'][0]['role'] == 'zfs' and k['partitions'][0]['pool'] == 'tank'" "$work/mirror/disk2.raw"
}
claim "half of a ZFS mirror: the pool and its host are named, and it is complete" pool
raidz() {
    sample raidz zfs && found "not k['pools'][0]['complete'] and '/tmp/disks/c' in k['pools'][0]['missing'] and
        'rz' in k['lacks'][0]" "$work/raidz/disk2.raw"
}
claim "one disk of a RAID-Z lacks the others, which are named" raidz
# The pools of the samples were made by zfs-fuse; here is one that lives.
if command -v zpool >/dev/null && command -v zfs-fuse >/dev/null && is_root && ! zpool list >/dev/null 2>&1; then
    zfs-fuse -n --no-kstat-mount >"$work/zfs.log" 2>&1 &
    daemon=$!
    living() {
        for _ in $(seq 50); do
            zpool list >/dev/null 2>&1 && break
            sleep 0.2
        done
        truncate -s 64M "$work"/z{1,2,3}.raw && name=h2k$$ &&
            zpool create -f -o cachefile=none "$name" raidz1 "$work"/z{1,2,3}.raw && guid=$(zpool get guid "$name" | awk 'END { print $3 }') &&
            found "[(p['name'], p['guid'], p['hostname'], p['state'], p['vdev'], p['complete'], p['sound'])
                for p in k['pools']] == [('$name', '$guid', '$(uname -n)', 'active', 'raidz', False, True)] and
                '$work/z1.raw' in k['pools'][0]['missing']" "$work/z2.raw" &&
            zpool export "$name" && found "k['pools'][0]['state'] == 'exported'" "$work/z2.raw"
    }
    claim "a pool that is in use, and once it is exported" living
    kill "$daemon"
    daemon=
else
    skip "a pool that is in use, and once it is exported" "zfs-fuse is not installed or runs already"
fi
foreign() {
    local file=$work/foreign.raw
    rm -f "$file"
    truncate -s 64M "$file" && python3 - "$file" "$1" <<'END'
import struct, sys
f = open(sys.argv[1], 'r+b')
if sys.argv[2] == 'ceph':
    f.write(b'bluestore block device\n')
elif sys.argv[2] == 'refs':
    f.write(b'\0\0\0ReFS\0')
elif sys.argv[2] == 'vmfs':
    f.seek(0x100000)
    f.write(b'\r\xd0\x01\xc0')
END
    roles "'$1'" "$file"
}
for kind in ceph refs vmfs; do
    claim "what we cannot read is named: $kind" foreign $kind
done
zfs_root() {
    local entries=$work/entry.conf
    rm -f "$work/zfs.raw"
    truncate -s $((104 * MIB)) "$work/zfs.raw" && part_table "$work/zfs.raw" 131072 && esp "$work/esp" proxmox &&
        mmd -i "$work/esp" ::/loader ::/loader/entries &&
        printf 'title    Proxmox Virtual Environment\nversion  6.8.12-1-pve\noptions  root=ZFS=rpool/ROOT/pve-1 boot=zfs\n' \
            >"$entries" && mcopy -i "$work/esp" "$entries" ::/loader/entries/proxmox-6.8.12-1-pve.conf &&
        dd if="$work/esp" of="$work/zfs.raw" bs=1M seek=2 conv=notrunc status=none &&
        dd if="$work/mirror/disk1.raw" of="$work/zfs.raw" bs=1M seek=36 conv=notrunc status=none &&
        found "k['system']['name'] == 'Proxmox Virtual Environment' and k['system']['source'] == 'boot loader' and
            k['system']['kernel'] == '6.8.12-1-pve' and k['pools'][0]['name'] == 'tank' and
            k['firmware'] == 'uefi' and k['boots_alone']" "$work/zfs.raw"
}
claim "a root on ZFS cannot be read, but its loader says what it is" zfs_root

# --- attached disks -------------------------------------------------------------------------------

# attach FILE SECTOR: a loop device in $loop
attach() {
    loop=$(losetup -f --show --sector-size "$2" "$1") && loops+=("$loop")
}
# of_loop EXPRESSION: of the disk $loop among all that are attached
of_loop() {
    discover >/dev/null
    json "$work/json" "any(k['path'] == '$loop' and ($1) for k in d['disks'])" ||
        { cat "$work/json"; return 1; }
}
if has_loop_devices; then
    attached() {
        attach "$disk" 512 && of_loop "k['kind'] == 'disk' and k['transport'] == 'loop' and not k['in_use'] and
            k['logical_sector_size'] == 512 and k['system']['hostname'] == 'server1' and
            k['backing_file'] == '$disk' and k['milliseconds'] < 5000"
    }
    claim "a disk that is attached is found without being named" attached
    exclusive() {
        python3 -c 'import os, subprocess, sys
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_EXCL)
sys.exit(subprocess.call(["bash", "-c", sys.argv[2]]))' "$loop" \
            "\"$H2K\" discover --json '$loop' >'$work/json'" &&
            json "$work/json" "(d['disks'][0]['in_use'] and d['disks'][0]['users'][0]['uses'] == ['exclusive'] and
                d['disks'][0]['system']['hostname'] == 'server1')"
    }
    claim "one that a program holds exclusively is in use, and read all the same" exclusive
    if addpart "$loop" 3 73728 102400 2>/dev/null; then
        partition() {
            found "k['kind'] == 'partition' and k['whole_disk'] == '$loop'" "${loop}p3"
        }
        claim "a partition names the disk that it belongs to" partition
        mounted() {
            mkdir -p "$work/mnt" && mount -o ro,noload "${loop}p3" "$work/mnt" &&
                of_loop "k['users'][0]['device'] == '${loop}p3' and k['users'][0]['mountpoints'] == ['$work/mnt'] and
                    k['users'][0]['text'] == 'mounted on $work/mnt'" && umount "$work/mnt"
        }
        claim "a disk of which a partition is mounted is in use" mounted
        delpart "$loop" 3
    else
        skip "partitions of attached disks" "the kernel does not make any of loop devices"
    fi
    whole() {
        mkfs.ext4 -q -F -b 4096 "$work/whole.raw" 64M 2>/dev/null && attach "$work/whole.raw" 4096 && mkdir -p "$work/mnt2" &&
            of_loop "k['logical_sector_size'] == 4096 and not k['in_use'] and k['partitions'][0]['type'] == 'ext4'" &&
            mount -o ro "$loop" "$work/mnt2" && of_loop "k['in_use'] and k['users'][0]['uses'] == ['mounted']" &&
            umount "$work/mnt2"
    }
    claim "with sectors of 4096 bytes, and mounted as a whole" whole
    if [ -e /proc/swaps ]; then
        swap() {
            truncate -s 64M "$work/swap.raw" && mkswap -q "$work/swap.raw" && attach "$work/swap.raw" 512 &&
                swapon "$loop" && of_loop "k['users'][0]['uses'] == ['swap'] and k['partitions'][0]['role'] == 'swap'" &&
                swapoff "$loop"
        }
        claim "one that is swapped to" swap
    fi
    if dmsetup version >/dev/null 2>&1; then
        lvm() {
            truncate -s 64M "$work/pv.raw" && attach "$work/pv.raw" 512 && pvcreate -q "$loop" &&
                vgcreate -q "h2ktest$$" "$loop" && lvcreate -q -n root -L 8M "h2ktest$$" &&
                of_loop "'lvm' in k['users'][0]['uses'] and k['users'][0]['stack'] == ['LVM h2ktest$$']"
            local code=$?
            vgremove -qf "h2ktest$$"
            return $code
        }
        claim "one with active logical volumes" lvm
    else
        skip "one with active logical volumes" "this kernel has no device mapper"
    fi
    other=$work/other-user
    nobody() {
        chmod 711 "$work" && chmod 600 "$disk" && "$H2K" discover --json >/dev/null
        setpriv --reuid 65534 --regid 65534 --clear-groups "$H2K" discover --json >"$other"
        local code=$?
        cat "$other"
        [ $code -eq 3 ] && json "$other" "any(k['path'] == '$loop' and 'Permission denied' in k['error']['message'] and
            'root' in k['error']['advice'] and k['transport'] == 'loop' and k['size'] for k in d['disks'])"
    }
    if setpriv --reuid 65534 --regid 65534 --clear-groups "$H2K" --version >/dev/null 2>&1; then
        claim "who may not read a disk is told which, why, and what to do" nobody
    else
        skip "who may not read a disk is told which, why, and what to do" \
            "the program is in a folder that other users cannot enter"
    fi
else
    skip "attached disks" "loop devices cannot be set up"
fi
same() {
    [ "$(sha256sum <"$disk")" = "$sum" ]
}
claim "the disk is as it was" same
if command -v strace >/dev/null; then
    read_only() {
        strace -f -qq -e trace=openat,mount -o "$work/trace" "$H2K" discover "$disk" >/dev/null &&
            ! grep -F "$disk" "$work/trace" | grep -E 'O_RDWR|O_WRONLY' && ! grep 'mount(' "$work/trace"
    }
    claim "it was opened for reading only" read_only
fi
finish
