#!/bin/bash
# e2e/windows-repairs.sh - what other hypervisors left in Windows is off, addresses and MACs move on,
# and the first-boot service is installed: synthetic guests of tests/windows, and what is found in
# the results by readers that share nothing with hyper2kvm.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck source=tests/e2e/lib.sh
source "${H2K_TOP:?the source tree}/tests/e2e/lib.sh"

PATH=$PATH:/usr/sbin:/sbin
for tool in mkntfs ntfscat ntfsls ntfsfix ntfssecaudit mcopy hivexregedit; do
    command -v $tool >/dev/null || skip_all "$tool is not installed"
done
guests=$H2K_TOP/tests/windows
folder="/Program Files/hyper2kvm/firstboot"
hive=/Windows/System32/config/SYSTEM
all=(--disable-tools --fix-network --first-boot-service)

# make OPTION...: guest.img with its answers
make() {
    "$guests/make-guest" --answers "$work/guest.json" "$@" "$work/guest.img"
}

# migrate FROM TO OPTION...: TO.raw, TO.xml and TO.json
migrate() {
    local from=$1 to=$2
    shift 2
    rm -f "$work/$to".* "$work/$to"-disk*
    "$H2K" local --disk "$work/$from" --to-output "$work/$to.raw" --out-format raw --no-test \
        --no-two-phase-boot --report "$work/$to.json" "$@" 2>&1 | tee "$work/log"
    return "${PIPESTATUS[0]}"
}

check() {
    "$guests/check-repairs" "$work/guest.img" "$work/out.raw" "$work/guest.json" "$@"
}

no_changes() {
    json "$1" 'not [c for r in d["repairs"] for c in r["changes"]]'
}

# repaired "MAKE OPTION..." [HYPER2KVM OPTION... [-- CHECK OPTION...]]: all of it, twice
repaired() {
    local made options=("${all[@]}") checks=(--xml "$work/out.xml")
    read -ra made <<<"$1"
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    [ $# -gt 0 ] && checks+=("${@:2}")
    make "${made[@]}" && migrate guest.img out "${options[@]}" && check "${checks[@]}" &&
        migrate out.raw again "${options[@]}" && no_changes "$work/again.json"
}

while IFS='|' read -r text options; do
    # shellcheck disable=SC2086 # options are words
    claim "$text: what was left is off, addresses are kept, the first boot is prepared" \
        repaired "$options"
done <<'END'
XP x86 of VMware|--release xp --arch x86 --vmware-tools --static --intelppm
Server 2003 x86 of Xen|--release 2k3 --arch x86 --xen --static --intelppm
Server 2003 amd64 of Parallels|--release 2k3 --arch amd64 --parallels --static
Server 2008 of VMware|--release 2k8 --vmware-tools --static --control-set 2
7 x86 of VMware|--release w7 --arch x86 --vmware-tools --static --intelppm
7 of VirtualBox|--release w7 --virtualbox --static --intelppm
Server 2008 R2 of Xen|--release 2k8r2 --xen --static
8.1 of Parallels|--release w8.1 --parallels --static
Server 2016 of Hyper-V|--release 2k16 --hyperv --static
Server 2019 of Xen, another drive and folder|--release 2k19 --firmware bios --xen --static --drive D --windows-dir WINNT
11 of VMware|--release w11 --vmware-tools --static
Server 2025 of VMware|--release 2k25 --vmware-tools --static
one of every hypervisor|--release 2k12 --vmware-tools --xen --parallels --virtualbox --static
no tools and DHCP|--release w10
a card without an address that the registry tells|--release xp --arch x86 --nic e1000,static=192.0.2.7/25,gw=192.0.2.1
the DHCPv6 identifier tells the only card's|--release w7 --nic e1000,static=192.0.2.7/25,gw=192.0.2.1
several addresses, gateways, servers|--release 2k12r2 --nic vmxnet3,static=192.0.2.7/25+192.0.2.8/25+198.51.100.1/8,gw=192.0.2.1+192.0.2.2,dns=192.0.2.53+192.0.2.54,domain=corp.example,metric=7,name=Büro --nic e1000e,name=Backup
DHCP with servers of one's own|--release 2k22 --nic vmxnet3,dns=192.0.2.53
an address that was set by hand|--release w7 --nic e1000,override,mac=00:0c:29:01:02:03,static=10.1.2.3/16
a card that is gone|--release 2k19 --nic vmxnet3,ghost,static=192.0.2.7/24 --nic vmxnet3,static=192.0.2.8/24,gw=192.0.2.1
END

# --- what is odd ----------------------------------------------------------------------------------

# multi NAME...: a REG_MULTI_SZ as .reg files have it
multi() {
    /usr/bin/python3 -c 'import sys
data = b"".join(text.encode("utf-16-le") + b"\0\0" for text in sys.argv[1:]) + b"\0\0"
print("hex(7):" + ",".join("%02x" % byte for byte in data))' "$@"
}

# edit FILE.reg: guest.img's SYSTEM is changed
edit() {
    "$H2K" cat "$work/guest.img" $hive >"$work/SYSTEM" &&
        hivexregedit --merge --prefix 'HKEY_LOCAL_MACHINE\SYSTEM' "$work/SYSTEM" <"$1" &&
        rm -f "$work/edited.qcow2" &&
        "$H2K" put "$work/guest.img" "$work/SYSTEM" $hive --to-output "$work/edited.qcow2" &&
        "$H2K" convert "$work/edited.qcow2" "$work/edited.img" --out-format raw --force &&
        mv "$work/edited.img" "$work/guest.img"
}

cat >"$work/filters.reg" <<END
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Enum\SCSI\Disk&Ven_VMware&Prod_Virtual_disk\5&1ec51bf7&0&000000]
"UpperFilters"=$(multi VSEPFLT partmgr vmrawdsk)
"LowerFilters"=$(multi vmci)

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\Class\{4d36e967-e325-11ce-bfc1-08002be10318}]
"LowerFilters"=$(multi scsifilt EhStorClass scsifilter)

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\CrashControl]
"DumpFilters"=$(multi dumpfve.sys vsepflt.sys)
END
filters() {
    make --release 2k16 --vmware-tools --static && edit "$work/filters.reg" &&
        migrate guest.img out "${all[@]}" && check --xml "$work/out.xml" &&
        hivexregedit --export "$work/SYSTEM" '\ControlSet001\Enum\SCSI' | grep -q LowerFilters
}
claim "dead filters of single devices, without a service, of dumps go; others stay in order" filters

# The first card's index is 7, and Ethernet's type 6.
cat >"$work/ipv6.reg" <<'END'
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\Nsi]

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\Nsi\{eb004a01-9b1a-11d4-9123-0050047759bc}]

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\Nsi\{eb004a01-9b1a-11d4-9123-0050047759bc}\10]
"000000070000060020010db8000000000000000000000007"=hex:ff
"000000080000060020010db8000000000000000000000008"=hex:ff
END
ipv6() {
    make --release 2k16 --static && edit "$work/ipv6.reg" && migrate guest.img out "${all[@]}" &&
        grep -q 'warning: the static IPv6 address 2001:db8::7 of "Ethernet' "$work/log" &&
        ! grep -q 2001:db8::8 "$work/log"
}
claim "static IPv6 addresses are a warning" ipv6

# What Windows' own teaming has, beside its services, which are in every Windows.
cat >"$work/team.reg" <<'END'
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Services\NdisImPlatform]
"Start"=dword:00000003

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\Class\{4d36e972-e325-11ce-bfc1-08002be10318}\0050]
"ComponentId"="COMPOSITEBUS\\MS_IMPLAT_MP"
"DriverDesc"="Microsoft Network Adapter Multiplexor Driver"
"NetCfgInstanceId"="{0F5A1B2C-1111-2222-3333-444455556666}"

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\Network\{4D36E972-E325-11CE-BFC1-08002BE10318}\{0F5A1B2C-1111-2222-3333-444455556666}]

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\Network\{4D36E972-E325-11CE-BFC1-08002BE10318}\{0F5A1B2C-1111-2222-3333-444455556666}\Connection]
"Name"="Team of Two"

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Services\Tcpip\Parameters\Interfaces\{0F5A1B2C-1111-2222-3333-444455556666}]
"EnableDHCP"=dword:00000000
END
printf '"IPAddress"=%s\n' "$(multi 192.0.2.77)" >>"$work/team.reg"
team() {
    make --release 2k16 && migrate guest.img out "${all[@]}" && ! grep -q 'network team' "$work/log" &&
        edit "$work/team.reg" && migrate guest.img out "${all[@]}" &&
        grep -q 'warning: the network team or bridge "Team of Two" loses its members.*: 192.0.2.77$' \
            "$work/log" && [ "$(grep -c 'network team' "$work/log")" -eq 1 ]
}
claim "a network team is a warning that names it and its addresses" team

ipv6_dns() {
    local guid
    make --release 2k16 --static && guid=$(python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))["nics"][0]["guid"])' "$work/guest.json") || return 1
    cat >"$work/dns.reg" <<END
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\Tcpip6]

[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\Tcpip6\\Parameters]

[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\Tcpip6\\Parameters\\Interfaces]

[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\Tcpip6\\Parameters\\Interfaces\\$guid]
"NameServer"="2001:db8::53"
END
    edit "$work/dns.reg" && migrate guest.img out "${all[@]}" &&
        grep -q 'warning: the DNS servers 2001:db8::53 that "Ethernet.*" has for IPv6' "$work/log"
}
claim "DNS servers for IPv6 are a warning" ipv6_dns

# --- MACs -----------------------------------------------------------------------------------------

two="--release w7 --nic e1000,static=192.0.2.7/24 --nic e1000,static=192.0.2.8/24"
claim "MACs that are given are the cards', in order" \
    repaired "$two" --mac 52:54:00:00:00:01 --mac 52:54:00:00:00:02 -- \
    --macs 52:54:00:00:00:01,52:54:00:00:00:02
claim "a MAC that Windows knows is given to its card" \
    repaired "--release w7 --nic vmxnet3,mac=00:50:56:00:00:01,static=192.0.2.7/24 --nic e1000" \
    --mac 52:54:00:00:00:02 --mac 00:50:56:00:00:01 -- --macs 52:54:00:00:00:02,00:50:56:00:00:01

unmatched() {
    # shellcheck disable=SC2086 # words
    make $two && migrate guest.img out "${all[@]}" --mac 52:54:00:00:00:01 &&
        grep -q 'warning: the settings of the network adapter .*192.0.2.8.* --mac' "$work/log" &&
        [ "$(grep -c '<mac address' "$work/out.xml")" = 1 ] &&
        ! "$H2K" cat "$work/out.raw" "$folder/data/network.ini"
}
claim "where MACs and cards do not match, that is told with what to do" unmatched

same_address() {
    make --release w7 --nic e1000,static=192.0.2.7/24 --nic e1000,static=192.0.2.7/24 &&
        migrate guest.img out "${all[@]}" && [ "$(grep -c '<mac address' "$work/out.xml")" = 1 ] &&
        "$H2K" cat "$work/out.raw" "$folder/data/network.ini" >"$work/ini" &&
        [ "$(grep -c '^address=' "$work/ini")" = 1 ]
}
claim "of two cards with one address the later is the VM's" same_address

# --- one repair without the others ----------------------------------------------------------------

only() {
    local repairs=$1
    shift
    make --release w7 --vmware-tools --static --intelppm && migrate guest.img out "$@" &&
        check --repairs "$repairs"
}
claim "without --first-boot-service nothing is put there for it, and AutoReboot stays" \
    only tools,network --disable-tools --fix-network
claim "without --fix-network addresses stay where they are" \
    only tools,firstboot --disable-tools --first-boot-service
claim "without --disable-tools tools stay on" only network,firstboot --fix-network --first-boot-service
nothing() {
    only firstboot --first-boot-service && no_changes "$work/out.json"
}
claim "the service is not installed for nothing" nothing
left_out() {
    only "" --no-disable-tools --no-fix-network --no-first-boot-service --no-inject-virtio \
        --no-fix-bootloader && no_changes "$work/out.json"
}
claim "--no-X leaves each of them out" left_out
told() {
    only network --fix-network
    grep -q "warning: the settings of network adapters are not moved.*--first-boot-service" "$work/log"
}
claim "addresses that nothing will move are a warning" told

# --- what the user gives --------------------------------------------------------------------------

printf 'echo one\necho two\n' >"$work/A script & more.cmd"
printf 'Windows Registry Editor Version 5.00\r\n' >"$work/b.REG"
head -c 3000 /dev/zero >"$work/agent.msi"
scripts() {
    repaired "--release 2k22 --static" --firstboot "$work/A script & more.cmd" \
        --firstboot "$work/b.REG" -- --script 500-A_script___more.cmd --script 501-b.reg &&
        "$H2K" cat "$work/out.raw" "$folder/scripts/500-A_script___more.cmd" >"$work/script" &&
        printf 'echo one\r\necho two\r\n' | cmp - "$work/script" &&
        "$H2K" cat "$work/out.raw" "$folder/scripts/501-b.reg" | cmp - "$work/b.REG"
}
claim "scripts of the user run last, in order" scripts
agent() {
    make --release 2k22 && migrate guest.img out --first-boot-service --qga "$work/agent.msi" &&
        "$H2K" cat "$work/out.raw" "$folder/data/qemu-ga.msi" | cmp - "$work/agent.msi"
}
claim "the guest agent that is given is there for the first boot" agent

# bad_file REGEX FILE: is refused, and nothing is written
bad_file() {
    local status=0
    rm -f "$work"/out.*
    "$H2K" local --disk "$work/guest.img" --to-output "$work/out.raw" --out-format raw --no-test \
        --first-boot-service --firstboot "$2" 2>"$work/log" || status=$?
    cat "$work/log"
    [ $status -ne 0 ] && grep -qE "error: .*$1" "$work/log" && [ ! -e "$work/out.raw" ]
}
touch "$work/script.sh"
mkdir "$work/folder.cmd"
truncate -s 65M "$work/large.exe"
claim "a script that Windows cannot run is refused" bad_file "has to end with .cmd" "$work/script.sh"
claim "a script that is missing is refused" bad_file "cannot be read" "$work/none.cmd"
claim "a folder is refused" bad_file "no regular file" "$work/folder.cmd"
claim "a script that is too large is refused" bad_file "larger than 64 MiB" "$work/large.exe"

# --- disks ----------------------------------------------------------------------------------------

data_disk() {
    make --release "$1" --static && truncate -s 64M "$work/data.img" || return 1
    migrate guest.img out "${all[@]}" --disk "$work/data.img" && check --data-disk
}
claim "a server's data disks come online" data_disk 2k12r2
claim "a client's policy stays as it is" data_disk w10

# --- a first boot that is over --------------------------------------------------------------------

# What the service leaves: its log and its state, no key of its own, AutoReboot as it was.
end_first_boot() {
    printf 'H2K-FIRSTBOOT-DONE ok=8 failed=0\r\n' >"$work/h2k-firstboot.log"
    printf 'h2k-firstboot-state 1\r\nreboots 0\r\nscript done 1 0 500-one.cmd\r\nend\r\n' \
        >"$work/h2k-firstboot.state"
    "$H2K" cat "$1" $hive >"$work/SYSTEM" &&
        hivexregedit --merge --prefix 'HKEY_LOCAL_MACHINE\SYSTEM' "$work/SYSTEM" <<'END' &&
Windows Registry Editor Version 5.00

[-HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\services\h2k-firstboot]

[-HKEY_LOCAL_MACHINE\SYSTEM\ControlSet002\services\h2k-firstboot]

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\CrashControl]
"AutoReboot"=dword:00000001
END
        "$H2K" put "$1" "$work/SYSTEM" $hive --to-output "$work/over1.qcow2" &&
        "$H2K" put "$work/over1.qcow2" "$work/h2k-firstboot.log" "$work/h2k-firstboot.state" \
            "$folder" --to-output "$work/over.qcow2"
}

echo "echo one" >"$work/one.cmd"
echo "echo two" >"$work/two.cmd"
over() {
    local options=(--disable-tools --first-boot-service)
    make --release w7 --vmware-tools --static &&
        migrate guest.img out "${options[@]}" --firstboot "$work/one.cmd" &&
        end_first_boot "$work/out.raw" &&
        migrate over.qcow2 again "${options[@]}" --firstboot "$work/one.cmd" &&
        no_changes "$work/again.json"
}
claim "a first boot that is over is not prepared again" over
news() {
    migrate over.qcow2 again --first-boot-service --firstboot "$work/two.cmd" &&
        "$H2K" ls "$work/again.raw" "$folder" >"$work/list" && grep h2k-firstboot.log "$work/list" &&
        ! grep h2k-firstboot.state "$work/list" && "$H2K" cat "$work/again.raw" \
            $hive >"$work/SYSTEM" &&
        hivexregedit --export "$work/SYSTEM" '\ControlSet001\services\h2k-firstboot' |
        grep -q '"Start"=dword:00000002'
}
claim "unless there is something new to do" news

restore_kept() {
    make --release w7 --static && migrate guest.img out "${all[@]}" &&
        "$H2K" cat "$work/out.raw" "$folder/data/restore.reg" >"$work/restore" &&
        "$H2K" cat "$work/out.raw" $hive >"$work/SYSTEM" &&
        hivexregedit --merge --prefix 'HKEY_LOCAL_MACHINE\SYSTEM' "$work/SYSTEM" <<'END' &&
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\CrashControl]
"AutoReboot"=dword:00000007
END
        "$H2K" put "$work/out.raw" "$work/SYSTEM" $hive --to-output "$work/odd.qcow2" &&
        migrate odd.qcow2 again "${all[@]}" &&
        "$H2K" cat "$work/again.raw" "$folder/data/restore.reg" | cmp - "$work/restore"
}
claim "what waits to be restored stays the value that it was first" restore_kept

# --- who may write there --------------------------------------------------------------------------

safe() {
    make --release "$1" --vmware-tools --static &&
        "$guests/programs-acl" set "$work/guest.img" "$work/guest.json" &&
        migrate guest.img out "${all[@]}" --firstboot "$work/one.cmd" &&
        "$guests/programs-acl" check "$work/out.raw" "$work/guest.json" "/Program Files/hyper2kvm" \
            "$folder" "$folder/h2k-firstboot.exe" "$folder/firstboot.ini" "$folder/data" \
            "$folder/data/network.ini" "$folder/scripts" "$folder/scripts/020-network.cmd" \
            "$folder/scripts/500-one.cmd"
}
claim "nobody but administrators can change what runs at the first boot" safe w7
claim "nor on a newer release" safe 2k22

# --- a build without a program --------------------------------------------------------------------

arm() {
    make --release w11 --arch arm64 --static || return 1
    if migrate guest.img out "${all[@]}"; then
        check
    else
        grep -q "has no first-boot program for aarch64.*--no-fix-network" "$work/log" &&
            [ ! -e "$work/out.raw" ] && migrate guest.img out --disable-tools --first-boot-service
    fi
}
claim "arm64: static addresses need a program that the build has, or it is an error" arm
finish
