#!/bin/bash
# Encrypted clones: what the VM and the repairs write cannot be read without the key, which lies
# elsewhere; QEMU reads and writes the same images.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
store=$work/store
marker="SEEN BY NOBODY 0123456789"
secret="correct horse battery"

# chain NAME: QEMU's description of the clone's disk with its keys, from what `clone show` says
chain() {
    clone show "$1" --json >"$work/show.json" && python3 - "$work/show.json" <<'EOF'
import json, sys
d = json.load(open(sys.argv[1]))
layers = {l["layer"]: l for l in d["layers"]}
at = next(l for l in d["layers"] if l["current"])
words, prefix = [], ""
while at:
    words += [f"{prefix}driver=qcow2", f"{prefix}file.filename={at['image']}", f"{prefix}encrypt.key-secret=s"]
    prefix += "backing."
    at = layers.get(at["parent"])
print(",".join(words))
EOF
}

# qemu TOOL NAME ARGUMENTS...: qemu-img or qemu-io on a clone's disk
qemu() {
    local tool=$1 options
    options=$(chain "$2") || return 1
    shift 2
    "${tool[@]}" "$@" --object "secret,id=s,file=$work/key" --image-opts "$options"
}

# writes NAME FILE OFFSET: as the VM does it
writes() {
    qemu qemu-io "$1" -c "write -s $2 $3 64k"
}

# reads NAME FILE OFFSET: QEMU reads there what is in the file
reads() {
    local options
    options=$(chain "$1") &&
        qemu-img convert -O raw --object "secret,id=s,file=$work/key" --image-opts "$options" "$work/read.raw" &&
        cmp -n 65536 -i 0:"$3" "$2" "$work/read.raw"
}

consistent() {
    local number image
    for image in "$store/clones/$1"/layers/*/disk.qcow2; do
        qemu-img check -q --object "secret,id=s,file=$work/key" \
            --image-opts "driver=qcow2,file.filename=$image,encrypt.key-secret=s,backing=" && "$H2K" -q check "$image" || return 1
    done
    number=$(readlink "$store/clones/$1/current")
    [ "$(cd "$store/clones/$1" && echo layers/*/live)" = "$number/live" ]
}

# Neither the VM's data nor the key are in any file of the store.
hidden() {
    ! grep -raqF -e "$marker" -e "$secret" "$store"
}

printf '%s\n' "$secret" >"$work/key"
printf 'another one\n' >"$work/other"
chmod 600 "$work/key" "$work/other"
yes "$marker" | head -c 65536 >"$work/one"
yes "2 $marker" | head -c 65536 >"$work/two"
yes original | head -c 16M >"$work/disk.raw"
sum=$(sha256sum "$work/disk.raw")

creates() {
    clone create --no-repair --encrypt "$work/key" "$work/disk.raw" box &&
        qemu-img info "$store/clones/box/current/disk.qcow2" | grep -q 'encrypted: yes' &&
        qemu-img info "$store/clones/box/base/disk.qcow2" | grep -q 'encrypted: yes' &&
        [ "$(stat -L -c %a "$store/clones/box/current/disk.qcow2" "$store/clones/box/base/disk.qcow2" | sort -u)" = 600 ] &&
        [ "$(du -s -B1 "$store/clones/box" | cut -f1)" -lt $((3 << 18)) ] &&
        json "$store/clones/box/clone.json" 'd["encryption"] == {"format": "luks", "key-file": "'"$work/key"'"}' &&
        clone show box | grep -q 'encrypted: *luks' && consistent box && hidden
}

writes_hidden() {
    reads box <(head -c 65536 "$work/disk.raw") 0 && writes box "$work/one" 1M && reads box "$work/one" 1048576 &&
        hidden && consistent box
}

# A state's name needs no key, as nothing is written.
states() {
    mv "$work/key" "$work/away" && clone snapshot box --name one && mv "$work/away" "$work/key" &&
        writes box "$work/two" 1M && reads box "$work/two" 1048576 &&
        mv "$work/key" "$work/away" && clone reset box --to one && mv "$work/away" "$work/key" &&
        reads box "$work/one" 1048576 && writes box "$work/two" 2M && clone commit box &&
        clone reset box && reads box "$work/two" 2097152 && hidden && consistent box
}

merges() {
    clone snapshot box --drop one && clone merge box && clone show box --json >"$work/show.json" &&
        json "$work/show.json" 'd["depth"] == 2 and d["encrypted"] == "luks"' &&
        reads box "$work/one" 1048576 && reads box "$work/two" 2097152 && hidden && consistent box
}

# Until Ctrl-A X; QEMU would end by itself if a layer stayed locked.
runs() {
    clone run --print box | grep -q 'secret,id=key0,file=' &&
        (sleep 5; printf '\001x') | clone run box
}

wrong_keys() {
    local before
    clone commit box && before=$(cd "$store" && find . -type f ! -name watch.log -exec sha256sum {} + | sort)
    refused 3 'the key that was given does not open it' clone merge box --key-file "$work/other" &&
        refused 3 'the key that was given does not open it' clone run --print box --key-file "$work/other" &&
        mv "$work/key" "$work/moved" &&
        refused 3 'cannot open the key file.*--key-file|--key-file.*cannot open the key file' clone run --print box &&
        refused 3 'cannot open the key file' clone merge box &&
        [ "$before" = "$(cd "$store" && find . -type f ! -name watch.log -exec sha256sum {} + | sort)" ] &&
        clone run --print box --key-file "$work/moved" | grep -q "$work/moved" && clone merge box --key-file "$work/moved" &&
        mv "$work/moved" "$work/key" && consistent box
}

key_files() {
    local empty=$work/empty
    mkdir -m 700 "$empty"
    cp "$work/key" "$work/open" && chmod 644 "$work/open" && head -c 32 /dev/urandom >"$work/noise" && printf '\377' >>"$work/noise" && chmod 600 "$work/noise"
    refused 3 'others than its owner' "$H2K" clone create --state-dir "$empty" --no-repair --encrypt "$work/open" "$work/disk.raw" x &&
        refused 3 'is no text' "$H2K" clone create --state-dir "$empty" --no-repair --encrypt "$work/noise" "$work/disk.raw" x &&
        refused 3 'cannot open the key file' "$H2K" clone create --state-dir "$empty" --no-repair --encrypt "$work/none" "$work/disk.raw" x &&
        empty "$empty/clones"
}

# clone.json is lost: what is encrypted, the images say; where the key is, the user.
rebuilds() {
    rm "$store/clones/box/clone.json"
    clone commit box && clone show box | grep -q 'encrypted: *luks' &&
        refused 3 'where its key is was lost' clone merge box && clone merge box --key-file "$work/key" && clone delete box
}

# libvirt has to be told of each layer, and must not start a definition of an earlier state.
definitions() {
    local xml=$store/clones/box/domain.xml old
    virt-xml-validate "$xml" domain && virt-xml-validate "$store/clones/box/secret.xml" secret &&
        [ "$(grep -c '<encryption format="luks">' "$xml")" = "$(clone show box --json | grep -c '"layer"')" ] &&
        old=$(grep -o '/[^"]*live/disk.qcow2' "$xml") && [ -f "$old" ] && clone reset box && [ ! -e "$old" ] &&
        [ -f "$(grep -o '/[^"]*live/disk.qcow2' "$xml")" ]
}

# What the repairs of a real guest write is text in many places; none of it in an encrypted layer.
repairs_hidden() {
    local raw
    raw=$(guest debian12-vmware raw)
    clone create "$raw" plain && grep -aq virtio_blk "$store/clones/plain/base/disk.qcow2" &&
        clone create --encrypt "$work/key" "$raw" sealed && ! grep -aq virtio_blk "$store/clones/sealed/base/disk.qcow2" &&
        consistent sealed && clone delete plain sealed
}

claim 'an encrypted clone is two layers of LUKS, small and private' creates
claim 'what the VM writes is read with the key, and seen in no file' writes_hidden
claim 'snapshots and resets need no key, and keep what there was' states
claim 'layers are merged with the key' merges
claim 'the VM is started with the key' runs
claim 'a wrong or missing key changes nothing, a moved one is named' wrong_keys
claim 'a key file is private text' key_files
claim 'each definition names the layers of its time, and starts no others' definitions
claim 'an encrypted clone whose clone.json is lost has all but its key' rebuilds
claim 'what the repairs write is hidden, too' repairs_hidden
claim 'the original is what it was' sha256sum --quiet -c <<<"$sum"
finish
