#!/bin/bash
# The command line: help, man page, completion, logs, progress, reports, installation.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
disk=$(guest debian12-vmware vmdk-sparse)
page=$H2K_TOP/man/hyper2kvm.1

helps() {
    "$H2K" --help && "$H2K" local --help && "$H2K" inspect --help && "$H2K" boot-test --help &&
        "$H2K" convert --help && "$H2K" info --help && "$H2K" check --help &&
        "$H2K" compare --help && "$H2K" nbd-serve --help && "$H2K" ls --help &&
        "$H2K" tree --help && "$H2K" cat --help && "$H2K" get --help && "$H2K" put --help &&
        "$H2K" clone --help
}

man_page_is_clean() {
    local said
    said=$(LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
    echo "$said"
    [ -z "$said" ]
}

# Every option that --help lists stands in the man page and in the completion.
documented() {
    local command option missing=0
    for command in local inspect boot-test convert info check compare nbd-serve ls tree cat get put discover \
        "clone create" "clone list" "clone show" "clone tree" "clone run" "clone serve" "clone snapshot" "clone reset" \
        "clone commit" "clone merge" "clone diff" "clone verify" "clone flatten" "clone export" "clone rebase" "clone delete" \
        "clone define" "clone undefine" "clone start" "clone console" "clone stop" "clone watch" "clone resume" "clone limit"; do
        # shellcheck disable=SC2086
        for option in $("$H2K" $command --help | grep -oE '^ +(-[a-z], )?--[a-z][a-z-]+' | grep -oE -- '--[a-z-]+'); do
            [ "$option" = --help ] && continue
            # roff writes a hyphen as \-
            if ! sed 's/\\-/-/g' "$page" | grep -qF -- "$option"; then
                echo "$command $option is not in the man page"
                missing=1
            fi
            if ! grep -qF -- "$option" "$H2K_TOP/scripts/completion.bash"; then
                echo "$command $option is not completed"
                missing=1
            fi
        done
    done
    [ "$missing" -eq 0 ]
}

exit_codes_documented() {
    local code codes missing=0
    mapfile -t codes < <(sed -nE 's/^  EXIT_[A-Z_]+ = ([0-9]+),.*/\1/p' "$H2K_TOP/src/cmd/exit-codes.h")
    for code in "${codes[@]}"; do
        [ "$code" = 128 ] && continue
        grep -qE "^\.(B|BR) $code\$" "$page" || {
            echo "exit code $code is not in the man page"
            missing=1
        }
    done
    [ "$missing" -eq 0 ]
}

installs() {
    DESTDIR=$work/root meson install -C "$H2K_BUILD" --no-rebuild &&
        find "$work/root" -name hyper2kvm.1 | grep -q . &&
        find "$work/root" -name hyper2kvm.h | grep -q . &&
        LD_LIBRARY_PATH=$(dirname "$(find "$work/root" -name 'libhyper2kvm.so')") \
            "$(find "$work/root" -path '*/bin/hyper2kvm')" --version
}

inspects() {
    "$H2K" inspect --json "$disk" >"$work/inspect.json" &&
        json "$work/inspect.json" 'd["distro"] == "debian" and d["version"] == "12"' &&
        json "$work/inspect.json" 'd["architecture"] == "x86_64" and d["bootloader"] == "grub2"' &&
        json "$work/inspect.json" 'd["initramfs_generator"] == "initramfs-tools" and d["init"] == "systemd"' &&
        json "$work/inspect.json" 'len(d["kernels"]) == 1 and "ifupdown" in d["network"]' &&
        "$H2K" inspect "$disk" | grep -q 'Debian GNU/Linux 12'
}

plans() {
    mkdir "$work/plan"
    (cd "$work/plan" && "$H2K" local --vmdk "$disk" --to-output out.qcow2 --dry-run >../plan.md) &&
        grep -q '^+UUID=' "$work/plan.md" && empty "$work/plan"
}

# One repair named: that one alone; all but one: the others.
selects() {
    "$H2K" local --vmdk "$disk" --dry-run --json --fix-fstab >"$work/one.json" &&
        json "$work/one.json" '[r["name"] for r in d["repairs"] if r["changes"]] == ["fstab"]' &&
        "$H2K" local --vmdk "$disk" --dry-run --json --no-fix-network >"$work/most.json" &&
        json "$work/most.json" '[r["status"] for r in d["repairs"] if r["name"] == "network"] == ["not selected"]' &&
        json "$work/most.json" 'sum(bool(r["changes"]) for r in d["repairs"]) >= 4'
}

reports() {
    local kind
    for kind in md json html; do
        "$H2K" -q local --vmdk "$disk" --to-output "$work/r.qcow2" --force --report "$work/r.$kind" || return 1
    done
    json "$work/r.json" 'd["status"] == "ok" and d["output"]["disks"][0]["virtual_size"] == 4 << 30' &&
        xmllint --html --noout "$work/r.html" 2>"$work/html.err" &&
        grep -q '^# Migration of r' "$work/r.md"
}

progress_events() {
    "$H2K" local --progress=json --vmdk "$disk" --to-output "$work/p.qcow2" 2>"$work/events" &&
        python3 -c 'import json, sys
events = [json.loads(line) for line in open(sys.argv[1])]
copy = [e for e in events if e["event"] == "progress" and e["phase"] == "copy" and e["total"]]
assert copy and copy[-1]["done"] == copy[-1]["total"], copy[-1:]
assert all(a["done"] <= b["done"] for a, b in zip(copy, copy[1:]))
assert any(e["event"] == "log" for e in events)' "$work/events"
}

progress_lines() {
    "$H2K" local --vmdk "$disk" --to-output "$work/l.qcow2" 2>"$work/lines" &&
        grep -q 'copy: 100%' "$work/lines" && ! grep -q $'\r' "$work/lines"
}

logs() {
    "$H2K" --log-level error --log-file "$work/log" local --vmdk "$disk" --dry-run >/dev/null 2>"$work/err" &&
        grep -q ' info ' "$work/log" && ! grep -q 'source:' "$work/err"
}

converts() {
    local options=$1 format=$2
    # shellcheck disable=SC2086
    "$H2K" -q local --vmdk "$disk" --to-output "$work/c.$format" --out-format "$format" --force --verify $options &&
        qemu-img info "$work/c.$format"
}

claim "--version prints the version" "$H2K" --version
claim "--help works for the program and each command" helps
claim "the man page has no mistakes" man_page_is_clean
claim "each option is in the man page and in the completion" documented
claim "each exit code is in the man page" exit_codes_documented
claim "the completion is valid bash" bash -n "$H2K_TOP/scripts/completion.bash"
pictured() {
    truncate -s 1M "$work/empty.raw"
    status 13 "$H2K" boot-test --format raw --boot-timeout 15 --screen "$work/screen.png" --json \
        "$work/empty.raw" >"$work/seen.json" &&
        json "$work/seen.json" 'd["screen"].endswith("/screen.png")' &&
        [ "$(head -c 8 "$work/screen.png" | od -An -tx1)" = " 89 50 4e 47 0d 0a 1a 0a" ] &&
        [ "$(stat -c %a "$work/screen.png")" = 600 ]
}
if command -v qemu-system-x86_64 >/dev/null; then
    claim "boot-test --screen keeps a picture of what does not boot" pictured
else
    skip "boot-test --screen keeps a picture of what does not boot" "QEMU is not installed"
fi
# complete WORD...: what the completion offers for the last of these words
complete_words() {
    (
        # shellcheck source=scripts/completion.bash
        . "$H2K_TOP/scripts/completion.bash"
        COMP_WORDS=(hyper2kvm "$@") COMP_CWORD=$# COMPREPLY=()
        _hyper2kvm hyper2kvm "${*: -1}" "${COMP_WORDS[COMP_CWORD - 1]}"
        echo "${COMPREPLY[*]}"
    )
}

# With "=" as a word of its own, as bash splits them, and within one.
completes() {
    [ "$(complete_words inspect --backend =)" = "auto native guestfs" ] &&
        [ "$(complete_words inspect --backend = n)" = native ] &&
        [ "$(complete_words inspect --backend=n)" = --backend=native ] &&
        [ "$(complete_words inspect --backend n)" = native ] &&
        [ "$(complete_words -v inspect --b)" = --backend ] &&
        [ "$(complete_words --log-level = info ls --rec)" = --recursive ] &&
        [ "$(complete_words -v che)" = check ] && [ "$(complete_words -v '')" != "" ] &&
        ! complete_words -v '' | grep -q meson &&
        [ "$(complete_words local --out-format q)" = qcow2 ] &&
        [ "$(complete_words clone sn)" = snapshot ] &&
        [ "$(complete_words -v clone --state-dir /tmp reset --t)" = "--to --timeout" ]
}

numbers() {
    local option
    for option in --vcpus=0 --vcpus=-1 --memory=0; do
        refused 2 'or more' "$H2K" local --vmdk "$disk" --dry-run "$option" &&
            refused 2 'or more' "$H2K" boot-test "$disk" "$option" || return 1
    done
}

claim "the completion knows options with = and before the command" completes
claim "a VM without CPU or memory is a usage error" numbers
claim "make install puts the program, library, header and man page into place" installs
claim "no command is a usage error" refused 2 'no command' "$H2K"
claim "an unknown command is a usage error" refused 2 'no such command' "$H2K" frobnicate
claim "an unknown option is a usage error" refused 2 'Unknown option' "$H2K" local --frobnicate
claim "a wrong word is a usage error" refused 2 'zlib or zstd' "$H2K" local --vmdk "$disk" -o "$work/x.qcow2" --compress=rar
claim "compressed raw is a usage error" refused 2 'qcow2 can be compressed' "$H2K" local --vmdk "$disk" -o "$work/x.raw" --out-format raw --compress
claim "a report with another extension is a usage error" refused 2 'md, .json or .html' "$H2K" local --vmdk "$disk" -o "$work/x.qcow2" --report "$work/x.pdf"
claim "inspect knows the guest, as text and as JSON" inspects
claim "--dry-run prints the plan and writes nothing" plans
claim "repairs are selected by their flags" selects
claim "reports are written as Markdown, JSON and HTML" reports
claim "--progress=json gives events" progress_events
claim "without a terminal, progress is a line each 10 %" progress_lines
claim "--log-file has what --log-level leaves out" logs
claim "zlib compression with one thread, verified" converts "--compress --threads 1" qcow2
claim "zstd compression, verified" converts "--compress=zstd --fast" qcow2
claim "raw, verified, all blocks" converts "--no-sparsify" raw
claim "without inspection" converts "--no-guest-inspection" qcow2
finish
