#!/bin/bash
# The TPM of a clone that runs without libvirt: a real swtpm beside QEMU, whose state is a part of
# the clone's.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
[ -n "$(command -v swtpm)" ] || skip_all "swtpm is not installed"
store=$work/store

state() {
    echo "$store/clones/$1/current/tpm2-00.permall"
}

# Talks to the TPM as QEMU and a guest do: tpm SOCKET WORD..., where "own" sets the owner's password,
# which only a TPM without one takes without it, and "owned" tells whether there is one.
cat >"$work/tpm.py" <<'PYTHON'
import array, os, socket, struct, sys
control = socket.socket(socket.AF_UNIX)
control.settimeout(30)
control.connect(sys.argv[1])
ours, theirs = socket.socketpair()
ours.settimeout(60)
control.sendmsg([struct.pack(">I", 0x10)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))])
assert struct.unpack(">I", control.recv(4))[0] == 0
control.send(struct.pack(">II", 2, 0))
if struct.unpack(">I", control.recv(4))[0] != 0:
    sys.exit("swtpm cannot read its state")
def command(data):
    ours.send(data)
    return struct.unpack(">HII", ours.recv(4096)[:10])[2]
startup = command(struct.pack(">HIIH", 0x8001, 12, 0x144, 0))
assert startup in (0, 0x100), hex(startup)
# TPM2_HierarchyChangeAuth() of the owner, with an empty password.
def own(password):
    return command(struct.pack(">HIIIIIHBHH", 0x8002, 29 + len(password), 0x129, 0x40000001, 9, 0x40000009, 0, 0, 0,
                               len(password)) + password)
for word in sys.argv[2:]:
    if word == "own":
        assert own(b"secret") == 0
    else:
        answer = own(b"")
        assert answer in (0, 0x9a2), hex(answer)
        print("owned" if answer else "free")
control.send(struct.pack(">I", 3))
PYTHON

# tpm NAME WORD...: with the swtpm that `clone run --print` says
tpm() {
    local name=$1 ok=0 command
    shift
    command=$(clone run --print "$name" | head -n 1) && [[ $command == *"'--terminate'"*--daemon ]] || return 1
    eval "$command --pid file='$work/pid'" || return 1
    python3 "$work/tpm.py" "$store/clones/$name/tpm.sock" "$@" || ok=1
    until ! kill -0 "$(cat "$work/pid")" 2>/dev/null; do sleep 0.05; done
    return "$ok"
}

are_made() {
    truncate -s 16M "$work/disk.raw" && printf '0123456789abcdef' >"$work/key" && chmod 600 "$work/key" &&
        clone create --no-repair --tpm "$work/disk.raw" vm &&
        clone create --no-repair --tpm --encrypt "$work/key" "$work/disk.raw" locked &&
        clone create --no-repair "$work/disk.raw" plain && virt-xml-validate "$store/clones/vm/domain.xml" domain &&
        grep -q '<tpm model="tpm-crb">' "$store/clones/vm/domain.xml" && ! grep -q '<tpm' "$store/clones/plain/domain.xml" &&
        ! clone run --print plain | grep -q tpm && clone run --print vm | tail -n 1 | grep -q 'tpm-crb,tpmdev=tpm0'
}

# running NAME: QEMU, paused for ever before a system that is not there; $qemu and $swtpm are theirs
running() {
    local waited=0
    rm -f "$work/fifo"
    mkfifo "$work/fifo"
    "$H2K" -q clone run --no-watch --state-dir "$store" "$1" <"$work/fifo" >"$work/console" 2>&1 &
    qemu=$!
    exec 9>"$work/fifo"
    until [ -s "$(state "$1")" ] && clone list | grep -q "^$1 *running"; do
        sleep 0.1
        waited=$((waited + 1))
        if [ "$waited" -gt 600 ] || ! kill -0 "$qemu"; then
            cat "$work/console"
            return 1
        fi
    done
    swtpm=$(ps -o pid=,comm= --ppid "$qemu" | awk '$2 == "swtpm" { print $1 }')
    [ -n "$swtpm" ]
}

# ended PID: whether somebody waits for it or not
ended() {
    local waited=0
    while [[ $(ps -o stat= -p "$1") =~ ^[^Z] ]]; do
        sleep 0.1
        waited=$((waited + 1))
        [ "$waited" -lt 100 ] || return 1
    done
}

# The firmware starts the TPM, which writes its state then.
runs() {
    running vm && [ "$(stat -L -c %a "$(state vm)")" = 600 ] || return 1
    refused 10 'runs already' "$H2K" clone run --state-dir "$store" vm || return 1
    printf '\001x' >&9
    exec 9>&-
    wait "$qemu" && ended "$swtpm"
}

killed() {
    running vm && kill -KILL "$qemu" && exec 9>&- && ended "$swtpm" && running vm && clone stop --force --timeout 1 vm && ended "$swtpm"
    local ok=$?
    exec 9>&-
    return "$ok"
}

follows() {
    clone reset vm && [ "$(tpm vm owned)" = free ] && tpm vm own && [ "$(tpm vm owned)" = owned ] &&
        clone snapshot vm --name owned && clone reset vm && [ "$(tpm vm owned)" = free ] &&
        clone reset vm --to owned && [ "$(tpm vm owned)" = owned ] && clone commit vm && clone snapshot vm --drop owned &&
        clone merge vm && clone reset vm && [ "$(tpm vm owned)" = owned ]
}

# Without the key there is no reading what an encrypted clone's TPM keeps.
encrypted() {
    local command
    tpm locked own && [ "$(tpm locked owned)" = owned ] || return 1
    command=$(clone run --print locked | head -n 1 | sed -E "s/'--key' '[^']*'//")
    eval "$command" || return 1
    python3 "$work/tpm.py" "$store/clones/locked/tpm.sock" owned 2>&1 | grep -q 'cannot read its state'
}

missing() {
    local path=$work/bin program
    mkdir "$path" && for program in qemu-img qemu-system-x86_64; do ln -s "$(command -v $program)" "$path"; done
    PATH=$path refused_without "$H2K" clone run --print --state-dir "$store" vm
}

refused_without() {
    local said
    said=$("$@" 2>&1 >/dev/null)
    [[ $? -ne 0 && $said == *"install the package swtpm"* ]]
}

claim "a clone has a TPM when it is wanted" are_made
claim "QEMU has it, and it ends with QEMU" runs
claim "also when QEMU is killed, and the next start is none the worse" killed
claim "what it keeps follows snapshots, resets, commits and merges" follows
claim "that of an encrypted clone is encrypted" encrypted
# Made of a VM that had both; the firmware gets as far as looking for a system.
secure() {
    local vars waited=0
    mkdir "$work/vm" && qemu-img convert -q -f raw -O vmdk "$work/disk.raw" "$work/vm/vm.vmdk" && cat >"$work/vm/vm.vmx" <<'VMX' || return 1
.encoding = "UTF-8"
displayName = "secure"
memsize = "512"
firmware = "efi"
uefi.secureBoot.enabled = "TRUE"
vtpm.present = "TRUE"
scsi0.present = "TRUE"
scsi0.virtualDev = "pvscsi"
scsi0:0.present = "TRUE"
scsi0:0.fileName = "vm.vmdk"
VMX
    vars=$(python3 -c 'import glob, json
for path in sorted(glob.glob("/usr/share/qemu/firmware/*.json")):
    d = json.load(open(path))
    if {"secure-boot", "enrolled-keys"} <= set(d["features"]) and any(t["architecture"] == "x86_64" for t in d["targets"]):
        print(d["mapping"]["nvram-template"]["filename"])
        break')
    clone create --no-repair "$work/vm/vm.vmx" secure && grep -q 'enabled="yes" name="enrolled-keys"' "$store/clones/secure/domain.xml" &&
        grep -q '<tpm ' "$store/clones/secure/domain.xml" && cmp "$vars" "$store/clones/secure/current/nvram.fd" && running secure || return 1
    until grep -aq BdsDxe "$work/console"; do
        sleep 0.1
        waited=$((waited + 1))
        [ "$waited" -lt 900 ] || break
    done
    printf '\001x' >&9
    exec 9>&-
    wait "$qemu" && [ "$waited" -lt 900 ] && clone delete secure
}

claim "an exported VM's TPM and Secure Boot" secure
claim "without swtpm it is said what to install" missing
finish
