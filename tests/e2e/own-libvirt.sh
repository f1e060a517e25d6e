# own-libvirt.sh - a libvirt of the script's own: its folders are those of a mount namespace, so that
# it is apart from one that this machine has; and its ports are those of a network namespace, since
# other tests have screens, too. To be sourced before anything else, with the script's arguments.
# shellcheck shell=bash
if [ -z "${H2K_OWN_MOUNTS:-}" ] && [ "$(id -u)" -eq 0 ] && unshare -m -n true 2>/dev/null; then
    H2K_OWN_MOUNTS=1 exec unshare -m -n --propagation private "$0" "$@"
fi
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
[ -n "${H2K_OWN_MOUNTS:-}" ] || skip_all "no mount namespace of our own here"
ip link set lo up
command -v libvirtd virtlogd >/dev/null || skip_all "libvirtd is not installed"
# QEMU's user has to get there.
place=$(mktemp -d /var/tmp/h2k-virt.XXXXXX)
chmod 711 "$place"
trap 'rm -rf "$place" "$work"' EXIT

libvirt_starts() {
    local dir
    for dir in /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /etc/libvirt; do
        mkdir -p "$dir" "$place/own$dir" && cp -a "$dir/." "$place/own$dir/" &&
            mount --bind "$place/own$dir" "$dir" || return 1
    done
    rm -rf /run/libvirt/* /etc/libvirt/qemu/*.xml /etc/libvirt/qemu/autostart/*
    virtlogd -d -p "$place/virtlogd.pid" && libvirtd -d -p "$place/libvirtd.pid" &&
        soon test -S /run/libvirt/libvirt-sock
}

# For the script's own clean_up().
libvirt_ends() {
    local pid
    for pid in "$place"/*.pid; do
        [ -e "$pid" ] && kill "$(cat "$pid")"
    done
    sleep 0.5
    umount /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /etc/libvirt 2>/dev/null
    rm -rf "$place"
}
