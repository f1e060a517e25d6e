#!/bin/bash
# Sources that are not files of this host: NBD, https with a certificate of our own, and what only
# QEMU reads; from servers on the loopback device, well-behaved and not.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

export H2K_PATIENCE=4 no_proxy=127.0.0.1 TMPDIR=$work/tmp
mkdir "$work/www" "$work/tmp"
servers=()
# Only what was started here, by its process id.
trap 'for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null; done; rm -rf "$work"' EXIT

python3 - "$work/www/r.raw" <<'PYTHON'
import random, sys
dice = random.Random(5)
size = 48 << 20
with open(sys.argv[1], "wb") as f:
    f.truncate(size)
    for _ in range(60):
        f.seek(dice.randrange(size - 600000) // 512 * 512)
        f.write(dice.randbytes(dice.randrange(600000)))
PYTHON
raw=$work/www/r.raw
for format in qcow2 vmdk vhdx qed parallels; do
    qemu-img convert -q -f raw -O $format "$raw" "$work/www/r.$format"
done
qemu-img convert -q -f raw -O vmdk -o subformat=streamOptimized "$raw" "$work/www/stream.vmdk"
sums=$(sha256sum "$work"/www/*)

# web FOLDER [CERTIFICATE KEY]: starts a server, sets port. It ends with its standard input.
web() {
    mkfifo "$work/web.$#"
    "$H2K_TOP/tests/http-server" "$@" <"$work/web.$#" >"$work/port.$#" &
    servers+=($!)
    if [ $# -eq 1 ]; then exec 8>"$work/web.$#"; else exec 9>"$work/web.$#"; fi
    until [ -s "$work/port.$#" ] || ! kill -0 "${servers[-1]}"; do sleep 0.05; done
    port=$(cat "$work/port.$#")
}

# The extra names: a certificate for the address that is used.
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/key.pem" -out "$work/cert.pem" -days 2 \
    -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 2>/dev/null
web "$work/www" "$work/cert.pem" "$work/key.pem"
tls=https://127.0.0.1:$port
web "$work/www"
plain=http://127.0.0.1:$port
export H2K_CACERT=$work/cert.pem

# nbd ARGUMENT...: nbdkit on a socket, sets uri; each call replaces the one before
nbd() {
    if [ -n "${nbd_pid:-}" ]; then
        kill "$nbd_pid" 2>/dev/null
        wait "$nbd_pid" 2>/dev/null
    fi
    rm -f "$work/nbd.sock" "$work/nbd.pid"
    nbdkit -f -r -U "$work/nbd.sock" -P "$work/nbd.pid" --log=null "$@" &
    nbd_pid=$!
    servers+=("$nbd_pid")
    until [ -s "$work/nbd.pid" ] || ! kill -0 "$nbd_pid"; do sleep 0.05; done
    uri="nbd+unix:///?socket=$work/nbd.sock"
}

# once SOURCE: one pass over it gives the disk
once() {
    "$H2K" -q convert --force "$1" "$work/out.qcow2" &&
        qemu-img compare -f qcow2 -F raw "$work/out.qcow2" "$raw"
}

# whole SOURCE [OPTION...]: convert of it is the disk, as seen by qemu-img
whole() {
    "$H2K" -q convert --force --verify "$@" "$work/out.qcow2" &&
        qemu-img check -q "$work/out.qcow2" && qemu-img compare -f qcow2 -F raw "$work/out.qcow2" "$raw" &&
        "$H2K" -q compare "$@" "$work/out.qcow2"
}

over_nbd() {
    local image=$1
    shift
    nbd "$@" file "$work/www/$image" && whole "$uri"
}

# The server lists what it was asked for: holes are not read, nothing is written.
nbd_requests() {
    local read
    nbd --filter=stats file "$raw" statsfile="$work/stats" && whole "$uri" || return 1
    kill "$nbd_pid"
    wait "$nbd_pid"
    cat "$work/stats"
    ! grep -q '^write:' "$work/stats" && grep -q '^extents:' "$work/stats" || return 1
    read=$(sed -nE 's/^read: .* ([0-9.]+) MiB, .*/\1/p' "$work/stats")
    # convert, verify and compare, each with less than what the disk has in blocks and a bit
    python3 -c 'import os, sys; sys.exit(float(sys.argv[1]) > 3 * 1.2 * os.stat(sys.argv[2]).st_blocks / 2048 + 3)' \
        "$read" "$raw"
}

qemu_nbd() {
    qemu-nbd -r -t -k "$work/q.sock" --shared=2 -x disk -f qcow2 "$work/www/r.qcow2" &
    servers+=($!)
    until [ -S "$work/q.sock" ]; do sleep 0.05; done
    whole "nbd+unix:///disk?socket=$work/q.sock" &&
        refused 3 'cannot connect' "$H2K" info "nbd+unix:///other?socket=$work/q.sock"
}

nbd_comes_back() {
    local pid
    nbd --filter=delay file "$raw" rdelay=50ms
    "$H2K" -q convert --force "$uri" "$work/out.qcow2" &
    pid=$!
    sleep 0.5
    nbd file "$raw"
    wait "$pid" && qemu-img compare "$work/out.qcow2" "$raw"
}

nbd_is_gone() {
    local code=0
    nbd --filter=delay file "$raw" rdelay=100ms
    "$H2K" convert --force "$uri" "$work/gone.qcow2" 2>"$work/errors" &
    local pid=$!
    sleep 0.5
    kill "$nbd_pid"
    wait "$pid" || code=$?
    cat "$work/errors"
    [ "$code" -eq 3 ] && grep -q 'cannot connect' "$work/errors" && [ ! -e "$work/gone.qcow2" ]
}

# interrupted SOURCE: SIGINT while the server says nothing
interrupted() {
    local code=0 start pid
    "$H2K" -q convert --force "$1" "$work/never.qcow2" 2>"$work/errors" &
    pid=$!
    sleep 1.5
    start=$(date +%s%N)
    kill -s INT "$pid"
    wait "$pid" || code=$?
    cat "$work/errors"
    [ "$code" -eq 130 ] && [ $((($(date +%s%N) - start) / 1000000)) -lt 3000 ] &&
        [ ! -e "$work/never.qcow2" ] && empty "$work/tmp"
}

nbd_interrupted() {
    nbd --filter=delay file "$raw" rdelay=600 && H2K_PATIENCE=60 interrupted "$uri"
}

https_parts() {
    local file
    for file in r.raw r.qcow2 r.vmdk stream.vmdk r.vhdx; do
        once "$tls/plain/$file" || return 1
    done
    # what the format readers ask for in small pieces, and how often, is the server's to say
    python3 -c 'import json, ssl, sys, urllib.request as u
s = json.load(u.urlopen(sys.argv[1], context=ssl.create_default_context(cafile=sys.argv[2])))
print(s)
sys.exit(s["connections"] > s["requests"] / 3)' "$tls/stats" "$work/cert.pem"
}

https_faults() {
    local how
    for how in drop-400000 busy-1 flood-2 less-4 weak redirect; do
        once "$plain/$how/stream.vmdk" || return 1
    done
    once "$tls/stall-1/r.qcow2"
}

https_refused() {
    refused 3 'no such file' "$H2K" info "$tls/status-404/r.raw" &&
        refused 3 'server refuses' "$H2K" info "$tls/status-403/r.raw" &&
        refused 3 'redirects too often' "$H2K" info "$tls/loop/r.raw" &&
        refused 3 'from https to http' "$H2K" info "$tls/elsewhere-1/r.raw" &&
        refused 3 'not http or https' "$H2K" info "$plain/elsewhere-0/r.raw" &&
        refused 3 'changed while it was read' "$H2K" -q convert --force "$tls/changing-9/r.raw" "$work/no" &&
        refused 3 'another part' "$H2K" -q convert --force "$tls/shifted-9/r.raw" "$work/no" &&
        refused 3 'HTTP status 503' "$H2K" -q convert --force "$tls/down-9/r.raw" "$work/no" &&
        H2K_CACERT='' refused 3 'certificate cannot be trusted.*H2K_CACERT' "$H2K" info "$tls/plain/r.raw" &&
        refused 2 'not known.*https' "$H2K" info "ftp://127.0.0.1/r.raw" &&
        [ ! -e "$work/no" ]
}

without_ranges() {
    whole "$tls/noranges/r.qcow2" && once "$tls/chunked/stream.vmdk" && empty "$work/tmp" &&
        refused 5 '1.0.*TiB.*download it first' "$H2K" info "$tls/large/r.raw"
}

# Neither a password nor a signature is ever shown.
secrets() {
    local url="https://user:secret@127.0.0.1:${tls##*:}/auth/r.qcow2?sig=secret2"
    "$H2K" info --json "$url" >"$work/info.json" && "$H2K" info "$url" >"$work/info.txt" &&
        status 6 "$H2K" local --log-level=debug --log-file "$work/log" --json --disk "$url" --dry-run --report "$work/r.md" \
            >"$work/local.json" 2>"$work/local.err" &&
        refused 3 '401' "$H2K" info "${url/secret@/wrong-secret@}" || return 1
    cat "$work/info.txt" "$work/local.err"
    json "$work/info.json" 'd["files"] == [] and d["format"] == "qcow2" and "actual-size" not in d' &&
        json "$work/local.json" 'd["name"] == "r" and d["source"]["disks"][0]["files"] == []' &&
        grep -q '^image: https://\*\*\*@127.0.0.1' "$work/info.txt" &&
        ! grep -r secret "$work/info.json" "$work/info.txt" "$work/log" "$work/local.json" \
            "$work/local.err" "$work/r.md" "$work/.stderr"
}

# An image on a server chooses no files of this host, nor of another server.
further_files() {
    qemu-img create -q -f qcow2 -b /etc/hostname -F raw "$work/www/evil.qcow2" &&
        refused 5 'not followed' "$H2K" info "$plain/plain/evil.qcow2" &&
        qemu-img rebase -q -u -b "$plain/plain/r.raw" -F raw "$work/www/evil.qcow2" &&
        refused 5 'not a local file' "$H2K" info "$work/www/evil.qcow2"
    local ok=$?
    rm -f "$work/www/evil.qcow2"
    return $ok
}

by_qemu() {
    local format
    for format in qed parallels; do
        whole "$work/www/r.$format" || return 1
        "$H2K" info "$work/www/r.$format" | grep -x "file format: qemu:$format" || return 1
    done
    "$H2K" info "$work/www/r.qed" 2>&1 >/dev/null | grep 'is read by QEMU (qemu-nbd), as qed' &&
        refused 5 'download it first' "$H2K" info "$plain/plain/r.qed" && empty "$work/tmp" && no_server
}

no_server() {
    ! pgrep -f "$work/tmp/hyper2kvm-" >/dev/null
}

# However this ends, qemu-nbd ends, too.
by_qemu_killed() {
    local signal pid
    for signal in INT KILL; do
        "$H2K" -q compare "$work/www/r.qed" "$plain/stall-99/r.raw" &
        pid=$!
        sleep 1
        pgrep -P "$pid" >/dev/null || return 1
        kill -s $signal "$pid"
        wait "$pid"
        sleep 0.5
        no_server && empty "$work/tmp" || return 1
    done
}

claim "a raw disk over NBD" over_nbd r.raw
claim "qcow2, VMDK and VHDX over NBD" eval 'over_nbd r.qcow2 && over_nbd stream.vmdk && over_nbd r.vhdx'
claim "a server with large blocks" over_nbd r.raw --filter=blocksize-policy
claim "a server that takes one connection and tells no extents" over_nbd r.vmdk --filter=multi-conn --filter=noextents
claim "over NBD holes are not read and nothing is written" nbd_requests
claim "qemu-nbd's named export, two clients at most" qemu_nbd
claim "an NBD server that comes back" nbd_comes_back
claim "an NBD server that does not" nbd_is_gone
claim "SIGINT while an NBD server stalls" nbd_interrupted
claim "every format over https" https_parts
claim "faults of a web server that pass" https_faults
claim "what is refused says why" https_refused
claim "servers without ranges" without_ranges
claim "SIGINT while a web server stalls" interrupted "$plain/stall-999/r.raw"
claim "passwords and signatures are not shown" secrets
claim "images on servers name no further files" further_files
claim "formats that only QEMU reads" by_qemu
claim "qemu-nbd ends with us" by_qemu_killed
claim "no source was written" sha256sum -c --quiet <<<"$sums"
finish
