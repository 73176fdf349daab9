# shellcheck shell=sh
# Makes docker a part of its swarm: `join` or `init`, and whether it is to be a manager. Written by cloud-machine.
# The request has a token, so it goes to docker's socket out of its file and is on no command line.
socket=/run/docker.sock
request=/etc/docker/cloud-machine-swarm.json
# Not empty while nobody has looked what became of the request: a script that was started again must not forget it.
sent=/run/cloud-machine-swarm-sent

# Prints docker's answer, with its status first.
send() {
    if command -v perl >/dev/null; then
        perl -e '
            use IO::Socket::UNIX;
            my ($path, $to, $from) = @ARGV;
            local $/;
            open(my $file, "<", $from) or die "cannot read $from: $!\n";
            my $body = <$file>;
            my $docker = IO::Socket::UNIX->new($to) or die "cannot reach $to: $!\n";
            my $head = "POST $path HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\n";
            print $docker $head, "Content-Length: ", length $body, "\r\n\r\n", $body;
            $docker->flush;
            print <$docker>;
        ' "$1" "$socket" "$request"
    else
        curl --silent --show-error --include --unix-socket "$socket" --header 'Content-Type: application/json' \
            --data-binary "@$request" "http://docker$1"
    fi
}

while :; do
    state=$(docker info --format '{{.Swarm.LocalNodeState}}') || exit 1
    case $state in
    active) break ;;
    inactive)
        answer=$(send "/swarm/$1") || exit 1
        case $answer in
        # The second one: it takes long, and docker goes on.
        HTTP/1.?' 200 '* | *'will continue in the background'*) echo "$1" >"$sent" ;;
        *)
            echo "cannot $1 the swarm, docker says: $(printf '%s' "$answer" | tail -n 1)" >&2
            exit 1
            ;;
        esac
        ;;
    pending) sleep 2 ;;
    *)
        echo "docker's part in its swarm is in the state $state: $(docker info --format '{{.Swarm.Error}}')" >&2
        exit 1
        ;;
    esac
done
# docker's program prints nothing of these, and ends well, when its daemon is gone. What a new manager may do comes a moment later.
left=10
while :; do
    is=$(docker info --format '{{.Swarm.NodeID}} {{.Swarm.ControlAvailable}}') || exit 1
    node=${is% *}
    [ "$node" ] || { echo "docker has gone in between" >&2 && exit 1; }
    if ! [ -s "$sent" ] || [ "${is#* }" = "$2" ]; then
        break
    fi
    left=$((left - 1))
    if [ "$left" = 0 ]; then
        echo "docker is part of the swarm, but not in the role that was asked for: the token is one for the other role" >&2
        exit 78
    fi
    sleep 1
done
: >"$sent"
echo "docker is part of the swarm as node $node"
