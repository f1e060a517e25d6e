# lib.sh - what the end-to-end scripts share: claims in TAP, real guests, a place to work.
# H2K is the program under test, H2K_TOP the source tree. Sourced, not run.
# shellcheck shell=bash
set -u

: "${H2K:?the program under test}" "${H2K_TOP:?the source tree}"
count=0
bad=0
work=$(mktemp -d "${TMPDIR:-/var/tmp}/h2k-e2e.XXXXXX")
trap 'rm -rf "$work"' EXIT
# libguestfs makes its appliance's image once for all of them, not once in each TMPDIR.
export LIBGUESTFS_CACHEDIR="${LIBGUESTFS_CACHEDIR:-/var/tmp}"

# claim TEXT COMMAND...: one test; what the command prints is shown when it fails
claim() {
    local text=$1 start=$SECONDS
    shift
    count=$((count + 1))
    if "$@" >"$work/.claim" 2>&1; then
        echo "ok $count - $text ($((SECONDS - start)) s)"
    else
        bad=$((bad + 1))
        echo "not ok $count - $text ($((SECONDS - start)) s)"
        tail -n 40 "$work/.claim" | sed 's/^/#   /'
    fi
}

# fails TEXT COMMAND...: one test that passes when the command fails
fails() {
    local text=$1
    shift
    claim "$text" negate "$@"
}

negate() {
    ! "$@"
}

# skip TEXT REASON: a claim that cannot be tried on this machine
skip() {
    count=$((count + 1))
    echo "ok $count - $1 # SKIP $2"
}

# skip_all REASON: none of the script's claims can
skip_all() {
    echo "1..0 # SKIP $1"
    exit 0
}

is_root() {
    [ "$(id -u)" -eq 0 ]
}

has_loop_devices() {
    is_root && losetup -f >/dev/null 2>&1
}

finish() {
    echo "1..$count"
    [ "$bad" -eq 0 ]
}

# guest NAME FORMAT: the path of a real guest's disk, built when it is missing
guest() {
    "$H2K_TOP/tests/guests/build" --format "$2" "$1" | tail -n 1
}

# status CODE COMMAND...: the command must end with this exit code (or one of them: "3|4")
status() {
    local wanted=$1 code=0
    shift
    "$@" || code=$?
    if [[ ! $code =~ ^($wanted)$ ]]; then
        echo "exit status $code instead of $wanted: $*"
        return 1
    fi
}

# refused CODE REGEX COMMAND...: ends with CODE and exactly one line of error, which fits REGEX
refused() {
    local wanted=$1 regex=$2 errors
    shift 2
    status "$wanted" "$@" 2>"$work/.stderr" >"$work/.stdout"
    local ok=$?
    cat "$work/.stdout" "$work/.stderr"
    errors=$(grep -c '^hyper2kvm: error: ' "$work/.stderr")
    [ "$ok" -eq 0 ] && [ "$errors" -eq 1 ] && grep '^hyper2kvm: error: ' "$work/.stderr" | grep -qE "$regex"
}

# clone VERB ARGUMENT...: hyper2kvm clone with the script's own store, $store
clone() {
    local verb=$1
    shift
    "$H2K" -q clone "$verb" --state-dir "${store:?}" "$@"
}

# soon COMMAND...: until the command holds, at most 90 seconds
soon() {
    local i
    for ((i = 0; i < 900; i++)); do
        "$@" && return
        sleep 0.1
    done
    return 1
}

# json FILE EXPRESSION: whether a Python expression over the document d holds
json() {
    python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
ok = bool(eval(sys.argv[2]))
if not ok:
    print("not true:", sys.argv[2])
sys.exit(not ok)' "$1" "$2"
}

# empty DIR: no file below it, hidden ones included
empty() {
    local found
    found=$(find "$1" -mindepth 1)
    [ -z "$found" ] || {
        echo "left behind: $found"
        return 1
    }
}
