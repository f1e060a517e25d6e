#!/bin/bash
# What differs between two states of a clone, on the filesystems and volumes that guests have: FAT,
# NTFS, btrfs with subvolumes, ext4 on LVM, on LUKS and on both; and what changes without a trace in
# a file's times.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
has_loop_devices || skip_all "no loop devices here"
[ -c /dev/fuse ] || skip_all "no FUSE here, by which the clones' images are written to"
store=$work/store
mnt=$work/mnt
mkdir "$mnt"

# exported NAME COMMAND...: run COMMAND with what the clone's VM would write to as a raw disk in
# $disk
exported() {
    local image=$store/clones/$1/current/disk.qcow2 pid ok=0
    shift
    disk=$work/export
    : >"$disk"
    qemu-storage-daemon --blockdev "driver=file,node-name=f,filename=$image" \
        --blockdev driver=qcow2,node-name=q,file=f,discard=unmap \
        --export "type=fuse,id=e,node-name=q,mountpoint=$disk,writable=on" \
        --pidfile "$work/pid" --daemonize || return 1
    pid=$(cat "$work/pid")
    "$@" || ok=1
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    return "$ok"
}

# mounted TYPE[,OPTIONS] START SECTORS COMMAND...: run COMMAND in the filesystem at that place of $disk
mounted() {
    local type=$1 start=$2 size=$3 options='' dev ok=0
    shift 3
    [[ $type != *,* ]] || options=${type#*,}
    dev=$(losetup -f --show -o $((start * 512)) --sizelimit $((size * 512)) "$disk") || return 1
    if mount -t "${type%%,*}" ${options:+-o "$options"} "$dev" "$mnt"; then
        (cd "$mnt" && "$@") || ok=1
        umount "$mnt" || ok=1
    else
        ok=1
    fi
    losetup -d "$dev"
    return "$ok"
}

# patch OLD NEW: the bytes OLD, which are in one place of $disk, become NEW, past every filesystem
patch() {
    python3 - "$disk" "$1" "$2" <<'PYTHON'
import mmap, sys
path, old, new = sys.argv[1], sys.argv[2].encode(), sys.argv[3].encode()
assert len(old) == len(new)
with open(path, "r+b") as f:
    data = f.read()
    at = data.find(old)
    assert at >= 0 and data.find(old, at + 1) < 0, (at, data.find(old, at + 1))
    f.seek(at)
    f.write(new)
PYTHON
}

# says NAME [OPTION...] <<LINES: these are the lines of clone diff about files and volumes, in order
says() {
    cat >"$work/wanted"
    clone diff "$@" >"$work/said" || return 1
    sed '$d; /^note: .*no system/d' "$work/said" | diff "$work/wanted" - || {
        cat "$work/said"
        return 1
    }
}

# made RAW MKFS START SECTORS OPTION...: a filesystem at that place of RAW
made() {
    local mkfs=$2 start=$3 size=$4 dev ok=0
    dev=$(losetup -f --show -o $((start * 512)) --sizelimit $((size * 512)) "$1") || return 1
    shift 4
    "$mkfs" "$@" "$dev" >"$work/mkfs.log" 2>&1 || ok=1
    [ "$ok" -eq 0 ] || cat "$work/mkfs.log"
    losetup -d "$dev"
    return "$ok"
}

# --- FAT ----------------------------------------------------------------------------------------

# The ESP, written with mtools.
fat() {
    local esp
    truncate -s 44M "$work/fat.raw" && echo 'start=2048, size=81920, type=U' | sfdisk -q --label gpt "$work/fat.raw" &&
        made "$work/fat.raw" mkfs.vfat 2048 81920 -F 32 || return 1
    esp=$work/fat.raw@@1M
    for name in boot quiet moved long gone; do
        { echo "fat-$name-AAAA" && head -c 50000 /dev/urandom; } >"$work/$name"
        touch -d '2024-05-06 07:08:10' "$work/$name"
    done
    mmd -i "$esp" ::EFI ::EFI/BOOT && mcopy -m -i "$esp" "$work/boot" ::EFI/BOOT/BOOTX64.EFI &&
        mcopy -m -i "$esp" "$work/quiet" "$work/moved" "$work/gone" ::EFI/ && mcopy -m -i "$esp" "$work/long" "::EFI/a long näme.efi" &&
        clone create --no-repair "$work/fat.raw" fat && says fat </dev/null || return 1
    sed s/AAAA/BBBB/ "$work/boot" >"$work/boot.new"
    touch -r "$work/boot" "$work/boot.new"
    exported fat change_fat && says fat <<'LINES'
M disk 1, partition 1:/EFI/BOOT/BOOTX64.EFI (content)
M disk 1, partition 1:/EFI/a long näme.efi (mode 0755 to 0555)
A disk 1, partition 1:/EFI/added
D disk 1, partition 1:/EFI/gone
D disk 1, partition 1:/EFI/moved
M disk 1, partition 1:/EFI/quiet (content)
A disk 1, partition 1:/EFI/renamed
LINES
}

# What was written keeps its size and its time.
change_fat() {
    mcopy -o -m -i "$disk@@1M" "$work/boot.new" ::EFI/BOOT/BOOTX64.EFI && mren -i "$disk@@1M" ::EFI/moved ::EFI/renamed &&
        mattrib -i "$disk@@1M" +r "::EFI/a long näme.efi" && mdel -i "$disk@@1M" ::EFI/gone && patch fat-quiet-AAAA fat-quiet-BBBB &&
        mcopy -m -i "$disk@@1M" "$work/long" ::EFI/added
}

# --- NTFS ---------------------------------------------------------------------------------------

fill_ntfs() {
    mkdir -p Windows/System32 docs many
    echo resident-AAAA >docs/resident && echo same >docs/attributes && echo same >docs/streams
    for name in big quiet hard; do { echo "ntfs-$name-AAAA" && head -c 100000 /dev/urandom; } >docs/$name || return 1; done
    truncate -s 2M docs/sparse && ln docs/hard docs/other && ln -s big docs/link && echo x >docs/gone && echo x >docs/moved
    for n in $(seq 200); do echo "$n" >"many/f$n"; done
    echo 1 >'docs/ümläut €' && echo 1 >"docs/$(printf 'new\nline')" && setfattr -n user.stream -v one docs/streams
}

change_ntfs() {
    echo more >>docs/big && rm docs/gone && mv docs/moved docs/renamed && ln -sfn quiet docs/link && mkdir new && echo in >new/in
    printf y | dd of=docs/sparse bs=1 seek=1000000 conv=notrunc status=none
    setfattr -n user.stream -v two docs/streams && setfattr -n system.ntfs_attrib -v 0x27000000 docs/attributes
    echo 2 >'docs/ümläut €' && echo 2 >"docs/$(printf 'new\nline')" && rm docs/other && echo more >>docs/hard
}

ntfs() {
    disk=$work/ntfs.raw
    truncate -s 36M "$disk" && echo 'start=2048, size=65536, type=7' | sfdisk -q "$disk" &&
        made "$disk" mkntfs 2048 65536 -q -F && mounted ntfs-3g,special_files=wsl 2048 65536 fill_ntfs &&
        clone create --no-repair "$work/ntfs.raw" ntfs && says ntfs </dev/null || return 1
    sleep 0.1
    exported ntfs changed_ntfs && says ntfs <<'LINES'
M disk 1, partition 1:/docs/attributes (mode 0755 to 0555, times, xattrs)
M disk 1, partition 1:/docs/big (content, times)
D disk 1, partition 1:/docs/gone
M disk 1, partition 1:/docs/hard (content, times, links)
M disk 1, partition 1:/docs/link (times, target, xattrs)
D disk 1, partition 1:/docs/moved
M disk 1, partition 1:/docs/new\x0aline (content, times)
D disk 1, partition 1:/docs/other
M disk 1, partition 1:/docs/quiet (content)
A disk 1, partition 1:/docs/renamed
M disk 1, partition 1:/docs/resident (content)
M disk 1, partition 1:/docs/sparse (content, times)
M disk 1, partition 1:/docs/streams (times, xattrs)
M disk 1, partition 1:/docs/ümläut € (content, times)
A disk 1, partition 1:/new
A disk 1, partition 1:/new/in
LINES
}

# Two files keep all of their times: one that has clusters of its own, and one that lies in its record.
changed_ntfs() {
    mounted ntfs-3g,special_files=wsl 2048 65536 change_ntfs && patch ntfs-quiet-AAAA ntfs-quiet-BBBB &&
        patch resident-AAAA resident-BBBB
}

# --- btrfs --------------------------------------------------------------------------------------

fill_btrfs() {
    btrfs -q subvolume create @ && btrfs -q subvolume create @home && btrfs -q subvolume create @home/nested || return 1
    mkdir @/etc @/home @/bin @/sbin @/usr @/lib @/boot @home/user
    printf 'ID=debian\nVERSION_ID="12"\n' >@/etc/os-release && echo 'root:x:0:0::/root:/bin/sh' >@/etc/passwd
    printf 'LABEL=guest / btrfs subvol=@ 0 0\nLABEL=guest /home btrfs subvol=/@home 0 0\n' >@/etc/fstab
    head -c 300000 /dev/urandom >@home/user/quiet && echo one >@home/user/one && echo in >@home/nested/in && echo old >@/etc/old
    mkfifo @home/user/pipe && mknod @/etc/null c 1 3 && truncate -s 50M @home/user/sparse && ln -s one @home/user/link
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("@/etc/socket")'
    echo 1 >"$(printf '@home/user/\033[2J\n\xfe')" && ln @home/user/one @home/user/hard && echo top >top
}

# The times of what is written are put back, but for the one that nobody can.
change_btrfs() {
    touch -r @home/user/quiet "$work/time" && printf z | dd of=@home/user/quiet bs=1 seek=200000 conv=notrunc status=none &&
        touch -r "$work/time" @home/user/quiet || return 1
    printf z | dd of=@home/user/sparse bs=1 seek=40000000 conv=notrunc status=none
    mv @/etc/old @/etc/new && ln -sfn sparse @home/user/link && echo two >@home/nested/in && rm @home/user/hard
    rm @home/user/pipe && mknod @home/user/pipe p && echo 2 >"$(printf '@home/user/\033[2J\n\xfe')" && rm @/etc/null && mknod @/etc/null c 1 5
    echo changed >top && btrfs -q subvolume snapshot -r @home @snapshot && rm @/etc/socket
}

btrfs_guest() {
    disk=$work/btrfs.raw
    truncate -s 132M "$disk" && echo 'start=2048, size=268288, type=83' | sfdisk -q "$disk" &&
        made "$disk" mkfs.btrfs 2048 268288 -q -f -L guest && mounted btrfs 2048 268288 fill_btrfs &&
        clone create --no-repair "$work/btrfs.raw" btrfs && says btrfs </dev/null || return 1
    sleep 0.1
    exported btrfs mounted btrfs 2048 268288 change_btrfs && says btrfs <<'LINES'
A /etc/new
M /etc/null (times, device)
D /etc/old
D /etc/socket
M /home/nested/in (content, times)
M /home/user/\x1b[2J\x0a\xfe (content, times)
D /home/user/hard
M /home/user/link (times, target)
M /home/user/one (times, links)
M /home/user/pipe (times)
M /home/user/quiet (content, times)
M /home/user/sparse (content, times)
A disk 1, partition 1:/@snapshot
A disk 1, partition 1:/@snapshot/nested
A disk 1, partition 1:/@snapshot/user
A disk 1, partition 1:/@snapshot/user/\x1b[2J\x0a\xfe
A disk 1, partition 1:/@snapshot/user/link
A disk 1, partition 1:/@snapshot/user/one
A disk 1, partition 1:/@snapshot/user/pipe
A disk 1, partition 1:/@snapshot/user/quiet
A disk 1, partition 1:/@snapshot/user/sparse
M disk 1, partition 1:/top (content, times)
LINES
}

# --- LVM and LUKS -------------------------------------------------------------------------------

# As fixtures/volumes/make made them: ext4 on LVM (two disks), on LUKS, and on LVM on LUKS. A kernel
# that has a device mapper writes to the clones.
write_volumes() {
    local fixture disk
    local -a add=()
    printf 'correct horse' >"$work/key"
    for fixture in lvm-linear luks1 lvm-on-luks2; do
        local -a disks=()
        for disk in "$H2K_TOP/tests/fixtures/volumes/$fixture"/disk*.zst; do
            zstd -qd "$disk" -o "$work/$fixture-${#disks[@]}.raw" || return 1
            disks+=("$work/$fixture-${#disks[@]}.raw")
        done
        clone create --no-repair "${disks[0]}" ${disks[1]:+--disk "${disks[1]}"} "$fixture" || return 1
        for disk in "$store/clones/$fixture/current"/disk*.qcow2; do add+=(-a "$disk"); done
    done
    for disk in /dev/vg-0/root /dev/mapper/one /dev/vg/root; do
        cat <<FISH
mount $disk /
copy-attributes /numbers /etc/passwd mode:true
pwrite /numbers changed 10000
utimens /numbers 1700000000 0 1700000000 0
mv /etc/hostname /etc/renamed
ln /numbers /hard
ln-s /etc/passwd /etc/link
mkfifo 0600 /etc/pipe
write /etc/new in
umount /
FISH
    done >"$work/commands"
    LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg timeout 300 \
        guestfish --keys-from-stdin --format=qcow2 "${add[@]}" <<FISH
run
list-partitions
pvs
cryptsetup-open /dev/sdc one
correct horse
cryptsetup-open /dev/sdd1 two
correct horse
lvm-scan true
lvs
$(cat "$work/commands")
FISH
}
# on_volume FIXTURE KEY: what was changed there is told
on_volume() {
    says "$1" ${2:+--key "$2:file:$work/key"} <<'LINES'
D /etc/hostname
A /etc/link
A /etc/new
A /etc/pipe
A /etc/renamed
A /hard
M /numbers (content, times, links)
LINES
}

# Past the filesystem, where its files lie is known through LVM.
behind_lvm() {
    clone snapshot lvm-linear --name now && says lvm-linear now </dev/null &&
        exported lvm-linear patch $'\n300\n' $'\n30x\n' &&
        says lvm-linear now <<'LINES'
M /hard (content)
M /numbers (content)
LINES
}

# Without the key it is said that there are no files, and how to give it.
locked() {
    clone diff luks1 >"$work/said" && grep -qE '^! disk 1 \(crypto_LUKS\): .* no files were compared: .*--key UUID=' "$work/said" &&
        status 1 clone diff luks1 --exit-code >/dev/null
}

claim "FAT: files whose size and time stayed, and those that moved" fat
if [ -n "$(command -v ntfs-3g)" ]; then
    claim "NTFS: also what keeps all of its times, streams, attributes and links" ntfs
else
    skip "NTFS: also what keeps all of its times, streams, attributes and links" "ntfs-3g is not installed"
fi
if grep -qw btrfs /proc/filesystems; then
    claim "btrfs: subvolumes by where the guest mounts them" btrfs_guest
else
    skip "btrfs: subvolumes by where the guest mounts them" "this kernel has no btrfs"
fi
claim "volumes of LVM and LUKS are written to" write_volumes
claim "ext4 on LVM, over two disks" on_volume lvm-linear ''
claim "ext4 on LVM, written to past the filesystem" behind_lvm
claim "ext4 on LUKS" on_volume luks1 UUID=aaaaaaaa-0000-4000-8000-000000000003
claim "ext4 on LVM on LUKS" on_volume lvm-on-luks2 all
claim "LUKS without its key" locked
finish
