# Bash completion for hyper2kvm.
# shellcheck shell=bash

# The command among the words before the current one: the first that is neither an option nor the
# value of one. Behind it the next such word, which is the verb where the command has verbs.
_hyper2kvm_command() {
    local i found=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --log-level | --log-file | --progress | --state-dir)
            i=$((i + 1))
            if [ "${COMP_WORDS[i]}" = "=" ]; then i=$((i + 1)); fi
            ;;
        -*) ;;
        *)
            found+=("${COMP_WORDS[i]}")
            if [ "${found[0]}" != clone ] || [ ${#found[@]} -eq 2 ]; then break; fi
            ;;
        esac
    done
    echo "${found[*]}"
}

_hyper2kvm() {
    local current=$2 previous=$3 command verb prefix='' words=''
    read -r command verb < <(_hyper2kvm_command)
    # --option=value is three words where "=" breaks words, else one.
    if [ "${COMP_WORDS[COMP_CWORD]}" = "=" ]; then
        previous=${COMP_WORDS[COMP_CWORD - 1]} current=''
    elif [ "$COMP_CWORD" -gt 2 ] && [ "${COMP_WORDS[COMP_CWORD - 1]}" = "=" ]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ $current == --*=* ]]; then
        previous=${current%%=*} prefix=${current%%=*}= current=${current#*=}
    fi
    _hyper2kvm_reply
    COMPREPLY=("${COMPREPLY[@]/#/$prefix}")
}

# Verbs, the names of clones, options.
_hyper2kvm_clone() {
    local common="--state-dir --key-file --log-level --log-file --progress --verbose --quiet --help"
    if [ -n "$verb" ] && [[ $current != -* ]]; then
        case $verb in
        create) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
        list) ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$(hyper2kvm clone list 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$current") ;;
        esac
        return
    fi
    case $verb in
    create)
        words="--disk --encrypt --format --force-unsafe --snapshot --full --max-size --tpm --new-identity --hostname --no-repair --dry-run --report --qemu-test
            --boot-timeout --memory --vcpus --bus --mac --key --backend --skip-fsck --virtio-win-iso
            --virtio-config --qga --firstboot --no-two-phase-boot --force-dirty --temp-dir --json $common"
        ;;
    list | show | tree) words="--json $common" ;;
    run) words="--vnc --force-unsafe --no-watch --print $common" ;;
    serve) words="--foreground --persistent --force-unsafe --stop --force $common" ;;
    snapshot) words="--name --description --drop $common" ;;
    reset) words="--to --stop --timeout --force $common" ;;
    define) words="--connect $common" ;;
    start) words="--connect --force-unsafe --no-watch $common" ;;
    stop) words="--timeout --force $common" ;;
    watch) words="--interval --warn --reserve --once --until-stopped --json $common" ;;
    diff) words="--to --original --blocks --exit-code --key --backend --json $common" ;;
    verify) words="--full --json $common" ;;
    flatten) words="--to --snapshot --out-format --compress --threads --force $common" ;;
    export) words="--to --snapshot --out-format --compress --threads $common" ;;
    rebase) words="--disk --format --full --keep-content --force-unsafe $common" ;;
    commit | merge | delete | undefine | console | resume | limit) words=$common ;;
    *) words="create list show tree run serve define undefine start console stop watch resume limit snapshot reset commit merge diff verify flatten export rebase delete --help" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

_hyper2kvm_reply() {
    local common="--log-level --log-file --progress --verbose --quiet --help"
    case $previous in
    --log-level) words="error warning message info debug" ;;
    --progress) words="auto bar plain json none" ;;
    --out-format | -O)
        words="qcow2 raw"
        if [ "$command" = convert ] || [ "$verb" = flatten ]; then words="$words vmdk vhdx vhd"; fi
        ;;
    --format | --second-format | --backing-format | -f | -F) words="raw vmdk qcow2 vhd vhdx vdi qed qcow parallels bochs cloop dmg" ;;
    --bus) words="virtio-blk virtio-scsi sata ide" ;;
    --evidence) words="auto login marker firstboot" ;;
    --accel) words="kvm tcg" ;;
    --compress) words="zlib zstd" ;;
    --backend) words="auto native guestfs" ;;
    --io-priority) words="idle best-effort" ;;
    --name | --port | --export-name | --connections | --threads | --bwlimit | --cluster-size | --level | -L | --boot-timeout | --mac | --key | --memory | --vcpus | --hostname) return ;;
    --to)
        if [ "$verb" != reset ]; then mapfile -t COMPREPLY < <(compgen -f -- "$current"); fi
        return
        ;;
    --drop | --description) return ;;
    --temp-dir | --state-dir)
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        return
        ;;
    --socket | --pid-file | --vmdk | --vhd | --vhdx | --vdi | --ova | --ovf | --vmx | --disk | --to-output | --output | --add | -a | -o | --report | --log-file | --virtio-win-iso | --virtio-config | --qga | --firstboot | --screen)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    esac
    case $current in
    *://*) return ;;
    esac
    if [ "$command" = clone ]; then
        _hyper2kvm_clone
        return
    fi
    if [ -z "$words" ] && [ -n "$command" ] && [[ $current != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
    fi
    if [ -z "$words" ]; then
        case $command in
        local)
            words="--vmdk --vhd --vhdx --vdi --ova --ovf --vmx --disk --to-output --out-format --report --dry-run --force --name
                --compress --no-compress --verify --checksum --resume --bwlimit --io-priority --fast --flatten
                --no-sparsify --drop-swap --threads
                --temp-dir --no-guest-inspection --skip-fsck --qemu-test --no-test --headless --window
                --boot-timeout --bus --mac --key --backend --memory --vcpus --new-identity --hostname --json
                --fix-fstab --fix-bootloader --use-uuid --add-virtio-modules --fix-network
                --clean-udev-rules --disable-tools --inject-virtio --first-boot-service
                --windows --virtio-win-iso --virtio-config --two-phase-boot --no-two-phase-boot
                --qga --firstboot --force-dirty
                --no-fix-fstab --no-fix-bootloader --no-use-uuid --no-add-virtio-modules
                --no-fix-network --no-clean-udev-rules --no-disable-tools
                --no-inject-virtio --no-first-boot-service $common"
            ;;
        inspect) words="--json --format --key --backend $common" ;;
        boot-test)
            words="--format --bus --evidence --reboot --boot-timeout --headless --window --accel
                --uefi --memory --vcpus --mac --key --temp-dir --screen --json $common"
            ;;
        convert)
            words="--format --out-format --options --backing --backing-format --compress --cluster-size --threads --verify --fast
                --checksum --resume --bwlimit --io-priority --no-sparsify --drop-swap
                --force --flatten --compressed $common"
            ;;
        discover) words="--json --details --recursive --key $common" ;;
        info | check) words="--json --format $common" ;;
        ls) words="--add --format --key --backend --long --all --directory --recursive --json $common" ;;
        tree) words="--add --format --key --backend --level --directories $common" ;;
        cat) words="--add --format --key --backend $common" ;;
        get) words="--add --format --key --backend --output $common" ;;
        put) words="--add --format --key --backend --to-output $common" ;;
        compare) words="--format --second-format --strict --threads --json $common" ;;
        nbd-serve)
            words="--format --repair --key --writable --read-only --socket --port --export-name
                --connections --persistent --exit-last --pid-file --temp-dir --json
                --bus --virtio-win-iso --virtio-config --qga --firstboot --force-dirty $common"
            ;;
        *) words="local inspect boot-test convert info check compare ls tree cat get put discover clone nbd-serve --version $common" ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o filenames -F _hyper2kvm hyper2kvm
