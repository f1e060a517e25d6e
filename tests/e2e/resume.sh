#!/bin/bash
# Interrupted conversions: killed, out of space, stopped by a signal; each is taken up with --resume
# and ends in the bytes that an uninterrupted one makes. SEED chooses the points.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

SEED=${SEED:-1}

# interrupted HOW COUNT FORMAT OPTION...: interrupt a conversion of in.raw at a seeded point, perhaps
# again, then finish it; until it was interrupted COUNT times, and not too late
interrupted() {
    python3 - "$H2K" "$work" "$SEED" "$@" <<'PYTHON'
import filecmp, glob, os, random, resource, signal, subprocess, sys, time

program, work, seed, how, count, fmt, *options = sys.argv[1:]
dice = random.Random(f'{seed} {how} {fmt} {options}')
source, output, reference = (os.path.join(work, n) for n in ('in.raw', 'out/disk', 'reference/disk'))
command = [program, '-q', 'convert', '-O', fmt, '--fast', *options, source]
for path in output, reference:  # of one name, which a VMDK holds
    os.makedirs(os.path.dirname(path), exist_ok=True)
before = os.stat(source)
subprocess.run(command + ['--force', reference], check=True)
start = time.monotonic()
subprocess.run(command + ['--force', '--bwlimit=300M', reference], check=True)
whole = time.monotonic() - start
points = finished = 0

def limit_size():
    size = dice.randrange(os.stat(reference).st_size)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def interrupt():
    """Returns whether the run was interrupted, and not at its end already."""
    slow = command + ['--resume', '--bwlimit=300M', output]
    if how == 'space':
        return subprocess.run(slow, preexec_fn=limit_size, stderr=subprocess.DEVNULL).returncode != 0
    run = subprocess.Popen(slow, stderr=subprocess.DEVNULL)
    time.sleep(dice.uniform(0, whole * 1.1))
    run.send_signal(signal.SIGKILL if how == 'kill' else signal.SIGTERM)
    return run.wait() != 0

while points - finished < int(count):
    assert finished < 10 + int(count), 'hardly any run was interrupted'
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        points += 1
        if not interrupt() or os.path.lexists(output):
            # What has its name is complete; the signal came too late.
            assert filecmp.cmp(reference, output, shallow=False), 'an unfinished output has its name'
            os.unlink(output)
            finished += 1
            whole *= 0.8  # other work on this machine has come or gone
            break
        whole *= 1.05
    if not os.path.lexists(output):
        subprocess.run(command + ['--resume', output], check=True)
    assert filecmp.cmp(reference, output, shallow=False), f'differs after {points} interruptions'
    os.unlink(output)
    left = os.listdir(os.path.dirname(output))
    assert not left, f'left: {left}'
after = os.stat(source)
assert (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino)
print(f'{points} interruptions, {finished} of them too late')
PYTHON
}

python3 - "$work/in.raw" "$SEED" <<'PYTHON'
import random, sys
dice = random.Random(sys.argv[2])
with open(sys.argv[1], 'wb') as f:
    at = 0
    while at < 60 << 20:
        n = dice.choice([4096, 65536, 300000 // 512 * 512, 3 << 20])
        f.seek(at)
        kind = dice.randrange(4)
        if kind < 2:
            f.write(dice.randbytes(n))
        elif kind == 2:
            f.write((b'%d compresses ' % at * (n // 8))[:n])
        at += n
    f.truncate(at)
PYTHON
digest=$(sha256sum <"$work/in.raw")

claim "killed at 80 points while it writes raw" interrupted kill 80 raw
claim "killed at 80 points while it writes qcow2" interrupted kill 80 qcow2
claim "killed at 40 points while it writes compressed qcow2" interrupted kill 40 qcow2 --compress=zstd
claim "stopped by SIGTERM at 20 points" interrupted term 20 qcow2
claim "no more can be written at 30 points" interrupted space 30 qcow2
claim "no more can be written at 30 points of a raw output" interrupted space 30 raw

for format in vmdk vhdx vhd; do
    claim "killed at 12 points while it writes $format" interrupted kill 12 $format
    claim "stopped by SIGTERM at 4 points of $format" interrupted term 4 $format
done
claim "no more can be written at 10 points of a VHDX" interrupted space 10 vhdx

same_source() {
    [ "$digest" = "$(sha256sum <"$work/in.raw")" ]
}
claim "the source is bit for bit what it was" same_source

# started OUTPUT: wait until something of it is being written
started() {
    local tries=0
    until [ -n "$(find "$(dirname "$1")" -maxdepth 1 -name ".$(basename "$1").h2k-*.log" -size +0)" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || return 1
        sleep 0.05
    done
}

# start_and_kill OUTPUT OPTION...: leaves a part of a conversion
start_and_kill() {
    local output=$1 pid
    shift
    "$H2K" -q convert --bwlimit=50M "$@" "$work/in.raw" "$output" &
    pid=$!
    started "$output" || return 1
    kill -9 "$pid"
    wait "$pid" 2>/dev/null
    [ ! -e "$output" ]
}

options_changed() {
    start_and_kill "$work/d.qcow2" &&
        refused 2 'other options' "$H2K" -q convert --resume --compress "$work/in.raw" "$work/d.qcow2" &&
        "$H2K" -q convert --resume "$work/in.raw" "$work/d.qcow2" && qemu-img check -q "$work/d.qcow2" &&
        "$H2K" -q compare "$work/in.raw" "$work/d.qcow2"
}
source_changed() {
    start_and_kill "$work/c.qcow2" && touch "$work/in.raw" &&
        refused '3|4' 'source has changed' "$H2K" -q convert --resume "$work/in.raw" "$work/c.qcow2" &&
        "$H2K" -q convert "$work/in.raw" "$work/c.qcow2" && "$H2K" -q compare "$work/in.raw" "$work/c.qcow2"
}
claim "a run with other options is not taken up" options_changed
claim "a source that has changed meanwhile is refused" source_changed

changes_while_read() {
    "$H2K" -q convert --force --bwlimit=30M "$work/in.raw" "$work/e.qcow2" 2>"$work/e.err" &
    local pid=$!
    started "$work/e.qcow2" || return 1
    touch "$work/in.raw"
    status '3|4' wait "$pid" && grep -q 'changed while it was read' "$work/e.err" && [ ! -e "$work/e.qcow2" ]
}
claim "a source that changes while it is read is an error" changes_while_read

limited() {
    local start=$SECONDS
    "$H2K" -q convert --force --bwlimit=10M "$work/in.raw" "$work/f.qcow2" && [ $((SECONDS - start)) -ge 3 ]
}
claim "--bwlimit keeps to its rate" limited

checksums() {
    "$H2K" -q convert --checksum "$work/in.raw" "$work/g.qcow2" &&
        (cd "$work" && sha256sum -c g.qcow2.sha256) &&
        refused 9 exists "$H2K" -q convert --checksum "$work/in.raw" "$work/g.qcow2"
}
claim "--checksum writes what sha256sum checks" checksums
claim "--io-priority takes ionice's words" "$H2K" -q convert --force --io-priority=idle "$work/in.raw" "$work/g.qcow2"
claim "--io-priority refuses others" refused 2 'best-effort' "$H2K" -q convert --force --io-priority=fast "$work/in.raw" "$work/g.qcow2"

finish
