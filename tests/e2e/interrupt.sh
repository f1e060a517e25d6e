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

# With --resume it is said how to go on, and that does.
copy_goes_on() {
    local got=0
    start copy --resume --bwlimit=100M
    sleep 1
    kill -s TERM "$pid"
    wait "$pid" || got=$?
    tail -n 3 "$work/events"
    [ "$got" -eq 143 ] && grep -q 'the same command goes on where this one stopped' "$work/events" &&
        [ ! -e "$out/guest.qcow2" ] && [ -n "$(ls -A "$out")" ] || return 1
    "$H2K" local --json --vmdk "$disk" --to-output "$out/guest.qcow2" --temp-dir "$temp" --threads 1 --resume \
        >"$work/resumed.json" && json "$work/resumed.json" 'd["copy"]["bytes_resumed"] > 0' &&
        qemu-img check -q "$out/guest.qcow2" && rm "$out/guest.qcow2" "$out/guest.xml" && nothing_left
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

# A stream that was cut: the exit status says so, and so does what came, unless it is raw.
stream_is_cut() {
    python3 - "$H2K" "$work" "$1" <<'PYTHON'
import os, random, signal, subprocess, sys, time

program, work, fmt = sys.argv[1:]
dice = random.Random(fmt)
source, cut = os.path.join(work, 'in.raw'), os.path.join(work, f'cut.{fmt}')
command = [program, '-q', 'convert', '-O', fmt, '--bwlimit=100M', source, '-']
whole = subprocess.run([*command[:-2], source, '-'], stdout=subprocess.PIPE, check=True).stdout
in_time = 0
for number in [signal.SIGKILL, signal.SIGTERM, signal.SIGINT] * 2:
    with open(cut, 'wb') as out:
        # The reader is at the other end of a pipe.
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        copy = subprocess.Popen(['cat'], stdin=run.stdout, stdout=out)
        run.stdout.close()
        time.sleep(dice.uniform(0.02, 0.3))
        run.send_signal(number)
        code = run.wait()
        assert copy.wait() == 0
    got = open(cut, 'rb').read()
    assert whole.startswith(got)
    if code == 0:
        assert got == whole
        continue
    # Before the program has come to its handlers.
    if code == -number and not got:
        continue
    in_time += 1
    assert code == (-9 if number == signal.SIGKILL else 128 + number), code
    assert len(got) < len(whole), 'the stream was whole'
    if fmt != 'raw':
        read = subprocess.run([program, '-q', 'info', '-f', fmt, cut], stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
        assert read.returncode == 4, f'{len(got)} bytes pass for a whole image: {read.stderr}'
assert in_time >= 3, f'{in_time} in time'
PYTHON
}

# Of a device that is half written only the exit status can tell; the next run writes all of it.
device_is_cut() {
    local loop ok=0 number pid got
    truncate -s 40M "$work/device"
    loop=$(losetup -f --show "$work/device") || return 1
    for number in 9 15 2; do
        got=0
        "$H2K" -q convert --force --bwlimit=60M -O raw "$work/in.raw" "$loop" 2>/dev/null &
        pid=$!
        sleep 0.2
        kill -s $number $pid
        wait $pid || got=$?
        [ "$got" -eq $((128 + number)) ] || ok=1
    done
    "$H2K" -q convert --force --verify -O raw "$work/in.raw" "$loop" &&
        cmp -n "$(stat -c %s "$work/in.raw")" "$work/in.raw" "$work/device" || ok=1
    losetup -d "$loop"
    return $ok
}

# The output has its name before its digests are made: it stays, and the message says so.
digests_are_stopped() {
    local pid got=0
    rm -rf "$work/sums"
    mkdir "$work/sums"
    cp --sparse=always "$work/in.raw" "$work/large.raw" && truncate -s 3G "$work/large.raw"
    "$H2K" --progress=json convert -O raw --checksum "$work/large.raw" "$work/sums/disk.raw" 2>"$work/events" &
    pid=$!
    for _ in $(seq 3000); do
        grep -q '"phase":"checksum"' "$work/events" && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.01
    done
    kill -s "$1" $pid
    wait $pid || got=$?
    tail -n 2 "$work/events"
    [ "$got" -eq "$2" ] && [ "$(grep -c '"level":"error"' "$work/events")" -eq 1 ] &&
        grep '"level":"error"' "$work/events" | grep -q 'sums/disk.raw is complete, but its digests are not written' &&
        [ "$(ls -A "$work/sums")" = disk.raw ] && "$H2K" -q compare "$work/large.raw" "$work/sums/disk.raw"
}

for phase in open output inspect repair prepare copy verify commit; do
    claim "SIGINT in phase $phase" signalled "$phase" INT 130
    claim "SIGTERM in phase $phase" signalled "$phase" TERM 143
done
claim "SIGTERM stops the copy with one error" copy_is_stopped TERM 143
claim "SIGINT stops the copy with one error" copy_is_stopped INT 130
claim "a copy that is stopped with --resume goes on" copy_goes_on
claim "SIGINT ends the boot test and its QEMU; the finished disk stays" boot_is_stopped INT 130
dd if=/dev/urandom of="$work/in.raw" bs=1M count=24 status=none
truncate -s 30000128 "$work/in.raw"
for format in raw vhd vmdk; do
    claim "$format to standard output is cut, and that can be told" stream_is_cut $format
done
if has_loop_devices; then
    claim "a device that is half written" device_is_cut
else
    skip "a device that is half written" "loop devices need root"
fi
claim "SIGINT while the digests are made leaves the complete output" digests_are_stopped INT 130
claim "SIGTERM while the digests are made leaves the complete output" digests_are_stopped TERM 143
claim "SIGKILL at any moment leaves nothing that looks finished" killed
finish
