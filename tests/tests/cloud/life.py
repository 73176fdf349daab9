"""The life of a server by the provider's own Python library: ENDPOINT TOKEN KEY, and `strict` where the description judges."""

import sys

from hcloud import APIException, Client
from hcloud.images import Image
from hcloud.locations import Location
from hcloud.server_types import ServerType
from hcloud.ssh_keys import SSHKey

endpoint, token, public_key = sys.argv[1:4]
# The library names keys and snapshots by numbers, where the description wants texts.
strict = sys.argv[4:] == ["strict"]


def client_for(word):
    return Client(token=word, api_endpoint=endpoint, poll_interval=0.05, poll_max_retries=1000, timeout=30)


def refused(code, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except APIException as error:
        assert error.code == code, (code, error.code, error)
        return
    raise AssertionError(f"not refused with {code}")


client = client_for(token)
key = client.ssh_keys.create(name="ada", public_key=public_key, labels={"owner": "tests"})
assert client.ssh_keys.get_by_fingerprint(key.fingerprint).id == key.id
assert [kind.name for kind in client.server_types.get_all() if kind.cores >= 4 and not kind.deprecation][:1] == ["cx33"]
assert {place.name for place in client.locations.get_all()} >= {"fsn1", "nbg1"}
image = client.images.get_by_name_and_architecture("debian-12", "x86")
assert image.status == "available", image

made = client.servers.create(
    name="ci-1",
    server_type=ServerType(name="cx23"),
    image=Image(name="debian-12"),
    location=Location(name="nbg1"),
    ssh_keys=[SSHKey(name=key.name) if strict else key],
    labels={"owner": "tests", "role": "ci"},
    user_data="#cloud-config\n",
)
assert made.root_password is None, "there are keys"
made.action.wait_until_finished()
for action in made.next_actions:
    action.wait_until_finished()
server = client.servers.get_by_id(made.server.id)
assert (server.status, server.image.id, server.location.name) == ("running", image.id, "nbg1"), server.status
address = server.public_net.ipv4.ip
refused("uniqueness_error", client.servers.create, name="ci-1", server_type=ServerType(name="cx23"), image=Image(name="debian-12"))
refused("invalid_input", client.servers.create, name="ci-2", server_type=ServerType(name="cx0"), image=Image(name="debian-12"))
refused("unauthorized", client_for("wrong").servers.get_all)
refused("not_found", client.servers.get_by_id, 7)
assert [one.id for one in client.servers.get_all(label_selector="owner==tests,role")] == [server.id]
assert client.servers.get_all(label_selector="owner!=tests") == []
assert client.servers.get_by_name("ci-1").id == server.id
assert client.servers.get_by_name("ci-3") is None
server = server.update(labels={"owner": "tests", "role": "cd"})
assert server.labels["role"] == "cd"

rescue = server.enable_rescue(type="linux64", ssh_keys=[key.id])
rescue.action.wait_until_finished()
assert rescue.root_password
assert client.servers.get_by_id(server.id).rescue_enabled
reset = server.reset()
refused("locked", server.reboot)
reset.wait_until_finished()
assert not client.servers.get_by_id(server.id).rescue_enabled, "one boot uses it up"
server.enable_rescue(type="linux64", ssh_keys=[key.id]).action.wait_until_finished()
server.disable_rescue().wait_until_finished()
server.reboot().wait_until_finished()

server.power_off().wait_until_finished()
assert client.servers.get_by_id(server.id).status == "off"
snapshot = server.create_image(description="golden", labels={"owner": "tests"})
snapshot.action.wait_until_finished()
golden = client.images.get_by_id(snapshot.image.id)
assert (golden.status, golden.type, golden.created_from.id) == ("available", "snapshot", server.id)
assert [one.id for one in client.images.get_all(type="snapshot", label_selector="owner=tests")] == [golden.id]
server.power_on().wait_until_finished()

server.rebuild(Image(name="debian-13")).action.wait_until_finished()
assert client.servers.get_by_id(server.id).image.name == "debian-13"
server.rebuild(Image(name=str(golden.id)) if strict else golden).action.wait_until_finished()
server = client.servers.get_by_id(server.id)
assert (server.status, server.image.id, server.public_net.ipv4.ip) == ("running", golden.id, address)
server.shutdown().wait_until_finished()
commands = [action.command for action in client.servers.get_by_id(server.id).get_actions()]
assert commands.count("rebuild_server") == 2 and "enable_rescue" in commands, commands

server.delete().wait_until_finished()
refused("not_found", client.servers.get_by_id, server.id)
assert client.servers.get_all() == []
golden.delete()
refused("not_found", client.images.get_by_id, golden.id)
key.delete()
assert client.ssh_keys.get_all() == []
print("the whole life")
