#!/bin/bash
# Immutable VMs: clones of real disks, their states, and what must be refused.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
raw=$(guest debian12-vmware raw)
vmdk=$(guest debian12-vmware vmdk-sparse)
serial=$H2K_TOP/tests/guests/boot-serial
store=$work/store
sums=$(sha256sum "$raw" "$vmdk")
disk_of() {
    echo "$store/clones/$1/current/disk.qcow2"
}

unchanged() {
    sha256sum --quiet -c <<<"$sums"
}

creates() {
    clone create "$vmdk" web && clone show web && qemu-img check -q "$(disk_of web)" &&
        [ "$(stat -L -c %a "$(disk_of web)")" = 600 ] &&
        qemu-img info --backing-chain --output=json "$(disk_of web)" >"$work/chain.json" &&
        json "$work/chain.json" '[i["format"] for i in d] == ["qcow2", "qcow2", "vmdk"]' &&
        json "$work/chain.json" 'd[0]["backing-filename-format"] == "qcow2" and d[1]["backing-filename-format"] == "vmdk"'
}

# No file of the original is ever opened for writing.
opens_read_only() {
    strace -f -e trace=open,openat,openat2 -o "$work/trace" \
        "$H2K" -q clone create --state-dir "$store" "$raw" traced || return 1
    grep -F "$raw" "$work/trace" | grep -vE 'O_RDONLY|ENOENT' && return 1
    grep -qF "$raw" "$work/trace"
}

definition_is_valid() {
    virt-xml-validate "$store/clones/web/domain.xml" domain &&
        grep -q "listen=\"127.0.0.1\"\|address=\"127.0.0.1\"" "$store/clones/web/domain.xml"
}

same_macs() {
    local a b
    a=$(grep -o '<mac address="[^"]*"' "$store/clones/web/domain.xml")
    b=$(grep -o '<mac address="[^"]*"' "$store/clones/traced/domain.xml")
    [ -n "$a" ] && [ "$a" = "$b" ]
}

# The size of a new clone is what the repair wrote, and little more, whatever the disk's size.
is_small() {
    truncate -s 2T "$work/large.raw" &&
        clone create --no-repair "$work/large.raw" large &&
        [ "$(du -s -B1 "$store/clones/large" | cut -f1)" -lt $((1 << 17)) ] && clone delete large
}

mac() {
    grep -o 'mac address="[^"]*"' "$store/clones/web/domain.xml" | head -n 1 | cut -d'"' -f2
}

boots() {
    "$serial" --bus virtio-blk --nic virtio-net-pci --mac "$(mac)" --timeout 900 --write \
        --run 'echo changed > /root/mark; sync; ip -4 -o addr show scope global' "$(disk_of web)"
}

has_mark() {
    "$H2K" -q cat "$(disk_of web)" /root/mark | grep -qx changed
}

snapshots() {
    clone snapshot web --name before --description 'with the mark' &&
        "$H2K" -q clone show web --state-dir "$store" | grep -q 'before.*with the mark' &&
        clone reset web && ! has_mark && clone reset web --to before && has_mark &&
        clone tree web | grep -q 'snapshot before'
}

commits() {
    clone commit web && clone snapshot web --drop before && clone merge web &&
        clone reset web && has_mark && qemu-img check -q "$(disk_of web)" &&
        clone show web --json >"$work/show.json" && json "$work/show.json" 'd["depth"] == 2'
}

runs_meanwhile() {
    local ok=0
    qemu-io -f qcow2 "$(disk_of web)" <"$work/fifo" >/dev/null &
    local pid=$!
    exec 9>"$work/fifo"
    until "$H2K" -q clone list --state-dir "$store" | grep -q '^web *running'; do
        kill -0 "$pid" || return 1
        sleep 0.05
    done
    refused 10 'web runs, stop it first.*qemu-io' clone reset web &&
        refused 10 'web runs' clone delete web &&
        refused 10 'web runs' clone snapshot web --name late || ok=1
    exec 9>&-
    wait "$pid"
    return "$ok"
}

# Without libvirt: on this terminal, until Ctrl-A X.
runs() {
    local waited=0 pid code=0
    "$H2K" -q clone run --state-dir "$store" traced <"$work/fifo" >"$work/console" 2>&1 &
    pid=$!
    exec 9>"$work/fifo"
    until grep -aq 'login:' "$work/console"; do
        if ! kill -0 "$pid" || [ "$waited" -ge 900 ]; then
            tail -n 20 "$work/console"
            exec 9>&-
            kill "$pid"
            return 1
        fi
        sleep 1
        waited=$((waited + 1))
    done
    refused 10 'runs already: qemu' "$H2K" clone run --state-dir "$store" traced || code=1
    refused 10 'runs, stop it first' "$H2K" clone reset --state-dir "$store" traced || code=1
    printf '\001x' >&9
    exec 9>&-
    wait "$pid" && [ "$code" -eq 0 ]
}

# --- what must not be ---------------------------------------------------------------------------

bad_names() {
    local name
    for name in ../up . .. a/b -x '' $'a\nb' "$(printf 'a%.0s' {1..70})"; do
        refused 2 'cannot be a clone|name|Unknown option' "$H2K" clone create --state-dir "$store" -- "$raw" "$name" || return 1
    done
    [ ! -e "$work/up" ] && [ ! -e "$store/up" ]
}

of_a_clone() {
    refused 2 'belongs to a clone' "$H2K" clone create --state-dir "$store" "$(disk_of web)" again
}

in_memory() {
    local where
    where=$(mktemp -d /dev/shm/h2k-clone.XXXXXX)
    refused 10 'tmpfs.*available' "$H2K" clone create --state-dir "$where" "$raw" shm
    local ok=$?
    rm -rf "$where"
    return $ok
}

# A filesystem of its own that is full.
nearly_full() {
    local dev ok=0
    truncate -s 64M "$work/full.img" && mkfs.ext4 -q "$work/full.img" &&
        dev=$(losetup -f --show "$work/full.img") && mkdir -p "$work/full" &&
        mount "$dev" "$work/full" || return 1
    mkdir -m 700 "$work/full/store" "$work/full/store/clones"
    head -c 70000000 /dev/zero >"$work/full/ballast" 2>/dev/null
    refused 11 'nearly full.*available.*needed' "$H2K" clone create --state-dir "$work/full/store" "$raw" x || ok=1
    umount "$work/full"
    losetup -d "$dev"
    return "$ok"
}

partitions() {
    local dev ok=0
    dev=$(losetup -f -P -r --show "$raw") || return 1
    [ -e "${dev}p1" ] || partx -a "$dev"
    refused 2 "partition.*$dev" clone create "${dev}p1" part || ok=1
    losetup -d "$dev"
    return "$ok"
}

# What is mounted changes under the clone.
in_use() {
    local dev ok=0
    truncate -s 64M "$work/used.img" && mkfs.ext4 -q "$work/used.img" &&
        dev=$(losetup -f --show "$work/used.img") && mkdir -p "$work/used" &&
        mount "$dev" "$work/used" || return 1
    refused 3 "in use.*mounted on $work/used" clone create --no-repair "$dev" used &&
        refused 3 'in use' clone create --no-repair "$work/used.img" used &&
        clone create --no-repair --force-unsafe "$dev" used || ok=1
    umount "$work/used"
    losetup -d "$dev"
    clone delete used
    return "$ok"
}

changed_original() {
    cp --sparse=always "$raw" "$work/own.raw" && clone create --full "$work/own.raw" own &&
        clone verify own && clone verify own --full || return 1
    # The link is another one.
    ln -sfn "$raw" "$store/clones/own/original" && status 12 clone verify own >"$work/said" && grep -q 'lies over another file' "$work/said" &&
        refused 12 'lies over another file' "$H2K" clone run --print --state-dir "$store" own &&
        ln -sfn "$work/own.raw" "$store/clones/own/original" && clone verify own || return 1
    # One byte, in a place that nobody looks at; the file's time stays.
    touch -r "$work/own.raw" "$work/time"
    printf 'x' | dd of="$work/own.raw" bs=1 seek=1500000000 conv=notrunc status=none
    touch -r "$work/time" "$work/own.raw"
    clone verify own >/dev/null # not seen without --full
    status 12 clone verify own --full >"$work/said" && grep -q CHANGED "$work/said" || return 1
    touch "$work/own.raw"
    refused 12 'written to since' "$H2K" clone run --print --state-dir "$store" own || return 1
    clone run --print --force-unsafe own | grep -q qemu-system || return 1
    status 12 clone verify own >"$work/said" && grep -q 'written to since' "$work/said" &&
        clone list | grep -q 'own.*(changed)' || return 1
    rm "$work/own.raw"
    clone list | grep -q 'own.*(missing)' && clone delete own
}

lists() {
    clone list --json >"$work/list.json" &&
        json "$work/list.json" 'sorted(c["name"] for c in d) == ["traced", "web"]' &&
        json "$work/list.json" 'all(c["original-health"] == "ok" and c["state"] == "shut off" for c in d)'
}

# Another user, with a program that he can get at, whatever folder this tree is in.
users_are_apart() {
    local dir=$1 image=$1/own.raw
    local -a as=(setpriv --reuid=65534 --regid=65534 --clear-groups env -i "PATH=$PATH" "HOME=$dir/home"
        "XDG_DATA_HOME=$dir/home/share" "LD_LIBRARY_PATH=$dir" "$dir/hyper2kvm" -q clone)
    cp "$H2K" "$(dirname "$H2K")"/../libhyper2kvm.so.0 "$dir" && chmod 755 "$dir" "$dir"/* &&
        install -d -o 65534 -g 65534 -m 700 "$dir/home" && truncate -s 16M "$image" && truncate -s 16M "$dir/closed.raw" &&
        chmod 600 "$dir/closed.raw" || return 1
    "${as[@]}" create --no-repair "$image" mine && "${as[@]}" list | grep -q '^mine' &&
        [ "$(stat -c '%u %a' "$dir/home/share/hyper2kvm" "$dir/home/share/hyper2kvm/clones")" = $'65534 700\n65534 700' ] &&
        [ -z "$(find "$dir/home/share" -perm /077 ! -type l)" ] &&
        "${as[@]}" run --print mine | grep -q qemu-system || return 1
    clone list | grep -q '^mine' && return 1
    refused 10 'another user|cannot (make|look)' "${as[@]}" list --state-dir "$store" &&
        refused 10 'belongs to another user' "$H2K" clone list --state-dir "$dir/home/share/hyper2kvm" &&
        refused 3 'closed.raw.*Permission denied' "${as[@]}" create --no-repair "$dir/closed.raw" other
}

claim "a VMDK becomes a VM, with its formats named in the chain" creates
claim "the original is only opened for reading" opens_read_only
claim "the definition is valid, its screen for this host alone" definition_is_valid
fails "two clones of one original have the same MAC" same_macs
claim "a new clone of 2 TiB takes less than 128 KiB" is_small
claim "it boots from virtio, has a network, and writes" boots
claim "what the VM wrote is there" has_mark
claim "snapshots are taken, gone back to, and drawn" snapshots
claim "a committed state is what resets go back to; layers are merged" commits
mkfifo "$work/fifo"
claim "nothing is changed while it runs, and who it is is said" runs_meanwhile
claim "it runs without libvirt, on the terminal" runs
claim "names that lead elsewhere are refused" bad_names
claim "what belongs to a clone is no original" of_a_clone
claim "a store in memory is refused, with the numbers" in_memory
if has_loop_devices; then
    claim "a filesystem that is nearly full is refused, with the numbers" nearly_full
    claim "a partition is refused, and its disk named" partitions
    claim "a disk that is mounted is refused" in_use
else
    skip "traps of real disks are refused" "no loop devices here"
fi
if is_root; then
    apart=$(mktemp -d /var/tmp/h2k-users.XXXXXX)
    claim "each user has clones of his own, and others' are closed to him" users_are_apart "$apart"
    rm -rf "$apart"
else
    skip "each user has clones of his own, and others' are closed to him" "only root can be several users"
fi
claim "a changed or missing original is found and named" changed_original
claim "the list says what there is" lists
claim "deleted, they are gone" clone delete web traced
claim "the store is empty then" empty "$store/clones"
claim "the originals are what they were, bit for bit" unchanged
finish
