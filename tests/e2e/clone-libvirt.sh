#!/bin/bash
# Clones as domains of libvirt.
# shellcheck source=tests/e2e/own-libvirt.sh
. "$(dirname "$0")/own-libvirt.sh"
store=$place/store
original=$place/tiny.raw

clean_up() {
    clone stop --force --timeout 0 web 2>/dev/null
    libvirt_ends
    rm -rf "$work"
}
trap clean_up EXIT

as_it_was() {
    [ "$(stat -c '%u %g %a %Y %Z %z' "$original"; sha256sum "$original"; getfattr -d -m - "$original" 2>&1)" = "$before" ]
}

without_libvirt() {
    refused 14 'libvirt at qemu:///system cannot be reached.*clone run' "$H2K" clone start --state-dir "$store" web
}

starts() {
    clone start web --connect qemu:///system &&
        clone show web | grep -q "runs in: *libvirt's domain web at qemu:///system" &&
        virsh dumpxml web | grep -q "relabel='no'" && as_it_was
}

tpm() {
    clone create --no-repair --tpm --memory 64 "$original" tpm &&
        refused 5 'has a TPM.*clone run tpm' "$H2K" clone start --state-dir "$store" tpm && as_it_was && clone delete tpm
}

# Type TEXT on the console, and leave it.
console() {
    (
        sleep 3
        printf '%s' "$1"
        sleep 2
        printf '\035'
    ) | timeout 30 script -qc "$H2K -q clone console --state-dir $store web" /dev/null >"$work/console"
    cat "$work/console"
    grep -q "$1" "$work/console"
}

running() {
    refused 10 'runs already' "$H2K" clone start --state-dir "$store" web &&
        refused 10 'runs' "$H2K" clone delete --state-dir "$store" web &&
        refused 10 'runs' "$H2K" clone undefine --state-dir "$store" web &&
        refused 10 'runs' "$H2K" clone reset --state-dir "$store" web
}

pauses() {
    virsh suspend web && clone show web | grep -q '^state: *paused' &&
        refused 10 'is paused' "$H2K" clone stop --state-dir "$store" web &&
        clone resume web && clone show web | grep -q '^state: *running'
}

# libvirt's threshold event.
limited() {
    clone limit web 6M && console w && soon grep -q 'web: PAUSED: .*max-size' "$store/clones/web/watch.log" && clone limit web none && clone resume web
}

stops() {
    clone stop web --timeout 30 && clone show web | grep -q '^state: *shut off' && as_it_was
}

# The next layer has the right owner already.
resets() {
    clone reset web && virsh start web && clone reset --stop --force --timeout 10 web &&
        clone list | grep -q '^web *shut off' && as_it_was
}

# Memory that was saved belongs to the disk of then.
saved_memory() {
    clone start web && virsh managedsave web && virsh dominfo web | grep -q 'Managed save: *yes' &&
        clone reset web && virsh dominfo web | grep -q 'Managed save: *no'
}

changed() {
    touch "$original"
    refused 12 'written to since' "$H2K" clone start --state-dir "$store" web
}

closed() {
    chmod 600 "$place/closed.raw" && clone create --no-repair "$place/closed.raw" closed &&
        refused 3 'cannot be read by.*clone run' "$H2K" clone start --state-dir "$store" closed && clone delete closed
}

device() {
    local dev ok=0
    dev=$(losetup -f -r --show "$place/closed.raw") || return 1
    clone create --no-repair --memory 64 "$dev" device && clone start device && clone stop --force --timeout 0 device &&
        [ "$(stat -c %u "$dev")" -eq 0 ] || ok=1
    setfacl -b "$dev"
    clone delete device || ok=1
    losetup -d "$dev"
    return "$ok"
}

# An ordinary user has a libvirt of his own, and nothing of root's.
in_a_session() {
    local dir=$place/s ok=0 pid # a short name: sockets lie below it
    local -a as=(setpriv --reuid=65534 --regid=65534 --clear-groups env -i "PATH=$PATH" "HOME=$dir/home"
        "XDG_RUNTIME_DIR=$dir/run" "XDG_CONFIG_HOME=$dir/home" "XDG_DATA_HOME=$dir/home/share" "LD_LIBRARY_PATH=$dir")
    mkdir "$dir" && cp "$H2K" "$(dirname "$H2K")"/../libhyper2kvm.so.0 "$dir" && chmod -R a+rX "$dir" &&
        install -d -o 65534 -g 65534 -m 700 "$dir/home" "$dir/run" && chmod 644 "$place/closed.raw" || return 1
    "${as[@]}" "$dir/hyper2kvm" -q clone create --no-repair --memory 64 "$place/closed.raw" mine &&
        "${as[@]}" "$dir/hyper2kvm" -q clone start mine &&
        "${as[@]}" "$dir/hyper2kvm" -q clone show mine | grep -q 'qemu:///session' &&
        "${as[@]}" "$dir/hyper2kvm" -q clone stop --timeout 60 mine &&
        "${as[@]}" "$dir/hyper2kvm" -q clone reset mine && "${as[@]}" "$dir/hyper2kvm" -q clone delete mine || ok=1
    for pid in "$dir"/run/libvirt/*.pid; do
        [ -e "$pid" ] && kill "$(cat "$pid")"
    done
    return "$ok"
}

# What QEMU does not read comes from a server beside it, which QEMU's user may ask.
served() {
    mkdir "$place/ova" && qemu-img convert -f raw -O vmdk -o subformat=streamOptimized "$place/closed.raw" "$place/ova/disk.vmdk" &&
        cat >"$place/ova/vm.ovf" <<'OVF' && tar -cf "$place/vm.ova" -C "$place/ova" vm.ovf disk.vmdk || return 1
<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
 <References><File ovf:id="f" ovf:href="disk.vmdk"/></References>
 <DiskSection><Info/><Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="67108864"/></DiskSection>
 <VirtualSystem ovf:id="tiny"><Info/><VirtualHardwareSection><Info/>
  <Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></Item>
  <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d</rasd:HostResource>
   <rasd:InstanceID>2</rasd:InstanceID><rasd:Parent>1</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
 </VirtualHardwareSection></VirtualSystem>
</Envelope>
OVF
    clone create --no-repair --memory 64 "$place/vm.ova" served && clone start served &&
        clone stop --timeout 60 served && clone delete served
}

exported() {
    clone undefine web && clone export web --to "$place/vm" && virsh define "$place/vm/domain.xml" &&
        refused 10 'another VM with the UUID of the clone web, web' "$H2K" clone start --state-dir "$store" web &&
        refused 10 'another VM with the UUID' "$H2K" clone define --state-dir "$store" web &&
        virsh domstate web | grep -q 'shut off' && virsh dumpxml web | grep -qF "$place/vm/web.qcow2" && virsh undefine web &&
        clone define web
}

deleted() {
    clone delete web && [ -z "$(virsh list --all --name)" ]
}

gcc -c -o "$work/tiny.o" "$H2K_TOP/tests/guests/tiny.S" &&
    ld -m elf_x86_64 -Ttext 0x7c00 --oformat binary -o "$work/tiny.bin" "$work/tiny.o" &&
    truncate -s 64M "$original" && dd if="$work/tiny.bin" of="$original" conv=notrunc status=none || exit 1
cp --sparse=always "$original" "$place/closed.raw"
clone create --no-repair --memory 64 "$original" web || exit 1
before=$(stat -c '%u %g %a %Y %Z %z' "$original"; sha256sum "$original"; getfattr -d -m - "$original" 2>&1)
[ -S /run/libvirt/libvirt-sock ] || claim "without libvirt the way that works is named" without_libvirt
libvirt_starts || exit 1
claim "libvirt starts it; the original keeps its owner, mode and times" starts
claim "a TPM, which libvirt cannot give it, is refused, and the way that works is named" tpm
claim "its console is on the terminal" console hello
claim "nothing is changed while it runs" running
claim "a paused VM is told, and goes on" pauses
claim "a VM of libvirt's is paused when it takes what it may" limited
claim "it shuts down by its power button; the original is as it was" stops
claim "a reset clone starts with virsh, too, and is stopped for a reset" resets
claim "an original that libvirt's user cannot read is refused, not changed" closed
if has_loop_devices; then
    claim "a device becomes readable for that user, and keeps its owner" device
fi
claim "an ordinary user has one in a libvirt of his own" in_a_session
claim "an original that only this program reads is served to libvirt's QEMU" served
claim "an exported VM, which has the same UUID, is not taken for the clone" exported
claim "memory that libvirt had saved is thrown away by a reset, too" saved_memory
claim "an original that has changed is not started" changed
claim "deleted, it is no domain any more" deleted
finish
