#!/bin/bash
# The first-boot service of Windows guests, installed and run by Wine's service manager.
#
# What is claimed here holds for Wine; restarting the machine is played: the service is told that
# the restart comes, then Wine is shut down and started again.
# shellcheck source=tests/e2e/lib.sh
. "$H2K_TOP/tests/e2e/lib.sh"

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

# Wine redirects its ports to where this says; absent: there is no COM1.
set_port() {
    if [ -n "$1" ]; then
        wine_ reg add 'HKLM\Software\Wine\Ports' /v COM1 /d "$1" /f
    else
        wine_ reg add 'HKLM\Software\Wine\Ports' /v COM1 /d "$work/no-such-port" /f
    fi >/dev/null
}

utf16() {
    printf '\xff\xfe'
    iconv -f UTF-8 -t UTF-16LE
}

# A guest as the offline installer leaves it. Standard input: firstboot.ini.
install() {
    power_off
    rm -rf "$home"
    mkdir -p "$home/scripts" "$home/data"
    cp "$program" "$home/h2k-firstboot.exe"
    cp "$work/sleeper.exe" "$home/data"
    cat >"$home/firstboot.ini"
    utf16 <<'END' >"$work/service.reg"
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\System\CurrentControlSet\Services\h2k-firstboot]
"Type"=dword:00000010
"Start"=dword:00000002
"ErrorControl"=dword:00000001
"ImagePath"=hex(2):22,00,25,00,53,00,79,00,73,00,74,00,65,00,6d,00,44,00,72,00,69,00,76,00,65,00,25,00,5c,00,50,00,72,00,6f,00,67,00,72,00,61,00,6d,00,20,00,46,00,69,00,6c,00,65,00,73,00,5c,00,68,00,79,00,70,00,65,00,72,00,32,00,6b,00,76,00,6d,00,5c,00,66,00,69,00,72,00,73,00,74,00,62,00,6f,00,6f,00,74,00,5c,00,68,00,32,00,6b,00,2d,00,66,00,69,00,72,00,73,00,74,00,62,00,6f,00,6f,00,74,00,2e,00,65,00,78,00,65,00,22,00,00,00
"ObjectName"="LocalSystem"
END
    wine_ regedit /s "$work/service.reg"
}

# script NAME: standard input, with the line ends of Windows
script() {
    sed 's/$/\r/' >"$home/scripts/$1"
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

finish
