#!/bin/bash
# A disk offered over NBD, to the clients that people use: libnbd's tools and QEMU's.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
export TMPDIR=$work/tmp
mkdir "$TMPDIR"
image=$work/disk.qcow2

python3 - "$work/disk.raw" <<'PYTHON'
import random, sys
dice = random.Random(1)
with open(sys.argv[1], "wb") as f:
    f.truncate(64000512)
    for i in range(60):
        f.seek(dice.randrange(63000000))
        f.write(dice.randbytes(dice.choice([512, 4096, 65536, 300000])))
PYTHON
qemu-img convert -q -f raw -O qcow2 "$work/disk.raw" "$image"
sum=$(sha256sum "$image")

# serve OPTION...: in the background; $server is its PID, $uri where it is
serve() {
    rm -f "$work/uri"
    "$H2K" -q nbd-serve "$@" >"$work/uri" &
    server=$!
    until [ -s "$work/uri" ]; do
        kill -0 "$server" || return 1
        sleep 0.02
    done
    uri=$(cat "$work/uri")
}

# ended STATUS: the server has ended like this, and left nothing
ended() {
    local code=0
    wait "$server" || code=$?
    [ "$code" -eq "$1" ] || {
        echo "the server ended with $code instead of $1"
        return 1
    }
    empty "$TMPDIR" && sha256sum --quiet -c <<<"$sum"
}

informs() {
    serve "$image" || return 1
    nbdinfo "$uri" && nbdinfo --json "$uri" >"$work/info.json" &&
        json "$work/info.json" 'd["protocol"] == "newstyle-fixed" and d["structured"]' &&
        json "$work/info.json" 'd["exports"][0]["export-size"] == 64000512 and d["exports"][0]["is_read_only"]' &&
        json "$work/info.json" 'd["exports"][0]["can_multi_conn"] and "base:allocation" in d["exports"][0]["contexts"]' &&
        nbdinfo --list "$uri" | grep -q 'export=""'
    local ok=$?
    kill "$server"
    ended 0 && return $ok
}

# The map says of the same bytes that they are zeros as qemu-nbd does.
maps() {
    nbdinfo --map --json -- [ "$H2K" -q nbd-serve "$image" ] >"$work/ours.json" &&
        nbdinfo --map --json -- [ qemu-nbd -r -f qcow2 "$image" ] >"$work/theirs.json" &&
        python3 - "$work" <<'PYTHON'
import json, sys
def zeros(name):
    extents, at = [], 0
    for e in json.load(open(f"{sys.argv[1]}/{name}.json")):
        assert e["offset"] == at, e
        at += e["length"]
        if e["type"] & 2:
            if extents and extents[-1][1] == e["offset"]:
                extents[-1][1] = at
            else:
                extents.append([e["offset"], at])
    return extents, at
assert zeros("ours") == zeros("theirs"), (zeros("ours"), zeros("theirs"))
assert len(zeros("ours")[0]) > 10
PYTHON
}

copies() {
    local options
    for options in "" "--connections=4 --requests=64" "--connections=1 --request-size=1048576" "--synchronous --request-size=33554432"; do
        # shellcheck disable=SC2016
        options=$options "$H2K" -q nbd-serve "$image" -- sh -c 'nbdcopy $options "$uri" '"$work/copy.raw" &&
            cmp "$work/disk.raw" "$work/copy.raw" || return 1
        rm "$work/copy.raw"
    done
    nbdcopy -- [ "$H2K" nbd-serve "$image" ] - | cmp - "$work/disk.raw" && empty "$TMPDIR"
}

compares() {
    serve --exit-last -e 8 "$image" || return 1
    qemu-img compare -f raw -F qcow2 "$uri" "$image" && ended 0
}

converts() {
    serve "$image" || return 1
    qemu-img convert -m 8 -W -f raw -O raw "$uri" "$work/q.raw" && cmp "$work/q.raw" "$work/disk.raw" &&
        "$H2K" -q convert --no-sparsify -O raw "$uri" "$work/o.raw" && cmp "$work/o.raw" "$work/disk.raw"
    local ok=$?
    kill -INT "$server"
    ended 0 && return $ok
}

# What is written is there for the next client, and gone with the server.
writes() {
    serve --writable "$image" || return 1
    qemu-io -f raw -t none -c 'write -P 7 1000448 70144' -c 'write -z 2M 3M' -c 'discard 6M 1M' \
        -c 'aio_write -P 1 8M 4M' -c 'aio_write -P 2 12M 4M' -c 'aio_write -z 20M 1M' -c 'aio_flush' \
        -c 'write -f -P 9 64000000 512' -c 'flush' "$uri" >"$work/io" 2>&1 &&
        qemu-io -f raw -c 'read -P 7 1000448 70144' -c 'read -P 0 2M 3M' -c 'read -P 1 8M 4M' \
            -c 'read -P 2 12M 4M' -c 'read -P 0 20M 1M' -c 'read -P 9 64000000 512' "$uri" >>"$work/io" 2>&1 &&
        status 1 qemu-img compare -f raw -F qcow2 "$uri" "$image" && "$H2K" -q convert -O raw --no-sparsify "$uri" "$work/w.raw" &&
        nbdcopy "$work/disk.raw" "$uri" && qemu-img compare -f raw -F qcow2 "$uri" "$image" &&
        nbdcopy --allocated "$work/w.raw" "$uri" && qemu-img compare -f raw -F raw "$uri" "$work/w.raw"
    local ok=$?
    cat "$work/io"
    ! grep -qiE 'failed|error' "$work/io" || ok=1
    kill "$server"
    ended 0 && return $ok
}

refuses_writes() {
    # shellcheck disable=SC2016
    ! "$H2K" -q nbd-serve "$image" -- sh -c 'qemu-io -f raw -c "write 0 512" "$uri"' &&
        ! nbdcopy "$work/disk.raw" [ "$H2K" -q nbd-serve "$image" ] && sha256sum --quiet -c <<<"$sum"
}

# Clients that are killed leave a server that goes on.
survives() {
    local i client
    serve --writable "$image" || return 1
    for i in 1 2 3 4 5 6; do
        nbdcopy --request-size=4194304 "$uri" null: &
        client=$!
        nbdcopy "$work/disk.raw" "$uri" &
        sleep "0.0$i"
        kill -9 $! "$client"
        wait $! "$client"
    done 2>/dev/null
    nbdcopy "$work/disk.raw" "$uri" && qemu-img compare -f raw -F qcow2 "$uri" "$image"
    local ok=$?
    kill "$server"
    ended 0 && return $ok
}

# SIGTERM ends it at once, clients or no clients.
ends() {
    local client folder before after
    serve "$image" || return 1
    folder=$(ls "$TMPDIR")
    [ "$(stat -c %a "$TMPDIR/$folder")" = 700 ] && [ "$(stat -c %a "$TMPDIR/$folder/nbd.sock")" = 600 ] || return 1
    python3 -c 'import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
time.sleep(60)' "$TMPDIR/$folder/nbd.sock" &
    client=$!
    sleep 0.2
    before=$(date +%s%N)
    kill "$server"
    ended 0
    local ok=$?
    after=$(date +%s%N)
    kill "$client"
    wait "$client" 2>/dev/null
    [ $((after - before)) -lt 4000000000 ] && return $ok
}

# The command's end, exit status and signal are the server's.
# shellcheck disable=SC2016
runs() {
    local server
    "$H2K" nbd-serve "$image" -- sh -c 'nbdinfo --size "$uri"' | grep -qx 64000512 &&
        status 7 "$H2K" -q nbd-serve "$image" -- sh -c 'exit 7' &&
        status 137 "$H2K" -q nbd-serve "$image" -- sh -c 'kill -9 $$' &&
        refused 14 'cannot start' "$H2K" nbd-serve "$image" -- "$work/no-such-program" && empty "$TMPDIR" || return 1
    "$H2K" -q nbd-serve "$image" -- sleep 60 &
    server=$!
    sleep 0.3
    kill "$server"
    status 143 wait "$server" && empty "$TMPDIR"
}

places() {
    local name='a b/ü'
    serve --socket "$work/sock" --export-name "$name" --pid-file "$work/pid" --json "$image" || return 1
    json "$work/uri" 'd["size"] == 64000512 and d["read-only"] and not d["repaired"]' &&
        json "$work/uri" "d['pid'] == $server" && [ "$(cat "$work/pid")" = "$server" ] &&
        [ "$(stat -c %a "$work/sock")" = 600 ] &&
        uri=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["uri"])' "$work/uri") &&
        nbdinfo --json "$uri" >"$work/name.json" && json "$work/name.json" "d['exports'][0]['export-name'] == '$name'" &&
        ! nbdinfo --size "nbd+unix:///other?socket=$work/sock" &&
        refused 9 'in use already' "$H2K" nbd-serve --socket "$work/sock" "$image" && [ -S "$work/sock" ]
    local ok=$?
    kill "$server"
    ended 0 && [ ! -e "$work/sock" ] && [ ! -e "$work/pid" ] && [ "$ok" -eq 0 ] || return 1
    serve --port 0 "$image" || return 1
    [[ $uri = nbd://127.0.0.1:* ]] && nbdcopy "$uri" "$work/tcp.raw" && cmp "$work/tcp.raw" "$work/disk.raw"
    ok=$?
    kill "$server"
    ended 0 && return $ok
}

# The repaired guest, without a change to its disk: a second repair finds nothing to do.
repairs() {
    local disk before after
    disk=$(guest debian12-vmware vmdk-sparse) && before=$(stat -c '%s %Y %Z' "$disk") && serve --repair "$disk" || return 1
    "$H2K" inspect --json "$uri" >"$work/guest.json" && json "$work/guest.json" 'd["distro"] == "debian"' &&
        "$H2K" -q local --disk "$uri" --dry-run --json >"$work/again.json" &&
        json "$work/again.json" 'not any(r["changes"] for r in d["repairs"] if r["name"] != "network")' &&
        "$H2K" -q local --disk "$disk" --dry-run --json >"$work/first.json" &&
        json "$work/first.json" 'sum(bool(r["changes"]) for r in d["repairs"]) >= 4'
    local ok=$?
    kill "$server"
    after=$(stat -c '%s %Y %Z' "$disk")
    ended 0 && [ "$before" = "$after" ] && return $ok
}

usage() {
    refused 2 'no disk' "$H2K" nbd-serve &&
        refused 2 'one disk' "$H2K" nbd-serve "$image" "$image" &&
        refused 2 'no command' "$H2K" nbd-serve "$image" -- &&
        refused 2 'exclude' "$H2K" nbd-serve --writable --read-only "$image" &&
        refused 2 'exclude' "$H2K" nbd-serve --persistent --exit-last "$image" &&
        refused 2 'exclude' "$H2K" nbd-serve --port 0 --socket "$work/s" "$image" &&
        refused 2 'choose' "$H2K" nbd-serve --port 70000 "$image" &&
        refused 2 'longer than' "$H2K" nbd-serve --socket "$work/$(printf %0200d 0)" "$image" &&
        refused 3 'missing' "$H2K" nbd-serve "$work/missing" &&
        refused 6 'operating system' "$H2K" nbd-serve --repair "$image" && empty "$TMPDIR"
}

claim "nbdinfo is told what there is" informs
claim "the map is qemu-nbd's" maps
claim "nbdcopy gets the disk, with few requests and many" copies
claim "qemu-img compare sees no difference, and --exit-last ends with it" compares
claim "qemu-img convert and hyper2kvm convert read it" converts
claim "writes last as long as the server, and never reach the source" writes
claim "a read-only export takes no writes" refuses_writes
claim "clients that are killed do no harm" survives
claim "SIGTERM ends it at once and leaves nothing" ends
claim "a command is run with the URI, and the server ends with it" runs
claim "socket, port, export name, PID file and JSON are as asked for" places
# A guest in a LUKS container is reached with its key, and not without.
repairs_encrypted() {
    zstd -qd "$H2K_TOP/tests/fixtures/volumes/luks1/disk1.zst" -o "$work/luks.raw" &&
        refused 3 'is locked: give its key' "$H2K" nbd-serve --repair "$work/luks.raw" -- true &&
        H2K_TEST_KEY='correct horse' "$H2K" nbd-serve --repair --key all:env:H2K_TEST_KEY "$work/luks.raw" \
            -- true 2>"$work/luks.err" && grep -q 'guest: Debian 12 on volumes; repair: ' "$work/luks.err" &&
        ! grep -q 'correct horse' "$work/luks.err"
}

claim "--repair offers the repaired guest" repairs
claim "--repair opens a LUKS container with its key" repairs_encrypted
claim "mistakes are refused with a reason" usage
finish
