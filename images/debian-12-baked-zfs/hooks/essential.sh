#!/bin/sh
# That of debian-12-baked.
set -eu
exec "$(dirname "$0")/../../debian-12-baked/hooks/essential.sh" "$@"
