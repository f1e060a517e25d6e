#!/bin/bash
# A clone with an identity of its own: what differs from the original, what its system says when it
# runs, and what becomes of a Windows' name.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
PATH=$PATH:/usr/sbin:/sbin
for tool in ssh-keygen debugfs hivexget; do
    command -v $tool >/dev/null || skip_all "$tool is not installed"
done
serial=$H2K_TOP/tests/guests/boot-serial
store=$work/store
raw=$work/original.raw

disk_of() {
    echo "$store/clones/$1/current/disk.qcow2"
}

# file CLONE PATH: of the clone's guest; of the original's for "original"
file() {
    local disk=$raw
    [ "$1" = original ] || disk=$(disk_of "$1")
    "$H2K" -q cat "$disk" "$2"
}

# The guest gets host keys, and what else a system has that ran.
make_original() {
    cp --sparse=always "$(guest debian12-vmware raw)" "$raw" && chmod u+w "$raw" || return 1
    {
        echo "mkdir /etc/ssh"
        for type in rsa ecdsa ed25519; do
            ssh-keygen -q -t $type -N '' -C root@debian12-vmware -f "$work/ssh_host_${type}_key"
            for name in "ssh_host_${type}_key" "ssh_host_${type}_key.pub"; do
                echo "write $work/$name /etc/ssh/$name"
            done
            echo "sif /etc/ssh/ssh_host_${type}_key mode 0100600"
        done
        echo "rm /var/lib/systemd/random-seed"
        echo "write $work/ssh_host_rsa_key.pub /var/lib/systemd/random-seed"
    } | debugfs -w -f - "$raw?offset=1048576" 2>&1 | grep -v '^debugfs'
    written=$(stat -c %y "$raw")
}

creates() {
    "$H2K" clone create --state-dir "$store" --new-identity --report "$work/report.json" "$raw" \
        web_1 2>&1 | tee "$work/log"
    [ "${PIPESTATUS[0]}" -eq 0 ] && grep -q 'is to be called web-1' "$work/log"
}

names_and_ids_differ() {
    local id
    id=$(file web_1 /etc/machine-id)
    [[ $id =~ ^[0-9a-f]{32}$ ]] && [ "$id" != "$(file original /etc/machine-id)" ] &&
        [ "$(file web_1 /etc/hostname)" = web-1 ] &&
        [ "$(file original /etc/hostname)" = debian12-vmware ] &&
        file web_1 /etc/hosts | grep -qx $'127.0.1.1\tweb-1' &&
        ! file web_1 /etc/hosts | grep -q debian12-vmware &&
        ! file web_1 /var/lib/systemd/random-seed
}

keys_differ() {
    local type
    for type in rsa ecdsa ed25519; do
        file web_1 "/etc/ssh/ssh_host_${type}_key" >"$work/key" && chmod 600 "$work/key" &&
            file web_1 "/etc/ssh/ssh_host_${type}_key.pub" >"$work/pub" || return 1
        ! cmp -s "$work/key" "$work/ssh_host_${type}_key" &&
            [ "$(ssh-keygen -y -f "$work/key" | cut -d' ' -f1,2)" = "$(cut -d' ' -f1,2 "$work/pub")" ] &&
            grep -q 'root@web-1$' "$work/pub" &&
            grep -qF "$(ssh-keygen -l -f "$work/pub" | cut -d' ' -f2)" "$work/report.json" &&
            "$H2K" -q ls -l "$(disk_of web_1)" "/etc/ssh/ssh_host_${type}_key" | grep -q '^-rw-------' ||
            return 1
    done
    ! grep -q 'PRIVATE KEY' "$work/report.json"
}

another_clone_differs() {
    clone create --new-identity "$raw" two &&
        [ "$(file two /etc/machine-id)" != "$(file web_1 /etc/machine-id)" ] &&
        [ "$(file two /etc/hostname)" = two ] &&
        ! cmp -s <(file two /etc/ssh/ssh_host_rsa_key.pub) <(file web_1 /etc/ssh/ssh_host_rsa_key.pub)
}

name_alone() {
    clone create --hostname other.example.org "$raw" three &&
        [ "$(file three /etc/hostname)" = other.example.org ] &&
        cmp <(file three /etc/machine-id) <(file original /etc/machine-id) &&
        cmp <(file three /etc/ssh/ssh_host_rsa_key) "$work/ssh_host_rsa_key"
}

# What a dry run prints is no secret either, and nothing is there afterwards.
plan() {
    clone create --new-identity --dry-run "$raw" four >"$work/plan" &&
        grep -q '^+four$' "$work/plan" && grep -q 'a private key: RSA' "$work/plan" &&
        ! grep -q 'PRIVATE KEY' "$work/plan" && [ ! -e "$store/clones/four" ]
}

mac() {
    grep -o 'mac address="[^"]*"' "$store/clones/web_1/domain.xml" | head -n 1 | cut -d'"' -f2
}

in_force() {
    local id
    id=$(file web_1 /etc/machine-id)
    "$serial" --bus virtio-blk --mac "$(mac)" --timeout 900 "$(disk_of web_1)" --run hostname \
        --run 'cat /etc/machine-id' --run 'getent hosts web-1' --run 'systemctl --failed --no-legend' \
        --run 'systemd-analyze condition ConditionFirstBoot=no' \
        --run 'test -s /var/lib/systemd/random-seed && echo seeded' >"$work/said" || return 1
    cat "$work/said"
    grep -qx web-1 "$work/said" && grep -qx "$id" "$work/said" &&
        grep -q '^127.0.1.1 *web-1' "$work/said" && grep -qx seeded "$work/said" &&
        ! grep -q '\.service.*failed' "$work/said"
}

unchanged() {
    [ "$(stat -c %y "$raw")" = "$written" ] && clone verify web_1
}

# --- Windows --------------------------------------------------------------------------------------

# windows FILE OPTION...: a guest
windows() {
    local to=$1
    shift
    "$H2K_TOP/tests/windows/make-guest" --release w10 --hostname ORIGINAL "$@" "$to"
}

# names CLONE: the computer's NetBIOS and DNS name
names() {
    local key
    file "$1" /Windows/System32/config/SYSTEM >"$work/SYSTEM" || return 1
    for key in 'Control\ComputerName\ComputerName ComputerName' 'Services\Tcpip\Parameters Hostname' \
        'Services\Tcpip\Parameters NV Hostname'; do
        hivexget "$work/SYSTEM" "ControlSet001\\${key%% *}" "${key#* }" || return 1
    done | paste -sd' '
}

# renamed "NAMES" CLONE "MAKE OPTION..." OPTION...
renamed() {
    local wanted=$1 name=$2 made
    read -ra made <<<"$3"
    shift 3
    windows "$work/$name.img" "${made[@]}" &&
        "$H2K" clone create --state-dir "$store" --bus sata "$@" "$work/$name.img" "$name" 2>&1 |
        tee "$work/log"
    [ "$(names "$name")" = "$wanted" ]
}

warns() {
    grep -q "$1" "$work/log"
}

windows_is_renamed() {
    renamed 'SECOND Second Second' win '' --new-identity --hostname Second && warns sysprep
}

long_name() {
    renamed 'ACCOUNTING-SERV accounting-server-2 accounting-server-2' long '' \
        --hostname accounting-server-2 && warns '15 characters'
}

member_keeps_name() {
    renamed 'ORIGINAL ORIGINAL ORIGINAL' member '--domain corp.example' --new-identity &&
        warns 'member of the domain corp.example' && warns 'keeps its name'
}

controller_keeps_name() {
    renamed 'ORIGINAL ORIGINAL ORIGINAL' dc '--dc' --new-identity --hostname other &&
        warns 'domain controller'
}

member_is_renamed() {
    clone create --bus sata --hostname other "$work/member.img" member2 &&
        [ "$(names member2)" = 'OTHER other other' ]
}

claim "a system that has SSH host keys" make_original
claim "a clone gets an identity, and a name that is made valid" creates
claim "host name and machine id are its own" names_and_ids_differ
claim "host keys are new pairs that OpenSSH reads, of which reports show fingerprints alone" keys_differ
claim "no two clones are alike" another_clone_differs
claim "a host name alone changes no ids" name_alone
claim "a dry run says what it would do and does nothing" plan
claim "names that no host can have are refused" refused 2 "no host's name" \
    "$H2K" clone create --state-dir "$store" --hostname 'a_b' "$raw" five
claim "without a look inside there is no identity" refused 2 "no-repair" \
    "$H2K" clone create --state-dir "$store" --no-repair --new-identity "$raw" five
if command -v qemu-system-x86_64 >/dev/null; then
    claim "the new identity is in force when it runs, and no service has failed" in_force
else
    skip "the new identity is in force when it runs" "QEMU is not installed"
fi
claim "the original is as it was" unchanged
if command -v mkntfs >/dev/null; then
    claim "a Windows gets the name" windows_is_renamed
    claim "a long name is cut for NetBIOS" long_name
    claim "a member of a domain keeps its name unless it is to be renamed" member_keeps_name
    claim "a member of a domain is renamed when that is asked for" member_is_renamed
    claim "a domain controller keeps its name" controller_keeps_name
else
    skip "a Windows gets the name" "mkntfs is not installed"
fi
finish
