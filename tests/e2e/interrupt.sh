#!/bin/bash
# Signals in every phase: the source is as it was, nothing stands under the final name, nothing is
# left; a run that was further than the signal ends well and whole.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
disk=$(guest debian12-vmware vmdk-stream)
sum=$(sha256sum "$disk")
out=$work/out
temp=$work/temp
mkdir "$out" "$temp"

# start PHASE [OPTION...]: runs the migration in the background and waits until PHASE has begun
start() {
    local phase=$1
    shift
    "$H2K" local --progress=json --vmdk "$disk" --to-output "$out/guest.qcow2" --temp-dir "$temp" \
        --threads 1 "$@" >/dev/null 2>"$work/events" &
    pid=$!
    for _ in $(seq 3000); do
        if grep -q "\"phase\":\"$phase\"" "$work/events" || ! kill -0 "$pid" 2>/dev/null; then
            return
        fi
        sleep 0.01
    done
}

nothing_left() {
    empty "$out" && empty "$temp" && sha256sum -c --quiet <<<"$sum"
}

no_child() {
    ! pgrep -f "$temp/" >/dev/null
}

# Before the commit nothing may stand; in and after it the whole may.
whole_or_nothing() {
    if [ -e "$out/guest.qcow2" ]; then
        qemu-img check -q "$out/guest.qcow2" || return 1
        rm -f "$out/guest.qcow2" "$out/guest.xml"
    fi
    nothing_left
}

# signal PHASE SIGNAL CODE
signalled() {
    local phase=$1 signal=$2 code=$3 got=0
    start "$phase" --verify
    kill -s "$signal" "$pid" 2>/dev/null
    wait "$pid" || got=$?
    tail -n 3 "$work/events"
    if [ "$got" -eq 0 ]; then
        [ -e "$out/guest.qcow2" ] && [ -e "$out/guest.xml" ] || return 1
        whole_or_nothing
    elif [ "$got" -eq "$code" ]; then
        nothing_left
    else
        echo "exit status $got"
        return 1
    fi
}

# The copy takes long enough that a signal in it is always in time.
copy_is_stopped() {
    local got=0
    start copy
    kill -s "$1" "$pid"
    wait "$pid" || got=$?
    [ "$got" -eq "$2" ] && nothing_left &&
        [ "$(grep -c '"level":"error"' "$work/events")" -eq 1 ]
}

boot_is_stopped() {
    local got=0
    start boot --qemu-test
    sleep 3
    kill -s "$1" "$pid"
    wait "$pid" || got=$?
    # the disk was complete before its boot test began
    [ "$got" -eq "$2" ] && qemu-img check -q "$out/guest.qcow2" && no_child
    local ok=$?
    rm -f "$out/guest.qcow2" "$out/guest.xml"
    nothing_left && [ "$ok" -eq 0 ]
}

killed() {
    local i delay
    for i in 1 2 3 4 5 6; do
        delay=0.$((i * 13 % 10))$i
        "$H2K" -q local --vmdk "$disk" --to-output "$out/guest.qcow2" --temp-dir "$temp" &
        pid=$!
        sleep "$delay"
        kill -s KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
        if [ -e "$out/guest.qcow2" ]; then
            qemu-img check -q "$out/guest.qcow2" || return 1
            rm -f "$out/guest.qcow2" "$out/guest.xml"
        fi
        sha256sum -c --quiet <<<"$sum" || return 1
    done
    # what a killed run left under a temporary name goes with the next one
    "$H2K" -q local --vmdk "$disk" --to-output "$out/guest.qcow2" --temp-dir "$temp" || return 1
    whole_or_nothing
}

for phase in open output inspect repair prepare copy verify commit; do
    claim "SIGINT in phase $phase" signalled "$phase" INT 130
    claim "SIGTERM in phase $phase" signalled "$phase" TERM 143
done
claim "SIGTERM stops the copy with one error" copy_is_stopped TERM 143
claim "SIGINT stops the copy with one error" copy_is_stopped INT 130
claim "SIGINT ends the boot test and its QEMU; the finished disk stays" boot_is_stopped INT 130
claim "SIGKILL at any moment leaves nothing that looks finished" killed
finish
