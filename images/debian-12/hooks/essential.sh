#!/bin/sh
# Runs before the chosen packages are installed: what their installation scripts read.
set -eu
root=$1
files=$(dirname "$0")/../files

install -D -m 0644 "$files/etc/kernel-img.conf" "$root/etc/kernel-img.conf"
