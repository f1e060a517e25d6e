#!/bin/bash
# A VM that writes without end is paused before its filesystem is full, and goes on when there is room.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
has_loop_devices || skip_all "no loop devices here"
store=$work/fs/store
image=$store/clones/web/current/disk.qcow2
console=$work/console

clean_up() {
    exec 9>&-
    [ -z "${pid:-}" ] || kill "$pid" 2>/dev/null
    wait
    umount "$work/fs"
    losetup -d "$dev"
    rm -rf "$work"
}

is_paused() {
    clone show web | grep -q '^state: *paused'
}

starts() {
    clone create --no-repair --memory 64 --max-size 40M "$work/tiny.raw" web || return 1
    "$H2K" -q clone run --state-dir "$store" web <"$work/fifo" >"$console" 2>&1 &
    pid=$!
    exec 9>"$work/fifo"
    soon grep -q READY "$console"
}

stored() {
    clone show web --json >"$work/show.json" && json "$work/show.json" "$1"
}

limited() {
    printf w >&9
    soon is_paused && stored '39 << 20 < d["stored"] < 44 << 20 and d["paused"]' &&
        grep -q 'web: PAUSED: .*--max-size' "$console" &&
        grep -q 'web: PAUSED' "$store/clones/web/watch.log"
}

not_resumed() {
    refused 11 'grown to its --max-size' "$H2K" clone resume --state-dir "$store" web && is_paused
}

goes_on() {
    clone limit web none && clone resume web && soon stored 'd["stored"] > 48 << 20'
}

fills_up() {
    soon is_paused && stored '0 < d["available"] < 8 << 20' &&
        grep -q 'web: PAUSED: its filesystem' "$console" &&
        refused 11 'nearly full' "$H2K" clone resume --state-dir "$store" web
}

says_how_it_is() {
    clone watch --once --json >"$work/once.json" &&
        json "$work/once.json" 'd["clone"] == "web" and d["event"] == "state" and d["left"] <= 0'
}

ends() {
    rm "$work/fs/ballast" && clone resume web && soon grep -q END "$console" &&
        clone stop web --timeout 60 && wait "$pid" && pid='' && qemu-img check -q "$image"
}

# Every block that the guest wrote, and nothing else.
written() {
    python3 - "$work/tiny.raw" >"$work/expected.raw" <<'EOF'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
for at in range(1 << 20, len(data) - 32767, 65536):
    data[at:at + 32768] = b"A" * 32768
sys.stdout.buffer.write(data)
EOF
    qemu-img compare -f raw -F qcow2 "$work/expected.raw" "$image"
}

watch_has_ended() {
    ! pgrep -f "clone watch --state-dir $store" >/dev/null
}

gcc -c -o "$work/tiny.o" "$H2K_TOP/tests/guests/tiny.S" &&
    ld -m elf_x86_64 -Ttext 0x7c00 --oformat binary -o "$work/tiny.bin" "$work/tiny.o" &&
    truncate -s 72M "$work/tiny.raw" &&
    dd if="$work/tiny.bin" of="$work/tiny.raw" conv=notrunc status=none &&
    truncate -s 120M "$work/fs.img" && mkfs.ext4 -q "$work/fs.img" && mkdir "$work/fs" &&
    dev=$(losetup -f --show "$work/fs.img") && mount "$dev" "$work/fs" && mkfifo "$work/fifo" ||
    exit 1
trap clean_up EXIT
mkdir -m 711 "$store"
fallocate -l 42M "$work/fs/ballast"
claim "a clone with a limit runs" starts
claim "a VM is paused when it takes what --max-size allows" limited
claim "it does not go on before it may take more" not_resumed
claim "it goes on with a higher limit" goes_on
claim "a VM is paused before its filesystem is full" fills_up
claim "the watch says how it is, as JSON" says_how_it_is
claim "it goes on when there is room, and shuts down by its power button" ends
claim "what it wrote is all there" written
claim "the watch ends with the VM" soon watch_has_ended
finish
