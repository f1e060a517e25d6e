#!/bin/bash
# Formatting, compiler warnings as errors, static analysis, shell scripts. Reports in TAP.
cd "$H2K_TOP" || exit 1
n=0

# claim TEXT COMMAND...: one test
claim() {
    local text=$1
    shift
    n=$((n + 1))
    if "$@"; then
        echo "ok $n - $text"
    else
        echo "not ok $n - $text"
    fi
}

skip() {
    n=$((n + 1))
    echo "ok $n - $1 # SKIP $2"
}

sources() {
    git ls-files --cached --others --exclude-standard '*.c' '*.h'
}

formatted() {
    sources | xargs clang-format --dry-run --Werror
}

# A clean compile with warnings as errors, without linking anything: warning_free COMPILER LEVEL,
# where LEVEL is the optimization that the compiler's warnings need.
warning_free() {
    local compiler=$1 dir=$H2K_BUILD-lint-$1
    [ -f "$dir/build.ninja" ] ||
        CC=$compiler meson setup "$dir" --werror --buildtype=plain -Doptimization="$2" || return 1
    ninja -C "$dir" -t targets all | sed -n 's/: c_COMPILER$//p' | xargs ninja -C "$dir"
}

# What can be left out at build time stays so: a program without libguestfs links, and runs.
without_guestfs() {
    local dir=$H2K_BUILD-lint-none
    [ -f "$dir/build.ninja" ] ||
        meson setup "$dir" --werror --buildtype=plain -Dguestfs=disabled -Dtests=false || return 1
    ninja -C "$dir" && ! ldd "$dir/src/cmd/hyper2kvm" | grep guestfs && "$dir/src/cmd/hyper2kvm" --version
}

cppcheck_clean() {
    sources | grep '\.c$' | xargs cppcheck -q -j2 --error-exitcode=1 --inline-suppr --std=c11 \
        --enable=warning,portability --library=gtk --max-configs=1 -Iinclude -Isrc \
        --suppress=missingInclude --suppress=unknownMacro \
        --suppress=varFuncNullUB
}

scripts() {
    git ls-files --cached --others --exclude-standard | while read -r file; do
        if [ -f "$file" ] && head -n 1 "$file" | grep -qE '^#!/bin/(ba)?sh'; then
            printf '%s\n' "$file"
        fi
    done | xargs shellcheck -x
}

every_file_licensed() {
    ! sources | xargs grep -L 'SPDX-License-Identifier: GPL-2.0-or-later' | grep .
}

if [ "$(clang-format --version | sed -E 's/.*version ([0-9]+).*/\1/')" = 14 ]; then
    claim "the C sources are formatted as .clang-format says" formatted
else
    skip "the C sources are formatted as .clang-format says" \
        "clang-format 14 is not here, and other versions format differently"
fi
claim "gcc compiles everything without a warning" warning_free gcc 2
claim "clang compiles everything without a warning" warning_free clang 0
claim "it builds and runs without libguestfs" without_guestfs
claim "cppcheck finds nothing" cppcheck_clean
claim "shellcheck finds nothing in the scripts" scripts
claim "every C file names its licence" every_file_licensed
echo "1..$n"
