#!/bin/sh
# Runs after all packages are installed and before the hook of debian-12: settings of cloud-init and docker.
# In: $1 the root folder.
set -eu
root=$1
files=$(dirname "$0")/../files

(cd "$files" && find . -type f) | while read -r file; do
    case $file in ./usr/local/sbin/*) mode=0755 ;; *) mode=0644 ;; esac
    install -D -m "$mode" "$files/$file" "$root/$file"
done

# locale-gen(8) reads it; it lies among the translations, which stay out.
mkdir -p "$root/usr/share/locale"
ln -sf /etc/locale.alias "$root/usr/share/locale/locale.alias"

# docker and its containerd start when somebody first talks to docker's socket: they would make each boot longer, and no
# machine without a container needs them. docker loads its own profile, and those of other programs are not here.
chroot "$root" systemctl --quiet disable docker.service containerd.service apparmor.service
chroot "$root" systemctl --quiet enable docker.socket

[ -x "$root/usr/bin/cloud-init" ] || { echo "cloud-init was not installed" >&2 && exit 1; }
[ -x "$root/usr/sbin/dockerd" ] || { echo "docker was not installed" >&2 && exit 1; }
