#!/bin/bash
# Module of dracut(8): cloud-machine-agent with its units, its policy, and the programs and drivers that the policy needs.
# What is missing ends dracut: an initramfs without the agent would boot a machine whose disks nobody looked at.

# shellcheck disable=SC2154 # variables that dracut sets
shared=/usr/lib/cloud-machine
policy=/etc/cloud-machine/agent.yaml

# dracut goes on when a module's function fails, so this ends it as a whole.
cloud_machine_fail() {
    dfatal "cloud-machine: $1"
    exit 1
}

# cloud_machine_policy WHAT: one line of `cloud-machine-agent policy WHAT` after the other.
cloud_machine_policy() {
    local options=()
    [[ ! -e $dracutsysrootdir$policy ]] || options=(--policy "$dracutsysrootdir$policy")
    "$dracutsysrootdir$shared/cloud-machine-agent" policy "$1" "${options[@]}"
}

# called by dracut
check() {
    # Whoever installs this module wants it in each initramfs, also in one that is made for another machine than this one.
    return 0
}

# called by dracut
depends() {
    # A module named here that is left out would take this one with it, and dracut would go on: install() looks itself.
    return 0
}

# called by dracut
installkernel() {
    local names wanted lists list
    wanted=$(cloud_machine_policy drivers) || cloud_machine_fail "the policy $policy does not say which drivers it needs"
    mapfile -t lists <<<"$wanted"
    for list in "${lists[@]}"; do
        list=$shared/drivers-$list
        mapfile -t names < <(sed 's/#.*//' "$dracutsysrootdir$list" | xargs -n1)
        ((${#names[@]} > 0)) || cloud_machine_fail "$list cannot be read"
        # With hostonly set, dracut leaves out drivers of devices that this machine has not: the next boot may be elsewhere.
        hostonly='' instmods "${names[@]}"
    done

    wanted=$(cloud_machine_policy modules) || cloud_machine_fail "the policy $policy does not say which kernel modules it needs"
    mapfile -t names <<<"$wanted"
    for wanted in "${names[@]}"; do
        [[ -z $wanted ]] && continue
        hostonly='' instmods -c "$wanted" ||
            cloud_machine_fail "kernel ${kernel:-of this initramfs} has no module $wanted, which the policy $policy needs: install the package that brings it"
    done
}

# Files below mount.d/ count for all units of that type since systemd 244. An older one would mount disks beside the agent.
cloud_machine_systemd_is_new() {
    local version
    version=$("$dracutsysrootdir$systemdutildir/systemd" --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    ((${version:-0} >= 244))
}

# called by dracut
install() {
    local agent=$shared/cloud-machine-agent file unit
    dracut_module_included systemd-initrd ||
        cloud_machine_fail "the agent is a unit of systemd, and the module systemd-initrd is not included: remove it from omit_dracutmodules"
    cloud_machine_systemd_is_new || cloud_machine_fail "the agent's units need systemd 244 or later"
    [[ -x $dracutsysrootdir$agent ]] || cloud_machine_fail "$agent is absent: install the package cloud-machine-agent again"

    for file in "$agent" "$shared/look-at-disks" "$shared/release-disks" "$shared/agent-is-off"; do
        inst_simple "$file" || cloud_machine_fail "$file cannot be put into the initramfs"
    done
    inst_simple "$shared/units/cloud-machine-agent-generator" "$systemdutildir/system-generators/cloud-machine-agent-generator" ||
        cloud_machine_fail "the generator cannot be put into the initramfs"
    inst_simple "$shared/59-cloud-machine.rules" "$udevdir/rules.d/59-cloud-machine.rules" ||
        cloud_machine_fail "the rule of udev cannot be put into the initramfs"
    inst_multiple sh mkdir modprobe udevadm || cloud_machine_fail "a program that the agent's units run is absent"

    cloud_machine_units
    cloud_machine_programs
}

# The units, and links by which the boot cannot go on without them.
cloud_machine_units() {
    local file unit link
    local disks=cloud-machine-agent-disks.service handover=cloud-machine-agent-handover.service
    for file in "$disks" "$handover" {systemd-hibernate-resume@.service,systemd-fsck@.service,mount}.d/50-cloud-machine.conf; do
        inst_simple "$shared/units/$file" "$systemdsystemunitdir/$file" || cloud_machine_fail "$file cannot be put into the initramfs"
    done
    # The root is neither waited for nor mounted. A root that a hook of dracut mounts has no unit of its own: see below.
    # Then: the unit that starts the switch to the root, and the one that does it. Without them nothing gets there, however the root
    # was mounted, and whoever leaves the emergency shell comes back to the agent.
    for link in "initrd-root-device.target $disks" "sysroot.mount $disks" "initrd-root-fs.target $disks" \
        "initrd-parse-etc.service $handover" "initrd-cleanup.service $handover"; do
        unit=${link#* }
        link=$initdir$systemdsystemunitdir/${link% *}.requires
        mkdir -p "$link"
        ln -sf "../$unit" "$link/$unit" || cloud_machine_fail "$link/$unit cannot be made"
    done
}

# The policy, and the programs that the agent runs with it.
cloud_machine_programs() {
    local said program
    if [[ -e $dracutsysrootdir$policy ]]; then
        said=$(cloud_machine_policy check 2>&1) || cloud_machine_fail "the policy $policy is not valid: $said"
        inst_simple "$policy" || cloud_machine_fail "$policy cannot be put into the initramfs"
    fi
    said=$(cloud_machine_policy programs) || cloud_machine_fail "the policy $policy does not say which programs it needs"
    while read -r program; do
        [[ -n $program ]] || continue
        inst "$program" || cloud_machine_fail "$program is absent, which the policy $policy needs: install the package that brings it"
        case ${program##*/} in
            mkfs.ext* | mke2fs) inst_simple /etc/mke2fs.conf || cloud_machine_fail "/etc/mke2fs.conf is absent, which $program reads" ;;
            # Loaded by name when one of its threads ends.
            zpool | zfs) inst_libdir_file 'libgcc_s.so*' || cloud_machine_fail "libgcc_s is absent, which $program loads" ;;
        esac
    done <<<"$said"
}
