# shellcheck shell=sh
# Removes workers that are down and came back as another node: of the same host name and address, made later, and ready. Written
# by cloud-machine. Docker itself refuses to remove a manager, or a node that is not down; nothing is forced here.
# Asking would start docker.
systemctl --quiet is-active docker.service || exit 0
leads=$(docker node inspect self --format '{{.ManagerStatus.Leader}}' 2>/dev/null) && [ "$leads" = true ] || exit 0
all=$(docker node ls --quiet) || exit 1
# A name is a node's own word, and JSON keeps it on its line.
# shellcheck disable=SC2086 # one ID a word
nodes=$(docker node inspect $all --format \
    '{{.ID}} {{.Status.State}} {{.Spec.Role}} {{.CreatedAt.UnixNano}} {{or .Status.Addr "-"}} {{json .Description.Hostname}}') || exit 1
former=$(printf '%s\n' "$nodes" | awk '
    { machine = $5; for (i = 6; i <= NF; i++) machine = machine " " $i }
    $5 == "-" { next }
    $2 == "ready" && $3 == "worker" && $4 + 0 > newest[machine] { newest[machine] = $4 + 0 }
    $2 == "down" && $3 == "worker" { down[$1] = machine; made[$1] = $4 + 0 }
    END { for (id in down) if (newest[down[id]] > made[id]) print id }')
for id in $former; do
    docker node rm "$id" >/dev/null && echo "node $id is removed: its machine is another node now"
done
