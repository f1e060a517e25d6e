#!/bin/bash
# Clones of what QEMU does not read itself: disks of an OVA, differencing VHDs, images on servers.
# A process of ours reads them for QEMU and lives no longer than it is needed.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

export H2K_PATIENCE=4 no_proxy=127.0.0.1 XDG_RUNTIME_DIR=$work/run
mkdir -m 700 "$work/run"
mkdir "$work/www"
store=$work/store
runtime=$XDG_RUNTIME_DIR/hyper2kvm
is_root && runtime=/run/hyper2kvm
started=()
# Only what was started here, by its process id; clones take their processes with them.
leave() {
    local name pid
    for name in "$store"/clones/*/; do
        "$H2K" -q clone serve --stop --force --state-dir "$store" "$(basename "$name")" 2>/dev/null
    done
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null; done
    rm -rf "$work"
}
trap leave EXIT

# image NAME [DISK]: what the VM of a clone writes to
image() {
    echo "$store/clones/$1/current/disk${2:-}.qcow2"
}

# server NAME: the process that serves a clone's originals: the one that has the lock
server() {
    python3 - "$store/clones/$1/server.lock" <<'PYTHON'
import fcntl, struct, sys
try:
    fd = open(sys.argv[1], "r+")
except FileNotFoundError:
    sys.exit(1)
answer = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 1, 0))
kind, _, _, _, pid = struct.unpack("hhqqi4x", answer)
if kind == fcntl.F_UNLCK:
    sys.exit(1)
print(pid)
PYTHON
}

# served NAME: the URI of a clone's first disk
served() {
    grep -o 'nbd+unix[^"]*/1"' "$store/clones/$1/clone.json" | tr -d '"'
}

# sockets NAME: sets the folder of a clone's sockets, which is there
sockets() {
    folder=$(dirname "$(served "$1" | cut -d= -f2)")
    [ "$(dirname "$folder")" = "$runtime" ] && [ -S "$folder/1" ]
}

# ends PID: at once, whether somebody waits for it or not
ends() {
    local waited=0
    while [[ $(ps -o stat= -p "$1") =~ ^[^Z] ]]; do
        sleep 0.1
        waited=$((waited + 1))
        [ "$waited" -lt 30 ] || return 1
    done
}

# same IMAGE RAW: a guest would read this
same() {
    rm -f "$work/seen.raw"
    qemu-img convert -f qcow2 -O raw "$1" "$work/seen.raw" && cmp "$work/seen.raw" "$2"
}

# --- sources ------------------------------------------------------------------------------------

python3 - "$work/a.raw" "$work/b.raw" <<'PYTHON'
import random, sys
for seed, path in enumerate(sys.argv[1:]):
    dice = random.Random(seed)
    with open(path, "wb") as f:
        f.truncate(64 << 20)
        for _ in range(40):
            f.seek(dice.randrange(60 << 20) // 512 * 512)
            f.write(dice.randbytes(dice.randrange(300000)))
PYTHON

# appliance FOLDER DISK...: FOLDER.ova with these streamOptimized VMDKs
appliance() {
    local folder=$1
    shift
    python3 - "$folder/vm.ovf" "$@" <<'PYTHON'
import sys
disks = sys.argv[2:]
files = "".join(f'<File ovf:id="f{i}" ovf:href="{d}"/>' for i, d in enumerate(disks))
section = "".join(f'<Disk ovf:diskId="d{i}" ovf:fileRef="f{i}" ovf:capacity="4294967296" ovf:format='
                  '"http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>'
                  for i in range(len(disks)))
def item(kind, number, more):
    return (f"<Item><rasd:InstanceID>{number}</rasd:InstanceID>{more}"
            f"<rasd:ResourceType>{kind}</rasd:ResourceType></Item>")
items = item(3, 1, "<rasd:VirtualQuantity>3</rasd:VirtualQuantity>")
items += item(4, 2, "<rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>"
                    "<rasd:VirtualQuantity>1536</rasd:VirtualQuantity>")
items += item(6, 3, "<rasd:Address>0</rasd:Address><rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType>")
for i in range(len(disks)):
    items += item(17, 10 + i, f"<rasd:AddressOnParent>{i}</rasd:AddressOnParent>"
                  f"<rasd:HostResource>ovf:/disk/d{i}</rasd:HostResource><rasd:Parent>3</rasd:Parent>")
items += item(10, 20, "<rasd:Address>00:50:56:9a:12:34</rasd:Address><rasd:Connection>N</rasd:Connection>"
                      "<rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>")
with open(sys.argv[1], "w") as f:
    f.write(f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
<References>{files}</References><DiskSection><Info>D</Info>{section}</DiskSection>
<NetworkSection><Info>N</Info><Network ovf:name="N"/></NetworkSection>
<VirtualSystem ovf:id="web-01"><Info>A VM</Info><Name>web-01</Name>
<VirtualHardwareSection><Info>H</Info>{items}</VirtualHardwareSection></VirtualSystem></Envelope>""")
PYTHON
    tar -cf "$folder.ova" -C "$folder" vm.ovf "$@"
}

# A differencing VHD over base.vhd, which has one block of its own: b.raw's second 2 MiB.
differencing() {
    python3 - "$work/base.vhd" "$work/child.vhd" "$work/a.raw" "$work/b.raw" "$work/child.raw" <<'PYTHON'
import os, shutil, struct, sys
base, child, a, b, result = sys.argv[1:]
SIZE, BLOCK = os.path.getsize(a), 2 << 20
with open(base, "rb") as f:
    f.seek(-512, 2)
    parent = f.read(512)
    f.seek(0)
def checksum(data, at):
    data[at:at + 4] = bytes(4)
    data[at:at + 4] = struct.pack(">I", ~sum(data) & 0xffffffff)
footer = bytearray(parent)
footer[60:64] = struct.pack(">I", 4)
footer[68:84] = os.urandom(16)
footer[16:24] = struct.pack(">Q", 512)
checksum(footer, 64)
entries = SIZE // BLOCK
bat_at = 1536
locator_at = bat_at + (entries * 4 + 511) // 512 * 512
block_at = locator_at + 512
name = ".\\base.vhd".encode("utf-16le")
header = bytearray(1024)
header[0:8] = b"cxsparse"
header[8:16] = b"\xff" * 8
header[16:36] = struct.pack(">QIII", bat_at, 0x10000, entries, BLOCK)
header[40:56] = parent[68:84]
header[56:60] = parent[24:28]
header[64:64 + 16] = "base.vhd".encode("utf-16be")
header[576:600] = b"W2ru" + struct.pack(">IIIQ", 512, len(name), 0, locator_at)
checksum(header, 36)
bat = bytearray(b"\xff" * ((entries * 4 + 511) // 512 * 512))
bat[4:8] = struct.pack(">I", block_at // 512)
with open(b, "rb") as f:
    f.seek(BLOCK)
    data = f.read(BLOCK)
with open(child, "wb") as f:
    f.write(footer + header + bat + name.ljust(512, b"\0") + b"\xff" * 512 + data + footer)
shutil.copyfile(a, result)
with open(result, "r+b") as f:
    f.seek(BLOCK)
    f.write(data)
PYTHON
}

mkdir "$work/vm" "$work/guest"
qemu-img convert -q -f raw -O vmdk -o subformat=streamOptimized "$work/a.raw" "$work/vm/a.vmdk"
qemu-img convert -q -f raw -O vmdk -o subformat=streamOptimized "$work/b.raw" "$work/vm/b.vmdk"
appliance "$work/vm" a.vmdk b.vmdk
qemu-img convert -q -f raw -O vpc -o force_size=on "$work/a.raw" "$work/base.vhd"
differencing
cp "$work/vm/a.vmdk" "$work/www/a.vmdk"
qemu-img convert -q -f raw -O qcow2 "$work/b.raw" "$work/www/b.qcow2"
cp --reflink=auto "$(guest debian12-vmware vmdk-stream)" "$work/guest/disk.vmdk"
appliance "$work/guest" disk.vmdk
rm "$work/guest/disk.vmdk"
sums=$(cd "$work" && sha256sum "$work"/*.ova "$work"/*.vhd "$work"/www/*)

# --- an OVA -------------------------------------------------------------------------------------

creates() {
    clone create --no-repair "$work/vm.ova" vm && ! server vm &&
        grep -q '<vcpu[^>]*>3</vcpu>' "$store/clones/vm/domain.xml" &&
        grep -q 1536 "$store/clones/vm/domain.xml" &&
        ! grep -q 00:50:56:9a:12:34 "$store/clones/vm/domain.xml" && clone list | grep -q 'vm.ova$' &&
        qemu-img info -U --output=json "$store/clones/vm/layers/1/disk.qcow2" >"$work/info.json" &&
        json "$work/info.json" 'd["backing-filename"].startswith("nbd+unix:///?socket=") and d["backing-filename-format"] == "raw"'
}

serves() {
    local pid
    clone serve vm && pid=$(server vm) && same "$(image vm)" "$work/a.raw" &&
        same "$(image vm -2)" "$work/b.raw" && nbdinfo "$(served vm)" |
        grep -q 'is_read_only: true' && [ "$(awk '/VmRSS/ { print $2 }' "/proc/$pid/status")" -lt 262144 ]
}

# No terminal, a session of its own, a log for its user alone.
stands_apart() {
    local pid
    pid=$(server vm) && [ "$(ps -o sid= -p "$pid" | tr -d ' ')" = "$pid" ] &&
        [ "$(ps -o tty= -p "$pid" | tr -d ' ')" = '?' ] && [ "$(readlink "/proc/$pid/fd/0")" = /dev/null ] &&
        [ "$(readlink "/proc/$pid/fd/1")" = /dev/null ] &&
        [ "$(readlink "/proc/$pid/fd/2")" = "$store/clones/vm/server.log" ] &&
        [ "$(stat -c %a "$store/clones/vm/server.log")" = 600 ] && [ "$(readlink "/proc/$pid/cwd")" = / ]
}

once() {
    local pid
    pid=$(server vm) && clone serve vm && [ "$(server vm)" = "$pid" ] && clone serve --stop vm && ! server vm || return 1
    clone serve vm &
    clone serve vm && wait "$!" && same "$(image vm)" "$work/a.raw"
}

# hold NAME: QEMU with the clone's image open, for writing, until descriptor 9 is closed
hold() {
    rm -f "$work/fifo"
    mkfifo "$work/fifo"
    qemu-io -f qcow2 "$(image "$1")" <"$work/fifo" >"$work/held" 2>&1 &
    holder=$!
    started+=("$holder")
    exec 9>"$work/fifo"
    echo 'read 0 512' >&9
    until grep -q 'read 512/512' "$work/held"; do
        kill -0 "$holder" || return 1
        sleep 0.05
    done
}

release() {
    exec 9>&-
    wait "$holder"
}

killed() {
    local seen
    clone serve vm && hold vm && kill -KILL "$(server vm)" || return 1
    until ! server vm; do sleep 0.05; done
    echo 'read 4194304 65536' >&9
    release
    cat "$work/held"
    grep -q 'read failed: Input/output error' "$work/held" || return 1
    seen=$(qemu-img convert -f qcow2 -O raw "$(image vm)" "$work/never.raw" 2>&1) && return 1
    grep -qE 'Failed to connect|Connection refused' <<<"$seen" && clone serve vm && same "$(image vm)" "$work/a.raw"
}

# All operations, with the server there or not.
changes() {
    local layers=$store/clones/vm
    clone serve vm && qemu-io -f qcow2 -c 'write -P 7 1M 1M' "$(image vm)" && clone snapshot vm --name seven &&
        clone serve --stop vm && clone reset vm && clone serve vm && same "$(image vm)" "$work/a.raw" &&
        clone serve --stop vm && clone reset vm --to seven && clone commit vm && clone snapshot vm --drop seven &&
        clone merge vm && clone serve vm || return 1
    cp "$work/a.raw" "$work/want.raw"
    python3 -c 'import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(1 << 20)
    f.write(b"\7" * (1 << 20))' "$work/want.raw"
    same "$(image vm)" "$work/want.raw" && same "$(image vm -2)" "$work/b.raw" && qemu-img check -q "$(image vm)" &&
        clone show vm --json >"$work/show.json" && json "$work/show.json" 'd["depth"] == 2 and len(d["originals"]) == 2' &&
        clone tree vm | grep -q 'vm.ova' && clone verify vm | grep -q 'as it was' && [ ! -e "$layers/layers/new-9" ]
}

# Our own programs read the originals themselves, where the clone is.
reads_directly() {
    clone serve --stop vm && ! server vm && "$H2K" -q convert --force --out-format raw "$(image vm)" "$work/direct.raw" &&
        cmp "$work/direct.raw" "$work/want.raw" && ! server vm || return 1
    # But an image that somebody made names no sockets.
    mkdir -p "$work/evil/layers/1" && cp "$(image vm)" "$work/evil/layers/1/" &&
        cp "$store/clones/vm/clone.json" "$work/evil/" && chmod 666 "$work/evil/clone.json" || return 1
    qemu-img rebase -u -f qcow2 -b "$(served vm)" -F raw \
        "$work/evil/layers/1/disk.qcow2" && refused 5 'not a local file' "$H2K" info "$work/evil/layers/1/disk.qcow2"
}

moves() {
    mkdir -m 700 "$work/elsewhere" && cp -a "$store/." "$work/elsewhere/" &&
        "$H2K" -q clone serve --state-dir "$work/elsewhere" vm &&
        same "$work/elsewhere/clones/vm/current/disk-2.qcow2" "$work/b.raw" &&
        refused 10 'copy of one that runs' "$H2K" clone serve --state-dir "$store" vm &&
        "$H2K" -q clone delete --state-dir "$work/elsewhere" vm
}

in_use() {
    local pid
    clone serve vm && hold vm && pid=$(server vm) && refused 10 'vm runs' clone delete vm &&
        refused 10 'in use' clone serve --stop vm && [ "$(server vm)" = "$pid" ] && release &&
        same "$(image vm)" "$work/want.raw"
}

changed() {
    touch -r "$work/vm.ova" "$work/time"
    touch "$work/vm.ova"
    refused 12 'written to since' "$H2K" clone serve --state-dir "$store" vm &&
        refused 12 'written to since' "$H2K" clone run --state-dir "$store" vm &&
        refused 12 'written to since' "$H2K" clone flatten --state-dir "$store" vm --to "$work/flat.raw" &&
        refused 12 'written to since' "$H2K" clone export --state-dir "$store" vm --to "$work/exported" &&
        [ ! -e "$work/flat.raw" ] && [ ! -e "$work/exported" ] &&
        clone serve --stop vm && refused 12 'written to since' "$H2K" clone serve --state-dir "$store" vm &&
        ! server vm && clone serve --force-unsafe vm && server vm && clone serve --stop vm || return 1
    mv "$work/vm.ova" "$work/gone.ova"
    refused 3 'vm.ova' "$H2K" clone serve --state-dir "$store" vm && clone list | grep -q 'vm.ova (missing)'
    local ok=$?
    mv "$work/gone.ova" "$work/vm.ova"
    touch -r "$work/time" "$work/vm.ova"
    return $ok
}

deleted() {
    local pid
    clone serve vm && pid=$(server vm) && sockets vm && clone delete vm && [ ! -e "$folder" ] && ends "$pid"
}

# --- others -------------------------------------------------------------------------------------

child() {
    "$H2K" -q compare "$work/child.vhd" "$work/child.raw" && clone create --no-repair "$work/child.vhd" child &&
        clone serve child && same "$(image child)" "$work/child.raw" && clone verify child || return 1
    # The parent is a part of the original.
    touch -r "$work/base.vhd" "$work/time"
    touch "$work/base.vhd"
    status 12 clone verify child | grep -q 'base.vhd was written to since'
    local ok=$?
    touch -r "$work/time" "$work/base.vhd"
    [ "$ok" -eq 0 ] && clone verify child && clone delete child
}

web() {
    mkfifo "$work/web.fifo"
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/key.pem" -out "$work/cert.pem" -days 2 \
        -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 2>/dev/null
    "$H2K_TOP/tests/http-server" "$work/www" "$work/cert.pem" "$work/key.pem" <"$work/web.fifo" >"$work/port" &
    started+=("$!")
    exec 8>"$work/web.fifo"
    until [ -s "$work/port" ] || ! kill -0 "${started[-1]}"; do sleep 0.05; done
    tls=https://127.0.0.1:$(cat "$work/port")
    export H2K_CACERT=$work/cert.pem
}

over_https() {
    clone create --no-repair "$tls/plain/a.vmdk" a && clone create --no-repair "$tls/plain/b.qcow2" b &&
        clone serve a && clone serve b && same "$(image a)" "$work/a.raw" && same "$(image b)" "$work/b.raw" &&
        clone verify a && clone list | grep -q "a.*$tls/plain/a.vmdk (not known)" &&
        grep -q '"version" : "[0-9]* bytes, ' "$store/clones/a/clone.json" && clone delete a
}

https_changes() {
    cp -p "$work/www/b.qcow2" "$work/kept" && clone serve --stop b || return 1
    printf x | dd of="$work/www/b.qcow2" bs=1 seek=2000000 conv=notrunc status=none
    refused 12 'server had' "$H2K" clone serve --state-dir "$store" b
    local ok=$?
    cp -p "$work/kept" "$work/www/b.qcow2"
    [ "$ok" -eq 0 ] && clone serve b && same "$(image b)" "$work/b.raw" && clone delete b
}

secrets() {
    refused 2 'password.*netrc' "$H2K" clone create --no-repair --state-dir "$store" "https://me:secret@127.0.0.1/x.raw" s &&
        refused 2 'may be a signature' "$H2K" clone create --no-repair --state-dir "$store" "$tls/plain/a.vmdk?sig=secret" s &&
        ! grep -r secret "$work/.stderr" "$store"
}

# A real server for this user, with keys of its own.
ssh_server() {
    local key
    for key in host user other; do
        ssh-keygen -q -t ed25519 -N '' -f "$work/$key" || return 1
    done
    ssh_port=$(python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
    cp "$work/user.pub" "$work/authorized"
    cat >"$work/sshd_config" <<CONFIG
ListenAddress 127.0.0.1
Port $ssh_port
HostKey $work/host
AuthorizedKeysFile $work/authorized
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
CONFIG
    is_root && mkdir -p /run/sshd
    /usr/sbin/sshd -D -f "$work/sshd_config" -E "$work/sshd.log" &
    started+=("$!")
    until grep -q 'Server listening' "$work/sshd.log"; do
        kill -0 "${started[-1]}" || return 1
        sleep 0.05
    done
    : >"$work/nobody"
    echo "[127.0.0.1]:$ssh_port $(cat "$work/host.pub")" >"$work/known"
    echo "[127.0.0.1]:$ssh_port $(cat "$work/other.pub")" >"$work/changed"
    export H2K_SSH_KEY=$work/user H2K_KNOWN_HOSTS=$work/known
    unset SSH_AUTH_SOCK
    ssh=ssh://$(id -un)@127.0.0.1:$ssh_port
}

over_ssh() {
    ssh_server && "$H2K" -q convert --force --out-format raw "$ssh$work/www/a.vmdk" "$work/seen.raw" &&
        cmp "$work/seen.raw" "$work/a.raw" && clone create --no-repair "$ssh$work/vm.ova" ssh && clone serve ssh &&
        same "$(image ssh)" "$work/a.raw" && same "$(image ssh -2)" "$work/b.raw" && clone verify ssh
}

ssh_refuses() {
    H2K_KNOWN_HOSTS=$work/nobody refused 3 'key is not known' "$H2K" info "$ssh$work/www/a.vmdk" &&
        H2K_KNOWN_HOSTS=$work/changed refused 3 'not the one that is known' "$H2K" info "$ssh$work/www/a.vmdk" &&
        H2K_SSH_KEY=$work/other refused 3 'does not let the user in' "$H2K" info "$ssh$work/www/a.vmdk" &&
        refused 3 'no such file' "$H2K" info "$ssh$work/www/none.raw" &&
        refused 2 'password' "$H2K" clone create --no-repair --state-dir "$store" "${ssh/@/:secret@}$work/www/a.vmdk" s
}

# Its time tells, where the samples see nothing.
ssh_changes() {
    touch -r "$work/vm.ova" "$work/time"
    touch -d '2001-01-01' "$work/vm.ova"
    clone serve --stop ssh && refused 12 'server had' "$H2K" clone serve --state-dir "$store" ssh
    local ok=$?
    touch -r "$work/time" "$work/vm.ova"
    [ "$ok" -eq 0 ] && clone serve ssh && clone delete ssh
}

ends_alone() {
    local waited=0
    while server "$1"; do
        sleep 0.5
        waited=$((waited + 1))
        [ "$waited" -lt 40 ] || return 1
    done
}

# Without libvirt, to the login prompt; the OVA's guest is repaired in the overlay.
boots() {
    local waited=0 pid code=0
    clone create "$work/guest.ova" guest && "$H2K" -q cat "$(image guest)" /etc/hostname || return 1
    rm -f "$work/fifo"
    mkfifo "$work/fifo"
    "$H2K" -q clone run --state-dir "$store" guest <"$work/fifo" >"$work/console" 2>&1 &
    pid=$!
    started+=("$pid")
    exec 9>"$work/fifo"
    until grep -aq 'login:' "$work/console"; do
        if ! kill -0 "$pid" || [ "$waited" -ge 600 ]; then
            tail -n 20 "$work/console" "$store/clones/guest/server.log"
            code=1
            break
        fi
        sleep 1
        waited=$((waited + 1))
    done
    printf '\001x' >&9
    exec 9>&-
    wait "$pid" && return "$code"
}

deletes() {
    clone delete guest && empty "$store/clones"
}

claim "an OVA of two disks becomes a clone, as its description says" creates
claim "its disks are served to QEMU, read-only, in little memory" serves
claim "the process that serves them keeps no terminal" stands_apart
claim "there is one of it, also when two start it" once
claim "when it is killed QEMU sees errors, not other data" killed
claim "snapshots, resets, commits and merges are as with others" changes
claim "our own programs need no process, and other images get none" reads_directly
claim "a store can be moved; a copy is not served beside it" moves
claim "nothing ends it while somebody reads" in_use
claim "an OVA that has changed or gone is found before a start" changed
claim "it ends with its clone" deleted
claim "a differencing VHD, of which the parent is a part" child
web
claim "images on a web server" over_https
claim "a file on the server that is another one" https_changes
claim "addresses with secrets in them are refused" secrets
claim "an OVA on an SSH server, through SFTP" over_ssh
claim "hosts and users that are not known are refused" ssh_refuses
claim "a file on it that has another time" ssh_changes
claim "a VM starts from an OVA's compressed disk" boots
claim "the process ends some seconds after the VM" ends_alone guest
claim "deleted, nothing is left" deletes
claim "the originals are what they were, bit for bit" sha256sum -c --quiet <<<"$sums"
finish
