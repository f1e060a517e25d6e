#!/bin/bash
# What differs between two states of a clone: compared with what the kernel and diff(1) see.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
has_loop_devices || skip_all "no loop devices here"
[ -c /dev/fuse ] || skip_all "no FUSE here, by which the clones' images are written to"
raw=$(guest debian12-vmware raw)
store=$work/store
mnt=$work/mnt
mkdir -p "$mnt" "$work/a" "$work/b"

diff_of() {
    clone diff "$@" | tee "$work/said"
}

# written NAME PARTITION COMMAND...: run COMMAND in the folder where the kernel has mounted what the
# clone's VM would write to
written() {
    local image=$store/clones/$1/current/disk.qcow2 partition=$2 dev pid part ok=0
    shift 2
    : >"$work/export"
    qemu-storage-daemon --blockdev "driver=file,node-name=f,filename=$image" \
        --blockdev driver=qcow2,node-name=q,file=f,discard=unmap \
        --export "type=fuse,id=e,node-name=q,mountpoint=$work/export,writable=on" \
        --pidfile "$work/pid" --daemonize || return 1
    pid=$(cat "$work/pid")
    if dev=$(losetup -f --show ${partition:+-o "$partition"} "$work/export"); then
        part=$dev
        if mount "$part" "$mnt"; then
            (cd "$mnt" && "$@") || ok=1
            umount "$mnt" || ok=1
        else
            ok=1
        fi
        losetup -d "$dev"
    else
        ok=1
    fi
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    return "$ok"
}

# tree_of FILE NAME LAYER OFFSET: every file of a state as the kernel shows it, one a line: path,
# type, mode, owner, size, link, device, digest of the content
tree_of() {
    local out=$1 image dev
    image=$store/clones/$2/$3/disk.qcow2
    qemu-img convert -U -O raw "$image" "$work/state.raw" || return 1
    dev=$(losetup -f --show -r -o "$4" "$work/state.raw") || return 1
    mount -o ro,noload "$dev" "$mnt" 2>/dev/null || mount -o ro,norecovery "$dev" "$mnt" ||
        mount -o ro "$dev" "$mnt" || return 1
    python3 - "$mnt" "$out" <<'PY'
import hashlib, os, stat, sys
top = os.fsencode(sys.argv[1])
out = {}
def look(path):
    st = os.lstat(path)
    what = [st.st_mode, st.st_uid, st.st_gid, st.st_rdev]
    if not stat.S_ISDIR(st.st_mode):
        what += [st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_nlink]
    if stat.S_ISREG(st.st_mode):
        what.append(hashlib.sha256(open(path, "rb").read()).hexdigest())
    if stat.S_ISLNK(st.st_mode):
        what.append(os.readlink(path))
    what += [(n, os.getxattr(path, n, follow_symlinks=False)) for n in sorted(os.listxattr(path, follow_symlinks=False))]
    out[path[len(top):] or b"/"] = repr(what)
look(top)
for folder, names, files in os.walk(top):
    for name in names + files:
        look(os.path.join(folder, name))
with open(sys.argv[2], "w") as f:
    for path in sorted(out):
        f.write(repr((path, out[path])) + "\n")
PY
    local ok=$?
    umount "$mnt"
    losetup -d "$dev"
    return "$ok"
}

# same_as_kernel NAME OFFSET PREFIX: the files that clone diff says are those that differ between
# the trees in $work/a.tree and $work/b.tree, which the kernel has shown
same_as_kernel() {
    clone diff "$1" --json >"$work/diff.json" || return 1
    python3 - "$work" "$2" <<'PY'
import ast, base64, json, sys
work, prefix = sys.argv[1], sys.argv[2].encode()
trees = [dict(ast.literal_eval(l) for l in open(f"{work}/{n}.tree")) for n in "ab"]
wanted = set()
for path in trees[0].keys() | trees[1].keys():
    before, after = (t.get(path) for t in trees)
    kind = "added" if before is None else "removed" if after is None else "changed"
    if before != after:
        wanted.add((kind, prefix + path))
d = json.load(open(f"{work}/diff.json"))
said = [(f["change"], base64.b64decode(f["path-base64"]) if "path-base64" in f else f["path"].encode("utf-8", "surrogateescape")) for f in d["files"]]
said_set = set(said)
print("missing:", sorted(wanted - said_set)[:20])
print("too many:", sorted(said_set - wanted)[:20])
counts = {k: sum(1 for s in said if s[0] == k) for k in ("added", "changed", "removed")}
sys.exit(not (wanted == said_set and len(said) == len(said_set) and wanted
              and all(d["summary"][k] == counts[k] for k in counts)))
PY
}

# --- changes ------------------------------------------------------------------------------------

populate() {
    mkdir -p d/e f deep/1/2/3/4/5/6 'with space' many
    for i in $(seq 300); do echo "$i" >"many/file-number-$i"; done
    echo one >d/one && echo two >d/two && echo three >d/e/three && ln -s one d/link
    head -c 3000000 /dev/urandom >big && truncate -s 50M sparse && cp big f/copy
    echo x >deep/1/2/3/4/5/6/x && mknod null c 1 3 && mkfifo pipe && echo t >"type" && ln "d/one" hard
    echo same >touched && echo attributes >attributes
}

change() {
    echo ONE >d/one                      # through a hard link as well
    chmod 4711 d/two && chown 7:8 d/e/three
    ln -sfn two d/link
    rm -r f && mkdir new && echo new >new/file
    echo y >"$(printf 'new/\033[31m\n\xff name')" && echo y >'with space/A removed'
    printf z | dd of=big bs=1 seek=2000000 conv=notrunc status=none
    printf z | dd of=sparse bs=1 seek=30000000 conv=notrunc status=none
    mv many/file-number-7 many/renamed && rm many/file-number-9
    rm null && mknod null c 1 5 && rm type && mkdir type && echo in >type/in
    touch touched && rm pipe && mkfifo -m 600 pipe
    setfattr -n user.h2k -v 1 attributes && setfattr -n user.h2k -v 2 d
    cp -p big big.new && mv big.new big  # another inode, the same bytes, as editors do it
}

# filesystem NAME MKFS...: a clone of a disk with that filesystem, changed, is compared right
filesystem() {
    local name=$1
    shift
    truncate -s 400M "$work/$name.raw" && "$@" "$work/$name.raw" || return 1
    local dev
    dev=$(losetup -f --show "$work/$name.raw") && mount "$dev" "$mnt" || return 1
    (cd "$mnt" && populate)
    umount "$mnt" && losetup -d "$dev" || return 1
    clone create --no-repair "$work/$name.raw" "$name" || return 1
    diff_of "$name" | grep -qx '0 added, 0 changed, 0 removed; 0 bytes of blocks differ' || return 1
    sleep 1.1
    written "$name" "" change && tree_of "$work/a.tree" "$name" base 0 &&
        tree_of "$work/b.tree" "$name" current 0 && same_as_kernel "$name" "disk 1:"
}

says_what() {
    clone diff ext >"$work/said" || return 1
    cat "$work/said"
    local line
    while read -r line; do
        grep -qxF -- "$line" "$work/said" || {
            echo "missing: $line"
            return 1
        }
    done <<'LINES'
M disk 1:/d/one (content, times)
M disk 1:/d/two (mode 0644 to 4711, times)
M disk 1:/d/e/three (owner 0:0 to 7:8, times)
M disk 1:/d/link (times, target)
D disk 1:/f/copy
A disk 1:/new/\x1b[31m\x0a\xff name
A disk 1:/with space/A removed
M disk 1:/null (times, device)
M disk 1:/type (type file to directory)
A disk 1:/type/in
M disk 1:/touched (times)
M disk 1:/attributes (times, xattrs)
M disk 1:/d (xattrs)
LINES
}

# A guest on a partition, written to by hyper2kvm itself: paths begin at its root.
debian() {
    clone create "$raw" web && diff_of web | grep -q '^0 added, 0 changed, 0 removed; 0 bytes' &&
        diff_of web --original | grep -qx 'M /etc/fstab (content, times)' || return 1
    grep -qE '^! .*outside of the partitions|^M /boot/initrd' "$work/said" || return 1
    local image=$store/clones/web/current/disk.qcow2
    echo mark | "$H2K" -q put -o "$work/put.qcow2" "$image" - /root/mark &&
        qemu-img commit -q "$work/put.qcow2" &&
        diff_of web >/dev/null && grep -qx 'A /root/mark' "$work/said" &&
        grep -q '^1 added, 0 changed, 0 removed; ' "$work/said"
}

snapshots() {
    clone snapshot web --name one && clone reset web || return 1
    clone diff web one --json >"$work/diff.json" &&
        json "$work/diff.json" '[(f["path"], f["change"]) for f in d["files"]] == [("/root/mark", "removed")] and d["from-snapshot"] == "one"' &&
        diff_of web --to one | grep -qx 'A /root/mark' || return 1
    clone snapshot web --name two && diff_of web one two | grep -qx 'D /root/mark' &&
        diff_of web two one | grep -qx 'A /root/mark' &&
        diff_of web one one | grep -q '^0 added, 0 changed, 0 removed; 0 bytes'
}

# Where qemu-img, too, finds the states to differ first.
blocks() {
    local a=$store/clones/web/layers b
    a=$(readlink -f "$store/clones/web/base/disk.qcow2")
    b=$store/clones/web/layers/$(clone show web --json | python3 -c 'import json, sys
print([l["layer"] for l in json.load(sys.stdin)["layers"] if l.get("snapshot") == "one"][0])')/disk.qcow2
    clone diff web --to one --blocks >"$work/said" && cat "$work/said" || return 1
    local start
    start=$(qemu-img compare -U "$a" "$b" | sed -nE 's/Content mismatch at offset ([0-9]+)!/\1/p')
    [ -n "$start" ] && [ "$((start / 512 * 512))" = "$(($(awk 'NR == 2 { print $1 }' "$work/said")))" ] || return 1
    clone diff web --to one --blocks --json >"$work/blocks.json" &&
        json "$work/blocks.json" 'sum(e["length"] for e in d["extents"]) == d["summary"]["bytes"] == d["disks"][0]["bytes"] > 0' &&
        json "$work/blocks.json" "d['extents'][0]['start'] == $((start / 512 * 512))"
}

exit_codes() {
    status 0 clone diff web --to one && status 1 clone diff web --to one --exit-code &&
        status 0 clone diff web one one --exit-code &&
        refused 3 'no snapshot nowhere' "$H2K" -q clone diff --state-dir "$store" web nowhere &&
        refused 2 'both name the second' "$H2K" -q clone diff --state-dir "$store" web one two --to one &&
        refused 2 'give the second one with --to' "$H2K" -q clone diff --state-dir "$store" --original web one
}

# While something writes to the clone.
running() {
    local pid ok=0
    mkfifo "$work/fifo"
    qemu-io -f qcow2 "$store/clones/web/current/disk.qcow2" <"$work/fifo" >/dev/null &
    pid=$!
    exec 9>"$work/fifo"
    until clone list | grep -q '^web *running'; do
        kill -0 "$pid" || return 1
        sleep 0.05
    done
    refused 10 'snapshots can: .*web runs.*qemu-io' "$H2K" -q clone diff --state-dir "$store" web &&
        diff_of web one two | grep -qx 'D /root/mark' || ok=1
    exec 9>&-
    wait "$pid"
    return "$ok"
}

# No image is written, and none is opened for it.
only_read() {
    find "$store/clones/web" -type f -exec sha256sum {} + >"$work/sums" &&
        strace -f -e trace=open,openat,openat2 -o "$work/trace" "$H2K" -q clone diff --state-dir "$store" web one &&
        ! grep -E 'qcow2|\.raw' "$work/trace" | grep -vE 'O_RDONLY|ENOENT' &&
        sha256sum --quiet -c "$work/sums"
}

# Swap, a boot loader, and what has no name here: the bytes at least.
unknown() {
    truncate -s 64M "$work/odd.raw" && sfdisk -q "$work/odd.raw" <<'PARTS' || return 1
label: dos
start=2048, size=40960, type=82
start=43008, size=40960, type=83
PARTS
    local image=$store/clones/odd/current/disk.qcow2
    dd if=/dev/zero of="$work/swap" bs=512 count=40960 status=none && mkswap -q "$work/swap" &&
        dd if="$work/swap" of="$work/odd.raw" bs=512 seek=2048 conv=notrunc status=none &&
        clone create --no-repair "$work/odd.raw" odd &&
        qemu-io -f qcow2 -c 'write -P 1 0x200000 4096' -c 'write -P 2 0x2000000 8192' -c 'write -P 3 512 512' "$image" >/dev/null &&
        diff_of odd && grep -qE '^! disk 1, partition 1 \(swap\): 4.0.{1,2}KiB of blocks differ; no files' "$work/said" &&
        grep -qE '^! disk 1, partition 2: 8.0.{1,2}KiB of blocks differ' "$work/said" &&
        grep -qE '^! disk 1, outside of the partitions: 512 bytes of blocks differ' "$work/said"
}

for fs in ext4 xfs btrfs; do
    if grep -qw "$fs" /proc/filesystems; then
        case $fs in
        ext4) claim "ext4: what differs is what the kernel shows to differ" filesystem ext mkfs.ext4 -q -F ;;
        xfs) claim "XFS: what differs is what the kernel shows to differ" filesystem xfs mkfs.xfs -q -f ;;
        btrfs) claim "btrfs: what differs is what the kernel shows to differ" filesystem btrfs mkfs.btrfs -q -f ;;
        esac
    else
        skip "$fs: what differs is what the kernel shows to differ" "this kernel has no $fs"
    fi
done
claim "it is said what of a file differs, and names are harmless" says_what
claim "files of a guest are named from its root" debian
claim "two snapshots are compared, in both directions" snapshots
claim "blocks differ from where qemu-img says on" blocks
claim "exit statuses" exit_codes
claim "while it runs, its snapshots can be compared" running
claim "nothing is opened for writing" only_read
claim "what has no files is named with its bytes" unknown
finish
