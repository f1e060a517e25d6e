#!/bin/bash
# ls, tree, cat, get and put on a real guest, against debugfs.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

disk=$(guest debian12-vmware vmdk-stream)
sum=$(sha256sum <"$disk")
"$H2K" -q convert --no-sparsify -O raw "$disk" "$work/d.raw"
fs="$work/d.raw?offset=$(($(sfdisk -J "$work/d.raw" | python3 -c 'import json, sys; print(json.load(sys.stdin)["partitiontable"]["partitions"][0]["start"])') * 512))"

# names DIR: what debugfs lists
names() {
    debugfs -R "ls -p $1" "$fs" 2>/dev/null | cut -d/ -f6 | grep -vxE '\.|\.\.|' | LC_ALL=C sort
}

listing() {
    local dir
    for dir in / /etc /usr/share/doc /boot /var/log; do
        diff <(names "$dir") <("$H2K" ls -A "$disk" "$dir" | LC_ALL=C sort) || return 1
    done
}

# The same types, modes, owners and sizes as debugfs prints.
details() {
    "$H2K" ls --json -A "$disk" /etc >"$work/etc.json" &&
        debugfs -R 'ls -p /etc' "$fs" 2>/dev/null |
        python3 -c 'import json, sys
ours = {e["path"]: e for e in json.load(open(sys.argv[1]))}
seen = 0
for line in sys.stdin:
    f = line.split("/")
    if len(f) < 7 or f[5] in (".", ".."):
        continue
    e = ours["/etc/" + f[5]]
    mode = int(f[2], 8)
    assert int(e["mode"], 8) == mode & 0o7777, (e, f)
    assert (e["uid"], e["gid"]) == (int(f[3]), int(f[4])), (e, f)
    kinds = {0o100000: "file", 0o040000: "directory", 0o120000: "link"}
    assert e["type"] == kinds[mode & 0o170000], (e, f)
    assert mode & 0o170000 != 0o100000 or e["size"] == int(f[6]), (e, f)
    seen += 1
assert seen == len(ours) > 50, (seen, len(ours))' "$work/etc.json"
}

content() {
    local file
    for file in /etc/passwd /etc/fstab /boot/grub/grub.cfg /usr/bin/bash /bin/sh; do
        "$H2K" cat "$disk" "$file" >"$work/ours" || return 1
        # debugfs follows no link at the end of a path.
        debugfs -R "dump ${file/#\/bin\/sh//usr/bin/dash} $work/theirs" "$fs" 2>/dev/null
        cmp "$work/ours" "$work/theirs" || return 1
    done
}

# A folder as debugfs copies it out.
folder() {
    mkdir "$work/ours.d" "$work/theirs.d" &&
        "$H2K" get "$disk" /etc /usr/share/zoneinfo/Etc -o "$work/ours.d" &&
        debugfs -R "rdump /etc /usr/share/zoneinfo/Etc $work/theirs.d" "$fs" 2>/dev/null &&
        diff -r --no-dereference "$work/ours.d" "$work/theirs.d" &&
        [ "$(stat -c '%a %Y' "$work/ours.d/etc/shadow")" = "$(stat -c '%a %Y' "$work/theirs.d/etc/shadow")" ] &&
        [ "$(find "$work/ours.d" | wc -l)" -gt 100 ]
}

drawing() {
    "$H2K" tree "$disk" /etc/network >"$work/tree" && cat "$work/tree" &&
        [ "$(grep -c -- '── ' "$work/tree")" -eq "$(find "$work/ours.d/etc/network" -mindepth 1 | wc -l)" ] &&
        [ "$("$H2K" tree -L 1 "$disk" / | grep -c -- '── ')" -eq "$(names / | wc -l)" ]
}

# Into an image that builds on the disk; what was there keeps its owner and mode.
putting() {
    head -c 3000000 /dev/urandom >"$work/payload"
    printf 'new motd\n' >"$work/motd"
    "$H2K" put "$disk" "$work/payload" /opt/payload --to-output "$work/put.qcow2" &&
        "$H2K" put "$work/put.qcow2" "$work/motd" /etc --to-output "$work/again.qcow2" &&
        "$H2K" cat "$work/again.qcow2" /opt/payload | cmp - "$work/payload" &&
        [ "$("$H2K" cat "$work/again.qcow2" /etc/motd)" = "new motd" ] &&
        [ "$(stat -c %s "$work/put.qcow2")" -lt 6000000 ] &&
        qemu-img check -q "$work/put.qcow2" && qemu-img check -q "$work/again.qcow2" &&
        "$H2K" -q convert --no-sparsify -O raw "$work/again.qcow2" "$work/put.raw" &&
        e2fsck -fn "${fs/d.raw/put.raw}"
}

# made FILE SIZE: a guest of a few files on ext4, without a partition table
made() {
    local root=$work/made
    rm -rf "$root" && mkdir -p "$root"/{etc,bin,sbin,usr,lib,boot,var/log} &&
        echo 'ID=debian' >"$root/etc/os-release" && : >"$root/etc/fstab" &&
        echo 'root:x:0:0::/root:/bin/sh' >"$root/etc/passwd" && echo made >"$root/etc/hostname" &&
        echo line >"$root/var/log/messages" && mkfifo "$root/fifo" && ln -s /run/none "$root/etc/nowhere" &&
        ln -s loop "$root/loop" && truncate -s "$2" "$1" && mke2fs -q -t ext4 -d "$root" "$1"
}

# A file goes through in pieces, with its holes; what does not fit is refused before it is read.
large() {
    made "$work/large.raw" 300M && truncate -s 1G "$work/sparse" && truncate -s 100M "$work/hole" &&
        printf data | dd of="$work/sparse" bs=1 seek=700M conv=notrunc status=none &&
        head -c 150M /dev/zero >"$work/dense" && head -c 305M /dev/zero >"$work/full" || return 1
    (
        ulimit -v 600000
        "$H2K" put -o "$work/l1.qcow2" "$work/large.raw" "$work/sparse" "$work/dense" "$work/hole" /etc &&
            seq 500000 | "$H2K" put -o "$work/l2.qcow2" "$work/l1.qcow2" - /etc/piped &&
            "$H2K" put -o "$work/l3.qcow2" "$work/l2.qcow2" <(seq 9) /etc/piped
    ) || return 1
    "$H2K" cat "$work/l3.qcow2" /etc/sparse /etc/dense /etc/hole |
        cmp - <(cat "$work/sparse" "$work/dense" "$work/hole") &&
        "$H2K" cat "$work/l2.qcow2" /etc/piped | cmp - <(seq 500000) &&
        "$H2K" cat "$work/l3.qcow2" /etc/piped | cmp - <(seq 9) &&
        [ "$(stat -c %a "$work/l1.qcow2")" = "$(printf %o $((0666 & ~$(umask))))" ] &&
        refused 11 'free on the guest' "$H2K" put -o "$work/no.qcow2" "$work/large.raw" "$work/full" /etc &&
        refused 3 'neither a file nor' "$H2K" put -o "$work/no.qcow2" "$work/large.raw" /dev/zero /etc/zero &&
        refused 3 'a folder' "$H2K" put -o "$work/no.qcow2" "$work/large.raw" "$work" /etc || return 1
    mkfifo "$work/silent" && sleep 60 >"$work/silent" &
    local writer=$! code=0
    timeout -s TERM --preserve-status 2 "$H2K" put -o "$work/no.qcow2" "$work/large.raw" "$work/silent" /etc || code=$?
    kill "$writer"
    [ "$code" -eq 143 ] && [ ! -e "$work/no.qcow2" ]
}

# Nothing is made that was not asked for, and nobody waits for what is refused in the end.
misplaced() {
    made "$work/made.raw" 40M && echo new >"$work/new" && mkdir "$work/locked" && chmod 555 "$work/locked" &&
        refused 1 '/nodir: no such folder' "$H2K" put -o "$work/no.qcow2" "$work/made.raw" "$work/new" /nodir/new &&
        refused 1 'not a folder' "$H2K" put -o "$work/no.qcow2" "$work/made.raw" "$work/new" /etc/hostname/ &&
        refused 1 'no such folder' "$H2K" put -o "$work/no.qcow2" "$work/made.raw" "$work/new" /etc/nodir/ &&
        refused 1 'leads nowhere' "$H2K" put -o "$work/no.qcow2" "$work/made.raw" "$work/new" /etc/nowhere &&
        refused 1 'not a regular file' "$H2K" put -o "$work/no.qcow2" "$work/made.raw" "$work/new" /fifo &&
        refused 2 'need a folder' "$H2K" put -o "$work/no.qcow2" "$work/made.raw" "$work/new" "$work/motd" /etc/one &&
        refused 2 'is a qcow2' "$H2K" put -o "$work/no.Raw" "$work/made.raw" "$work/new" /etc &&
        [ ! -e "$work/no.qcow2" ] && [ ! -e "$work/no.Raw" ] &&
        refused 9 'choose another name' "$H2K" put -o "$work/new" "$work/none.raw" "$work/new" /etc &&
        ! "$H2K" put -o "$work/new" "$work/none.raw" "$work/new" /etc 2>&1 | grep -e --force &&
        refused 10 'no file can be made' "$H2K" put -o "$work/nodir/no.qcow2" "$work/none.raw" "$work/new" /etc || return 1
    if is_root; then
        refused 10 'no file can be made' setpriv --reuid 65534 --clear-groups \
            "$H2K" put -o "$work/locked/no.qcow2" /etc/passwd /etc/passwd /etc
    else
        refused 10 'no file can be made' "$H2K" put -o "$work/locked/no.qcow2" "$work/none.raw" "$work/new" /etc
    fi
}

# As coreutils list: files first, without a heading, then each folder under its name.
order() {
    local guest=$work/order.raw
    made "$guest" 40M &&
        [ "$("$H2K" ls "$guest" /etc/hostname /var)" = $'/etc/hostname\n\n/var:\nlog' ] &&
        [ "$("$H2K" ls "$guest" /var /etc/hostname)" = $'/etc/hostname\n\n/var:\nlog' ] &&
        [ "$("$H2K" ls -R "$guest" /var)" = $'/var:\nlog\n\n/var/log:\nmessages' ] &&
        [ "$("$H2K" ls -d "$guest" /var /etc)" = $'/var\n/etc' ] &&
        "$H2K" ls -R -A "$guest" | grep -c . >"$work/lines" &&
        diff <("$H2K" ls -AR --json "$guest" | python3 -c 'import json, sys
for e in json.load(sys.stdin): print(e["path"])' | sort) \
            <(cd "$work/made" && { find . -mindepth 1 -printf '/%P\n' && echo /lost+found; } | sort) || return 1
    "$H2K" ls "$guest" /none /etc/hostname /var/log >"$work/listed" 2>"$work/err"
    [ $? -eq 1 ] && grep -q 'error: /none' "$work/err" &&
        [ "$(cat "$work/listed")" = $'/etc/hostname\n\n/var/log:\nmessages' ]
}

# What is no file is no corrupt filesystem, and a reader that has enough is no error.
codes() {
    local guest=$work/codes.raw first
    made "$guest" 40M && refused 1 'not a regular file' "$H2K" cat "$guest" /fifo &&
        refused 1 'not a regular file' "$H2K" cat "$guest" /etc &&
        refused 1 'symbolic links' "$H2K" cat "$guest" /loop &&
        refused 1 'directory' "$H2K" cat "$guest" /etc/hostname/ &&
        refused 1 'not a directory' "$H2K" ls "$guest" /etc/hostname/ &&
        [ "$("$H2K" ls "$guest" /var/)" = log ] &&
        refused 1 'symbolic links' "$H2K" get "$guest" /loop -o "$work/codes.out" &&
        refused 1 'device, socket or FIFO' "$H2K" get "$guest" /fifo -o "$work/codes.out" &&
        [ ! -e "$work/codes.out" ] &&
        refused 2 'format "foo" is not known' "$H2K" ls --format foo "$guest" &&
        status 10 "$H2K" ls "$guest" >/dev/full 2>"$work/err" &&
        grep -q 'error: cannot write to standard output: No space' "$work/err" || return 1
    { "$H2K" cat "$disk" /usr/bin/bash /usr/bin/bash 2>"$work/err"; echo $? >"$work/code"; } | head -c 4 >"$work/first"
    first=$(wc -c <"$work/first")
    [ "$first" -eq 4 ] && [ "$(cat "$work/code")" -eq 141 ] && [ ! -s "$work/err" ] &&
        status 141 "$H2K" ls -lAR "$disk" > >(head -n 1 >/dev/null)
}

# Operands and --add: what can be told apart is.
both() {
    made "$work/one.raw" 40M && truncate -s 1M "$work/two.raw" || return 1
    (
        cd "$work" &&
            refused 2 'not both' "$H2K" ls one.raw -a two.raw / &&
            refused 2 'named with --add' "$H2K" ls one.raw two.raw &&
            refused 2 'named with --add' "$H2K" cat one.raw two.raw /etc/hostname &&
            refused 2 'no absolute path' "$H2K" ls -a one.raw etc &&
            [ "$("$H2K" cat -a one.raw -a two.raw /etc/hostname)" = made ]
    )
}

# What is advised can be done with the command that failed.
advice() {
    zstd -qd "$H2K_TOP/tests/fixtures/volumes/lvm-thin/disk1.zst" -o "$work/thin.raw" &&
        zstd -qd "$H2K_TOP/tests/fixtures/btrfs/guest.zst" -o "$work/subvol.raw" &&
        truncate -s 1M "$work/empty.raw" || return 1
    refused 5 'but not changed, because its blocks are a thin pool' \
        "$H2K" put -o "$work/no.qcow2" "$work/thin.raw" "$work/motd" /etc/motd &&
        ! grep -e --no-guest "$work/.stderr" &&
        refused 5 'without libguestfs, which --backend=native' \
            "$H2K" put --backend=native -o "$work/no.qcow2" "$work/subvol.raw" "$work/motd" /home &&
        ! grep -e --no-guest "$work/.stderr" || return 1
    refused '5|6' 'no operating system' "$H2K" inspect "$work/empty.raw" && ! grep -e --no-guest "$work/.stderr" &&
        refused '5|6' '; --no-guest-inspection copies' "$H2K" local --disk "$work/empty.raw" --dry-run
}

# Into a folder whose names are links already, and over what is there: nothing is replaced.
careful() {
    mkdir "$work/trap" && echo precious >"$work/precious" && ln -s "$work/precious" "$work/trap/passwd" &&
        status 9 "$H2K" get "$disk" /etc/passwd -o "$work/trap" &&
        [ "$(cat "$work/precious")" = precious ]
}

refusals() {
    refused 1 'no such file' "$H2K" cat "$disk" /no/such &&
        refused 1 'not a directory' "$H2K" tree "$disk" /etc/passwd &&
        refused '2' 'absolute' "$H2K" ls "$disk" etc &&
        refused 2 'to-output' "$H2K" put "$disk" "$work/motd" /etc &&
        refused 2 'no disk' "$H2K" ls &&
        refused 2 'no path' "$H2K" cat "$disk" &&
        refused 3 'motd' "$H2K" put "$disk" "$work/motd.missing" /etc -o "$work/no.qcow2" &&
        refused 9 'exists' "$H2K" put "$disk" "$work/motd" /etc -o "$work/put.qcow2" &&
        [ ! -e "$work/no.qcow2" ] && status 10 "$H2K" cat "$disk" /usr/bin/bash >/dev/full
}

# The guest on the first of two disks.
several() {
    qemu-img create -q -f qcow2 "$work/empty.qcow2" 1G &&
        "$H2K" ls -a "$disk" -a "$work/empty.qcow2" /etc/passwd
}

# volumes NAME [KEY]: a guest on several layers of volumes, made by the kernel's own tools
volumes() {
    local name=$1 disks=() changed=() file new
    rm -rf "$work/vol" && mkdir "$work/vol"
    for file in "$H2K_TOP/tests/fixtures/volumes/$name"/disk*.zst; do
        zstd -qd "$file" -o "$work/vol/$(basename "$file" .zst)" || return 1
    done
    for file in "$work/vol"/disk?; do disks+=(-a "$file"); done
    if [ $# -gt 1 ]; then
        refused 3 'locked: give its key' "$H2K" cat "${disks[@]}" /numbers || return 1
        export H2K_TEST_KEY=$2
        disks+=(--key all:env:H2K_TEST_KEY)
    fi
    "$H2K" cat "${disks[@]}" /numbers >"$work/numbers" &&
        [ "$(wc -l <"$work/numbers")" -ge 1000 ] &&
        seq 1 "$(wc -l <"$work/numbers")" | cmp - "$work/numbers" &&
        [ "$("$H2K" cat "${disks[@]}" /etc/hostname)" = volumes ] &&
        "$H2K" put "${disks[@]}" "$work/numbers" /etc/new -o "$work/vol/new.qcow2" || return 1
    # A disk of which nothing changed has no new image.
    for file in "$work/vol"/disk?; do
        new=$work/vol/new-$(basename "$file").qcow2
        if [ "${file##*disk}" = 1 ]; then new=$work/vol/new.qcow2; fi
        if [ -e "$new" ]; then changed+=(-a "$new"); else changed+=(-a "$file"); fi
    done
    if [ $# -gt 1 ]; then changed+=(--key all:env:H2K_TEST_KEY); fi
    "$H2K" cat "${changed[@]}" /etc/new | cmp - "$work/numbers" &&
        [ "$("$H2K" ls "${disks[@]}" /etc)" = "$("$H2K" ls "${changed[@]}" /etc | grep -vx new)" ]
}

# A guest on btrfs: subvolumes are folders, and a snapshot has what was there before.
subvolumes() {
    local kind numbers
    numbers=$(seq 1 20000 | sha256sum)
    zstd -qd "$H2K_TOP/tests/fixtures/btrfs/guest.zst" -o "$work/btrfs.raw" || return 1
    for kind in home/none home/zlib home/zstd .snapshots/home/lzo .snapshots/home/zstd; do
        [ "$("$H2K" cat "$work/btrfs.raw" "/$kind/numbers" | sha256sum)" = "$numbers" ] || return 1
    done
    seq 1 50 >"$work/few"
    "$H2K" cat "$work/btrfs.raw" /home/lzo/few | cmp - "$work/few" &&
        "$H2K" cat "$work/btrfs.raw" /.snapshots/home/zlib/few | cmp - "$work/few" &&
        [ "$("$H2K" cat "$work/btrfs.raw" /home/zlib/few)" = changed ] &&
        [ "$("$H2K" cat "$work/btrfs.raw" /home/link | sha256sum)" = "$numbers" ] &&
        [ "$("$H2K" ls "$work/btrfs.raw" /home/lzo)" = few ] &&
        [ -z "$("$H2K" ls "$work/btrfs.raw" /.snapshots/home/nested)" ] &&
        "$H2K" ls --json "$work/btrfs.raw" /home/lzo | python3 -c 'import json, sys
e, = json.load(sys.stdin)
assert (e["uid"], e["gid"], e["size"]) == (1000, 1000, 141), e' &&
        mkdir "$work/btrfs.d" &&
        "$H2K" get "$work/btrfs.raw" /home/zstd /home/nested -o "$work/btrfs.d" &&
        cmp "$work/btrfs.d/zstd/clone" <(seq 1 20000) &&
        [ "$(tail -c 4 "$work/btrfs.d/nested/sparse")" = end ] &&
        [ "$(stat -c %s "$work/btrfs.d/nested/sparse")" -eq 104857604 ] &&
        [ "$("$H2K" tree "$work/btrfs.raw" /home | grep -c -- '── ')" -eq 15 ]
}

claim "ls lists what debugfs lists" listing
claim "modes, owners and sizes are those of debugfs" details
claim "cat prints what debugfs dumps" content
claim "get copies folders as debugfs does" folder
claim "tree draws each of them" drawing
claim "put writes an image that builds on the disk" putting
claim "put copies a large file in pieces, with its holes, and stops when it is told to" large
claim "put makes no folder, and says what is wrong before it opens the guest" misplaced
claim "ls lists files before folders, and what is in folders of folders" order
claim "exit codes say what is wrong, and nothing when the reader has left" codes
claim "a disk is not taken for a path" both
claim "what is advised can be done" advice
claim "get replaces nothing and follows no link" careful
claim "what cannot be done is refused" refusals
# A folder that lies in itself, as on a corrupt filesystem, is an error, and soon.
loop() {
    truncate -s 40M "$work/loop.raw" && mkdir -p "$work/root/etc" "$work/root/bin" "$work/root/sbin" \
        "$work/root/usr" "$work/root/lib" "$work/root/boot" "$work/root/a/b" &&
        echo 'ID=debian' >"$work/root/etc/os-release" && : >"$work/root/etc/fstab" &&
        echo 'root:x:0:0::/root:/bin/sh' >"$work/root/etc/passwd" &&
        mke2fs -q -t ext4 -d "$work/root" "$work/loop.raw" &&
        debugfs -w -R 'link /a /a/b/a' "$work/loop.raw" 2>/dev/null &&
        debugfs -w -R 'link /a /a/b/c' "$work/loop.raw" 2>/dev/null &&
        "$H2K" ls "$work/loop.raw" /a/b/a/b/a/b &&
        refused 7 'lies in itself' timeout 20 "$H2K" tree "$work/loop.raw" / &&
        mkdir "$work/got" &&
        refused 7 'lies in itself' timeout 20 "$H2K" get "$work/loop.raw" /a -o "$work/got"
}

claim "a folder that lies in itself is an error" loop
claim "files in all subvolumes of a btrfs guest are read" subvolumes
claim "several disks are named with --add" several
for name in lvm-linear lvm-striped lvm-on-md1 md0-1.2 md10-near md1-1.1; do
    claim "files on $name are read and put" volumes $name
done
for name in luks1 luks2-on-lvm lvm-on-luks2; do
    claim "files on $name are read and put with its key" volumes $name 'correct horse'
done
claim "the disk is untouched" test "$(sha256sum <"$disk")" = "$sum"
finish
