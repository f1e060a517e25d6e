#!/bin/bash
# The first-boot service of Windows guests, installed and run by Wine's service manager.
#
# What is claimed here holds for Wine. Restarting the machine is played: Wine is ended and started
# again, which also is how machines die. Wine has no phantom devices, no pnputil and no netsh, so that
# what those would do is not seen here.
# shellcheck source=tests/e2e/lib.sh
. "${H2K_TOP:?the source tree}/tests/e2e/lib.sh"

program=$H2K_BUILD/src/firstboot/h2k-firstboot-x86_64.exe
[ -f "$program" ] || skip_all "this build has no program for x86_64"
command -v wine >/dev/null || skip_all "Wine is not here"
command -v x86_64-w64-mingw32-gcc >/dev/null || skip_all "mingw-w64 is not here"

export WINEPREFIX=$work/wine WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml='
unset DISPLAY WAYLAND_DISPLAY
home="$WINEPREFIX/drive_c/Program Files/hyper2kvm/firstboot"
log=$home/h2k-firstboot.log
state=$home/h2k-firstboot.state
serial=$work/serial.log
pty=

cleanup() {
    wineserver -k 2>/dev/null
    [ -z "$pty" ] || kill "$pty" 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT

# Wine, but not for ever
wine_() {
    timeout 60 wine "$@" </dev/null 2>/dev/null
}

power_off() {
    wineserver -k 2>/dev/null
    timeout 20 wineserver -w 2>/dev/null
    return 0
}

boot() {
    power_off
    wine_ wineboot
}

# until_ SECONDS COMMAND...: the command succeeds within this time
until_() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "not within its time: $*"
            tail -n 30 "$log" "$state" 2>/dev/null
            return 1
        fi
        sleep 0.1
    done
}

said() {
    grep -qE -- "$1" "$log"
}

# How often the log has a line that ends like this
times() {
    local n
    n=$(tr -d '\r' <"$log" | grep -cE -- "^[^ ]+ $1\$")
    [ "$n" -eq "$2" ] || {
        echo "$n times instead of $2: $1"
        cat "$log"
        return 1
    }
}

# offline_key PATH: standard input is all that this key of the machine's registry has (nothing: the
# key goes), written into the file in which Wine keeps it, as an offline installer changes a hive.
offline_key() {
    python3 - "$WINEPREFIX/system.reg" "${1//\\/\\\\}" "$(cat)" <<'END'
import re, sys
path, key, values = sys.argv[1:]
text = open(path, encoding="utf-8", errors="surrogateescape").read()
text = re.sub(r"(?m)^\[%s\][^\n]*\n(?:[^\n]+\n)*\n?" % re.escape(key), "", text)
if values:
    text = text.rstrip("\n") + "\n\n[%s] 1\n%s\n" % (key, values)
open(path, "w", encoding="utf-8", errors="surrogateescape").write(text)
END
}

# What COM1 is; nothing: there is none.
set_port() {
    power_off
    offline_key 'Software\Wine\Ports' <<<"\"COM1\"=\"${1:-$work/no-such-port}\""
    ln -sfn "${1:-$work/no-such-port}" "$WINEPREFIX/dosdevices/com1"
}

utf16() {
    printf '\xff\xfe'
    iconv -f UTF-8 -t UTF-16LE
}

# The last program that ran is to be deleted at the next boot, which must not hit the next one.
forget_deletions() {
    python3 - "$WINEPREFIX/system.reg" <<'END'
import re, sys
text = open(sys.argv[1], encoding="utf-8", errors="surrogateescape").read()
text = re.sub(r'(?m)^"PendingFileRenameOperations"=(?:.*\\\n)*.*\n', "", text)
open(sys.argv[1], "w", encoding="utf-8", errors="surrogateescape").write(text)
END
}

# A guest as the offline installer leaves it. Standard input: firstboot.ini.
install() {
    power_off
    forget_deletions
    rm -rf "$home"
    mkdir -p "$home/scripts" "$home/data"
    cp "$program" "$home/h2k-firstboot.exe"
    cp "$work/sleeper.exe" "$home/data"
    cat >"$home/firstboot.ini"
    offline_key 'System\CurrentControlSet\Services\h2k-firstboot' <<'END'
"ErrorControl"=dword:00000001
"ImagePath"=str(2):"\"%SystemDrive%\\Program Files\\hyper2kvm\\firstboot\\h2k-firstboot.exe\""
"ObjectName"="LocalSystem"
"Start"=dword:00000002
"Type"=dword:00000010
END
}

# script NAME: standard input, with the line ends of Windows
script() {
    sed 's/$/\r/' >"$home/scripts/$1"
}

# Its process is the one of this Wine with the program's name.
kill_service() {
    local victims
    mapfile -t victims < <(for process in $(pgrep -f 'h2k-firstboot\.exe'); do
        tr '\0' '\n' <"/proc/$process/environ" | grep -qxF "WINEPREFIX=$WINEPREFIX" && echo "$process"
    done)
    kill -KILL "${victims[@]}"
}

no_service() {
    ! wine_ sc query h2k-firstboot | grep -q STATE
}

# The names of $work/order were run, and no others
ran_in_order() {
    tr -d '\r' <"$log" | sed -n 's/.*H2K-FIRSTBOOT-RUN //p' | diff - "$work/order"
}

# COM1 got the lines of $work/lines, and of ours no others
sent_in_order() {
    tr -d '\r' <"$serial" | grep -v '^| ' | diff - "$work/lines"
}

# Scripts wrote this to the log
wrote() {
    local text
    for text; do
        grep -q "Z | *$text" "$log" || {
            echo "not there: $text"
            return 1
        }
    done
}

has_value() {
    wine_ reg query "$1" | grep -q -- "$2"
}

# What is left of it when all is done
only_log_and_state() {
    local left
    left=$(cd "$home" && find . -mindepth 1 | sort | tr '\n' ' ')
    [ "$left" = "./h2k-firstboot.log ./h2k-firstboot.state " ] || {
        echo "left: $left"
        return 1
    }
}

x86_64-w64-mingw32-gcc -O1 -s -o "$work/sleeper.exe" "$H2K_TOP/tests/e2e/firstboot/sleeper.c" || exit 1
timeout 120 wine wineboot -i </dev/null >/dev/null 2>&1
mkfifo "$work/pty-life"
python3 "$H2K_TOP/tests/e2e/firstboot/pty.py" "$work/pty" "$serial" <"$work/pty-life" &
pty=$!
exec 9>"$work/pty-life"
until_ 10 test -s "$work/pty" || exit 1
set_port "$(cat "$work/pty")"

# All goes well.
install </dev/null
script 020-second.cmd <<<'@echo two in %H2K_DIR%'
script 010-first.cmd <<<'@echo one'
script '030-mit Leerzeichen und Ö Ω.cmd' <<<'@echo three & echo to stderr 1>&2'
script 040-vb.vbs <<<'WScript.Echo "four"'
script 050-bat.bat <<<'@set /p x= & echo five'
utf16 >"$home/scripts/060-values.reg" <<'END'
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\Software\h2k-test]
"six"="yes"
END
cp "$work/sleeper.exe" "$home/scripts/070-program.exe"
echo 'no script' >"$home/scripts/readme.txt"
claim "the service starts at boot" boot
claim "its scripts run to the end" until_ 30 said 'H2K-FIRSTBOOT-DONE'
cat >"$work/order" <<'END'
010-first.cmd
020-second.cmd
030-mit Leerzeichen und Ö Ω.cmd
040-vb.vbs
050-bat.bat
060-values.reg
070-program.exe
END
claim "each runs once, in the order of their names" ran_in_order
claim "the log has what they wrote, errors as well" wrote one 'two in C:\\Program Files\\hyper2kvm\\firstboot' \
    three 'to stderr' four five
claim "a program's exit code is recorded" times 'H2K-FIRSTBOOT-EXIT 070-program.exe 2' 1
claim "the last line counts them" times 'H2K-FIRSTBOOT-DONE ok=6 failed=1' 1
cat >"$work/lines" <<'END'
H2K-FIRSTBOOT-START
H2K-FIRSTBOOT-RUN 010-first.cmd
H2K-FIRSTBOOT-EXIT 010-first.cmd 0
H2K-FIRSTBOOT-RUN 020-second.cmd
H2K-FIRSTBOOT-EXIT 020-second.cmd 0
H2K-FIRSTBOOT-RUN 030-mit Leerzeichen und \u00d6 \u03a9.cmd
H2K-FIRSTBOOT-EXIT 030-mit Leerzeichen und \u00d6 \u03a9.cmd 0
H2K-FIRSTBOOT-RUN 040-vb.vbs
H2K-FIRSTBOOT-EXIT 040-vb.vbs 0
H2K-FIRSTBOOT-RUN 050-bat.bat
H2K-FIRSTBOOT-EXIT 050-bat.bat 0
H2K-FIRSTBOOT-RUN 060-values.reg
H2K-FIRSTBOOT-EXIT 060-values.reg 0
H2K-FIRSTBOOT-RUN 070-program.exe
H2K-FIRSTBOOT-EXIT 070-program.exe 2
H2K-FIRSTBOOT-DONE ok=6 failed=1
END
claim "COM1 has the lines in their order, in ASCII" sent_in_order
claim "what scripts write is on COM1, marked" grep -q '^| one' "$serial"
claim "the registry file was imported" has_value 'HKLM\Software\h2k-test' yes
claim "the service is gone" until_ 10 no_service
cp "$log" "$work/log.before"
claim "it boots once more" boot
claim "the second boot runs nothing" cmp "$log" "$work/log.before"
claim "only the log and the state are left" only_log_and_state


# A script that fails, one that hangs with its child, one that is required.
install <<'END'
[020-hangs.cmd]
timeout = 3

; a comment
[030-REQUIRED.cmd]
required = 1
END
script 010-fails.cmd <<<'@exit 7'
script 020-hangs.cmd <<<'@"%H2K_DATA%\sleeper.exe" 60 C:\beats child'
script 030-required.cmd <<<'@exit /b 5'
script 040-after.cmd <<<'@echo reached'
script '050-100%path%.cmd' <<<'@echo never'
script 060-unknown.sh <<<'echo never'
boot
claim "scripts that fail and hang do not hold up the others" until_ 30 said 'H2K-FIRSTBOOT-DONE'
beats=$(stat -c %s "$WINEPREFIX/drive_c/beats")
claim "a script's exit code is recorded" times 'H2K-FIRSTBOOT-EXIT 010-fails.cmd 7' 1
claim "one that hangs is ended after its time" times 'H2K-FIRSTBOOT-EXIT 020-hangs.cmd 1460' 1
claim "it had run until then, and its child" test "$beats" -gt 15
sleep 1
claim "its child is ended, too" test "$(stat -c %s "$WINEPREFIX/drive_c/beats")" -eq "$beats"
claim "the last line tells that a required one failed" \
    times 'H2K-FIRSTBOOT-DONE ok=1 failed=3 required-failed=1' 1
claim "what cannot be a script is left alone, and said so" said '050-100%path%.cmd is left alone'
claim "the service goes all the same" until_ 10 no_service

# The machine dies while a script runs; then the service alone does, killed; then again.
install <<'END'
[firstboot]
attempts=3
END
script 010-before.cmd <<<'@echo before'
script 020-slow.cmd <<<'@if exist C:\grown (echo grown up) else "%H2K_DATA%\sleeper.exe" 60 C:\alive'
script 030-deadly.cmd <<<'@"%H2K_DATA%\sleeper.exe" 60 C:\deadly'
script 040-after.cmd <<<'@echo after'
boot
until_ 20 test -s "$WINEPREFIX/drive_c/alive"
claim "the machine dies while a script runs" power_off
claim "the state says so" grep -q 'script running 1 0 020-slow.cmd' "$state"
rm "$WINEPREFIX/drive_c/alive"
boot
until_ 20 test -s "$WINEPREFIX/drive_c/alive"
claim "the service is killed while a script runs" kill_service
sleep 1
beats=$(stat -c %s "$WINEPREFIX/drive_c/alive")
sleep 1
claim "the script does not outlive it" test "$(stat -c %s "$WINEPREFIX/drive_c/alive")" -eq "$beats"
touch "$WINEPREFIX/drive_c/grown"
for _ in 1 2 3; do
    rm -f "$WINEPREFIX/drive_c/deadly"
    boot
    until_ 20 test -s "$WINEPREFIX/drive_c/deadly"
done
boot
claim "after all that it comes to its end" until_ 20 said 'H2K-FIRSTBOOT-DONE'
claim "what was done before is not done again" times '.*RUN 010-before.cmd' 1
claim "the script that was interrupted runs again until it is done" times '.*RUN 020-slow.cmd' 3
claim "one that never comes to its end is begun three times" times '.*RUN 030-deadly.cmd' 3
claim "and is a failure then" times 'H2K-FIRSTBOOT-EXIT 030-deadly.cmd 1067' 1
claim "those behind it run" times 'H2K-FIRSTBOOT-DONE ok=3 failed=1' 1

# Restarts.
install <<'END'
[firstboot]
reboots=2
keep=1
END
script 010-code.cmd <<<'@exit 3010'
script 020-file.cmd <<<'@echo please>"%H2K_DIR%\reboot-requested"'
script 030-once-more.cmd <<<'@exit 1641'
boot
claim "a script asks for a restart by its exit code" until_ 20 said 'H2K-FIRSTBOOT-REBOOT'
claim "the next one waits for it" times '.*RUN 020-file.cmd' 0
boot
claim "the next one runs after the restart" until_ 20 times '.*RUN 020-file.cmd' 1
claim "a file asks for a restart as well" until_ 20 times 'H2K-FIRSTBOOT-REBOOT' 2
boot
claim "it goes on after that" until_ 20 said 'H2K-FIRSTBOOT-DONE'
claim "there are no more restarts than allowed" times 'H2K-FIRSTBOOT-REBOOT' 2
claim "all have run once" times 'H2K-FIRSTBOOT-DONE ok=3 failed=0' 1
claim "keep=1 keeps the scripts" test -f "$home/scripts/010-code.cmd"
claim "but not the service" until_ 10 no_service

# Told to stop.
install <<'END'
[firstboot]
stop-wait=4
END
script 010-short.cmd <<<'@"%H2K_DATA%\sleeper.exe" 3 C:\short'
script 020-long.cmd <<<'@if exist C:\grown2 (echo grown) else "%H2K_DATA%\sleeper.exe" 60 C:\long'
rm -f "$WINEPREFIX/drive_c/short"
boot
until_ 20 test -s "$WINEPREFIX/drive_c/short"
wine_ sc stop h2k-firstboot >/dev/null
until_ 20 said 'H2K-FIRSTBOOT-STOPPED'
claim "a script that is nearly done may finish when the service is to stop" \
    times 'H2K-FIRSTBOOT-EXIT 010-short.cmd 0' 1
wine_ sc start h2k-firstboot >/dev/null
until_ 20 test -s "$WINEPREFIX/drive_c/long"
wine_ sc stop h2k-firstboot >/dev/null
claim "one that takes longer is ended" until_ 20 times 'H2K-FIRSTBOOT-STOPPED' 2
claim "it counts as interrupted" grep -q 'script running [12] 0 020-long.cmd' "$state"
touch "$WINEPREFIX/drive_c/grown2"
boot
claim "the next boot takes it up" until_ 20 times 'H2K-FIRSTBOOT-DONE ok=2 failed=0' 1

# Logs that cannot be, or are full.
install <<<''
mkdir "$log"
: >"$serial"
script 010-one.cmd <<<'@echo one'
boot
claim "without a log file all is done and told on COM1" until_ 20 grep -q 'DONE ok=1 failed=0' "$serial"
claim "that there is no log is told, too" grep -q 'H2K-FIRSTBOOT-WARNING the log' "$serial"
install <<'END'
[firstboot]
log-limit=20000
serial-output=0
END
touch "$log"
chmod 444 "$log"
: >"$serial"
script 010-loud.cmd <<<'@for /l %%i in (1,1,1500) do @echo line %%i of very many'
boot
claim "a log that is read-only is written all the same" until_ 60 said 'H2K-FIRSTBOOT-DONE'
claim "the log is bounded" test "$(cat "$log" "$log.old" | wc -c)" -lt 41000
claim "output is kept off COM1 where that is wished" negate grep -q '^| ' "$serial"

# The port: nobody reads, or there is none.
mkfifo "$work/deaf-life"
python3 "$H2K_TOP/tests/e2e/firstboot/pty.py" "$work/deaf" "$work/deaf.log" --deaf <"$work/deaf-life" &
deaf=$!
exec 8>"$work/deaf-life"
until_ 10 test -s "$work/deaf"
set_port "$(cat "$work/deaf")"
install <<<''
script 010-loud.cmd <<<'@for /l %%i in (1,1,1500) do @echo line %%i of very many'
boot
claim "a port where nobody reads holds nothing up" until_ 30 said 'H2K-FIRSTBOOT-DONE ok=1'
claim "not a line is missing in the log" said 'line 1500 of'
power_off
exec 8>&-
wait "$deaf"
set_port ''
install <<<''
printf 'h2k-firstboot-state 1\r\nreboots 0\r\n' >"$state"
for i in $(seq 100 299); do
    cp "$work/sleeper.exe" "$home/scripts/$i-program.exe"
    [ $((i % 5)) -eq 0 ] || printf 'script done 1 0 %s\r\n' "$i-program.exe" >>"$state"
done
printf 'end\r\n' >>"$state"
boot
claim "of 200 scripts those run that had not, without a serial port" \
    until_ 90 times 'H2K-FIRSTBOOT-DONE ok=160 failed=40' 1
seq -f '%g-program.exe' 100 5 299 >"$work/order"
claim "in their order" ran_in_order

# Where it is not known what has run, nothing runs.
install <<<''
script 010-one.cmd <<<'@echo one'
printf 'h2k-firstboot-state 1\r\nreboots 0\r\nscript done 1 0 010-o' >"$state"
boot
claim "with a damaged state nothing is run" until_ 20 said 'H2K-FIRSTBOOT-ERROR the state file .* is damaged'
claim "no script was begun" times '.*RUN.*' 0
rm "$state"
mv "$home/scripts" "$home/elsewhere"
ln -s elsewhere "$home/scripts"
boot
claim "a scripts folder that leads elsewhere is refused" until_ 20 said 'H2K-FIRSTBOOT-ERROR .*cannot be listed'
claim "still no script was begun" times '.*RUN.*' 0


# What Windows XP has to have for it to be loaded.
imports() {
    objdump -p "$1" | awk '/DLL Name/ { dll = $3 } /^\t[0-9a-f]+\t/ && NF == 3 && dll { print dll "\t" $3 }'
}

# Nothing is imported that is not on the list
known_imports() {
    [ "$(imports "$1" | wc -l)" -gt 50 ] || return 1
    imports "$1" | grep -vxF -f "$H2K_TOP/tests/e2e/firstboot/xp-imports.txt" && return 1
    return 0
}

for arch in x86_64 i686; do
    file=$H2K_BUILD/src/firstboot/h2k-firstboot-$arch.exe
    if [ -f "$file" ]; then
        claim "the program for $arch imports nothing newer than Windows XP" known_imports "$file"
    else
        skip "the program for $arch imports nothing newer than Windows XP" "it is not built"
    fi
done

# By hand. Files are named by their Unix paths, which Wine takes.
tool() {
    wine_ "$program" "$@" | tr -d '\r'
    return "${PIPESTATUS[0]}"
}

# tool_says TEXT ARGUMENTS...: a line of what it prints is this
tool_says() {
    local text=$1
    shift
    tool "$@" >"$work/said"
    cat "$work/said"
    grep -qxF -- "$text" "$work/said"
}

install <<<''
offline_key 'System\CurrentControlSet\Services\h2k-firstboot' </dev/null
claim "--help names each mode" tool_says '  --run                          run the scripts now; nothing is removed or restarted:' --help
claim "an unknown option is refused" status 2 tool --nonsense
script 010-reboot.cmd <<<'@exit 3010'
script 020-next.cmd <<<'@exit 1'
claim "--run ends for a restart" status $((3010 % 256)) wine_ "$home/h2k-firstboot.exe" --run
claim "--run goes on the next time, and says that a script failed" status 1 wine_ "$home/h2k-firstboot.exe" --run
claim "--run removes nothing" test -f "$home/scripts/020-next.cmd"
# Wine starts again with each of these commands, and the service with it: it has something to do.
script 030-long.cmd <<<'@"%H2K_DATA%\sleeper.exe" 60 C:\thirty'
claim "--install makes a service" wine_ "$home/h2k-firstboot.exe" --install
claim "the service manager knows it" negate no_service
claim "--remove takes it away" wine_ "$home/h2k-firstboot.exe" --remove
# It is gone when it has ended.
kill_service 2>/dev/null
claim "the service manager does not know it any more" until_ 10 no_service
power_off

# The network, as far as Wine goes: its netsh does nothing, so the registry is written in the end.
nic=$(find /sys/class/net -mindepth 1 ! -name lo -printf '%f\n' | grep -m 1 -E '^(eth|en)')
if [ -n "$nic" ]; then
    mac=$(tr a-f: A-F- <"/sys/class/net/$nic/address")
    cat >"$work/network.ini" <<END
[network]
wait=1
[nic0]
mac=$mac
name=LAN Ä
address=192.0.2.10/24
address=192.0.2.11/25
gateway=192.0.2.1
gateway=192.0.2.2 20
dns=192.0.2.53
dns=192.0.2.54
suffix=example.com
metric=5
END
    tool --network "$work/network.ini" --dry-run | grep -v '^\[nic0\]' >"$work/netsh"
    cat >"$work/netsh.wanted" <<END
$nic: DNS suffix example.com
netsh interface ipv4 set interface "$nic" metric=5
netsh interface ip set address "$nic" static 192.0.2.10 255.255.255.0 192.0.2.1
netsh interface ip add address "$nic" 192.0.2.11 255.255.255.128
netsh interface ip add address "$nic" gateway=192.0.2.2 gwmetric=20
netsh interface ip set dns "$nic" static 192.0.2.53 primary validate=no
netsh interface ip add dns "$nic" 192.0.2.54 index=2 validate=no
netsh interface set interface name="$nic" newname="LAN Ä"
END
    claim "netsh is told addresses, gateways, servers and the name" diff "$work/netsh" "$work/netsh.wanted"
    tool --network "$work/network.ini" --dry-run --as 5.1 | grep -v '^\[nic0\]' >"$work/netsh"
    sed -i -e '/ipv4 set interface/s/.*/'"$nic"': metric 5/' -e 's/ validate=no//' \
        -e 's/192\.0\.2\.1$/& 1/' "$work/netsh.wanted"
    claim "on Windows XP it is told what that understands" diff "$work/netsh" "$work/netsh.wanted"
    guid=$(tool --network "$work/network.ini" --dry-run | sed -n 's/^\[nic0\] .* \({.*}\).*/\1/p')
    key=HKLM\\System\\CurrentControlSet\\Services\\Tcpip\\Parameters\\Interfaces\\$guid
    wine_ reg add "$key" /v EnableDHCP /t REG_DWORD /d 1 /f >/dev/null
    claim "where netsh does not do it, a restart is asked for" \
        status $((3010 % 256)) tool --network "$work/network.ini"
    claim "the registry has the addresses for it" has_value "$key" '192.0.2.10\\0192.0.2.11'
    claim "and the gateways" has_value "$key" '192.0.2.1\\0192.0.2.2'
    claim "and the suffix" has_value "$key" 'Domain .*example.com'
    claim "once more changes nothing" tool_says "$nic: has its addresses" --network "$work/network.ini"
    printf '[nic0]\nmac=00:50:56:00:00:01\ndhcp=1\n[nic1]\nmac=%s\ndhcp=1\naddress=1.2.3\n' "$mac" >"$work/n.ini"
    claim "DHCP is set" tool_says "netsh interface ip set address \"$nic\" dhcp" --network "$work/n.ini" --dry-run
    claim "an adapter that is missing is told" tool_says '[nic0] has no adapter here' --network "$work/n.ini" --dry-run
    claim "and is a failure" status 1 tool --network "$work/n.ini" --dry-run
else
    skip "netsh is told addresses, gateways, servers and the name" "this machine has no network adapter"
fi

# Registry entries of drivers, tools and adapters.
power_off
offline_key 'System\DriverDatabase\DriverPackages\viostor.inf_amd64_01' <<<'@="oem5.inf"'
offline_key 'System\DriverDatabase\DriverPackages\viostor.inf_amd64_02' <<<'@="oem6.inf"'
offline_key 'System\DriverDatabase\DriverPackages\vioscsi.inf_amd64_01' <<<'@="oem7.inf"'
offline_key 'System\DriverDatabase\DriverInfFiles\oem5.inf' <<<'@="viostor.inf_amd64_01"'
offline_key 'System\DriverDatabase\DeviceIds\PCI\VEN_1AF4&DEV_1001' <<<'"oem5.inf"=hex:01
"oem6.inf"=hex:01'
offline_key 'System\CurrentControlSet\Control\Class\{4D36E97B-E325-11CE-BFC1-08002BE10318}\0000' <<<'"InfPath"="oem5.inf"'
printf 'viostor.inf\tviostor.inf_amd64_01\toem5.inf\nvioscsi.inf\tvioscsi.inf_amd64_01\toem7.inf\n' >"$work/drivers.txt"
claim "entries of a driver that a device uses stay" \
    tool_says 'viostor.inf_amd64_01 stays: a device uses oem5.inf' --forget-drivers "$work/drivers.txt"
wine_ reg delete 'HKLM\System\CurrentControlSet\Control\Class\{4D36E97B-E325-11CE-BFC1-08002BE10318}\0000' /f >/dev/null
claim "those that are replaced go" tool_says 'viostor.inf_amd64_01 and oem5.inf are forgotten' --forget-drivers "$work/drivers.txt"
claim "the package is gone" negate has_value 'HKLM\System\DriverDatabase\DriverPackages' 'viostor.inf_amd64_01'
claim "what replaced it is there" has_value 'HKLM\System\DriverDatabase\DriverPackages' 'viostor.inf_amd64_02'
claim "another that nothing replaced is there" has_value 'HKLM\System\DriverDatabase\DriverPackages' 'vioscsi.inf_amd64_01'
claim "no device leads to it" negate has_value 'HKLM\System\DriverDatabase\DeviceIds\PCI\VEN_1AF4&DEV_1001' 'oem5.inf'
claim "devices lead to the new one" has_value 'HKLM\System\DriverDatabase\DeviceIds\PCI\VEN_1AF4&DEV_1001' 'oem6.inf'

install <<<''
for file in "$H2K_TOP"/src/firstboot/scripts/*.cmd; do
    sed 's/$/\r/' "$file" >"$home/scripts/${file##*/}"
done
code='{01234567-89AB-CDEF-0123-456789ABCDEF}'
offline_key "Software\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\$code" <<<'"DisplayName"="VMware Tools 12"'
offline_key 'Software\Microsoft\Windows\CurrentVersion\Run' <<<'"VMware User Process"="vmtoolsd.exe"
"Other"="stays.exe"'
offline_key 'System\CurrentControlSet\Services\VMTools' <<<'"Start"=dword:00000002'
offline_key 'System\CurrentControlSet\Services\vsepflt' <<<'"Start"=dword:00000000'
offline_key 'System\CurrentControlSet\Control\Class\{71A27CDD-812A-11D0-BEC7-08002BE2092F}' <<<'"UpperFilters"=str(7):"volsnap\0vsepflt\0"'
cat >"$home/data/old-tools.ini" <<'END'
[tools]
product=VMware Tools
service=VMTools
service=vsepflt
service=absent
run=VMware User Process
END
net='System\CurrentControlSet\Control\Network\{4D36E972-E325-11CE-BFC1-08002BE10318}\{11111111-0000-0000-0000-000000000001}'
offline_key "$net" <<<''
offline_key "$net"'\Connection' <<<'"Name"="Ethernet0"
"PnpInstanceID"="PCI\\VEN_15AD&DEV_07B0\\4&1&0&88"'
printf 'PCI\\VEN_15AD&DEV_07B0\\4&1&0&88\r\n' >"$home/data/ghost-nics.txt"
utf16 >"$home/data/restore.reg" <<'END'
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\System\CurrentControlSet\Control\CrashControl]
"AutoReboot"=dword:00000001
END
mkdir -p "$home/drivers/netkvm dir"
cat >"$home/drivers/netkvm dir/netkvm.inf" <<'END'
[Version]
Signature="$Windows NT$"
Class=Net
ClassGuid={4D36E972-E325-11CE-BFC1-08002BE10318}
Provider=%P%
DriverVer=01/02/2020,1.2.3.4
[Manufacturer]
%P%=Models,NTamd64
[Models.NTamd64]
"VirtIO Net"=Inst, PCI\VEN_1AF4&DEV_1000
[Strings]
P="h2k"
END
boot
claim "the standard scripts all succeed" until_ 60 said 'H2K-FIRSTBOOT-DONE ok=7 failed=0'
claim "the driver is in the driver store" test -f "$WINEPREFIX/drive_c/windows/inf/netkvm.inf"
claim "the ids of its models were looked for" wrote 'PCI\\VEN_1AF4&DEV_1000 has the driver'
claim "the old tools' uninstaller was run" wrote "msiexec.exe /x $code /qn /norestart REBOOT=ReallySuppress: "
claim "their service is disabled" has_value 'HKLM\System\CurrentControlSet\Services\VMTools' '0x4'
claim "a driver that is a filter is not" has_value 'HKLM\System\CurrentControlSet\Services\vsepflt' '0x0'
claim "their Run entry is gone" negate has_value 'HKLM\Software\Microsoft\Windows\CurrentVersion\Run' 'VMware'
claim "others stay" has_value 'HKLM\Software\Microsoft\Windows\CurrentVersion\Run' 'stays.exe'
claim "the old adapter's settings are gone" negate has_value "HKLM\\$net\\Connection" 'Ethernet0'
claim "AutoReboot is as it was" has_value 'HKLM\System\CurrentControlSet\Control\CrashControl' 'AutoReboot .*0x1'

finish
