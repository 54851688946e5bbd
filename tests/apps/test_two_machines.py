"""The command for two machines, as the page has it, on two that share nothing but a cable.

They are namespaces of networks with names and addresses of their own, in namespaces that only this
test sees and that go with it.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mass3d.training.run_files import METRICS, WEIGHTS
from several import require_done

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "several-gpus.md"
# as root, or as anyone who may be root of a namespace of their own
APART = (
    ["unshare", "--mount", "--net"],
    ["unshare", "--user", "--map-root-user", "--mount", "--net"],
)
MACHINES = """
set -eu
hosts=$1; shift
mount -t tmpfs none /run  # where ip keeps names of namespaces
mount --bind "$hosts" /etc/hosts
ip netns add node1
ip netns add node2
ip link add eth0 netns node1 type veth peer name eth0 netns node2
for number in 1 2; do
    ip -n node$number address add 10.77.0.$number/24 dev eth0
    ip -n node$number link set eth0 up
    ip -n node$number link set lo up
    ip netns exec node$number unshare --uts hostname node$number
done
"""
ON = """
on() {
    number=$1; shift
    exec ip netns exec node$number unshare --uts sh -c 'hostname "$0"; exec "$@"' node$number "$@"
}
"""
SETTINGS = (
    *("--device", "cpu", "--set", "views.crop_vox=[32, 32, 32]", "--set"),
    "fit={accumulate=2, batch_size=1, precision='32-true', log_every=1}",
)


def documented() -> list[str]:
    """What the page says is typed on the first machine."""
    found = re.search(r"^    (torchrun --nnodes.*\\\n.*)$", PAGE.read_text(), re.MULTILINE)
    assert found is not None
    return shlex.split(found[1].replace("\\\n", " "))


def put(words: list[str], **values: str) -> list[str]:
    """The words with another value behind each of these options."""
    changed = list(words)
    for name, value in values.items():
        changed[changed.index(f"--{name.replace('_', '-')}") + 1] = value
    return changed


def both(first: list[str], second: list[str]) -> str:
    """The script of two machines, each with its command."""
    return (
        f"{MACHINES}{ON}(on 2 {shlex.join(second)}) & other=$!\n"
        f"(on 1 {shlex.join(first)}) || {{ kill $other; exit 1; }}\nwait $other\n"
    )


@pytest.fixture
def apart(tmp_path: Path) -> list[str]:
    """What a script of machines is called by; skips where nobody may make them."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n10.77.0.1 node1\n10.77.0.2 node2\n")
    refused = ""
    for way in APART:
        try:
            made = subprocess.run(
                [*way, "sh", "-c", MACHINES, "sh", str(hosts)],
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError as error:
            pytest.skip(f"no machines can be made here: {error}")
        if made.returncode == 0:
            return [*way, "sh", "-c", "{}", "sh", str(hosts)]
        refused += made.stderr
    pytest.skip(f"no machines can be made here, with ip of iproute2: {refused}")


@pytest.mark.slow
def test_two_machines_give_the_weights_of_one_process(
    store: Path, apart: list[str], tmp_path: Path
) -> None:
    words = put(documented(), nproc_per_node="1", steps="2")
    assert words[words.index("--master-addr") + 1] == "node1"
    begin = words.index("-m")
    one, two = (
        [
            {"store/": str(store), "run/": str(tmp_path / name)}.get(word, word)
            for word in (*words[begin:], *SETTINGS)
        ]
        for name in ("one", "two")
    )
    require_done([sys.executable, *one], timeout=500)
    starter = [sys.executable, "-m", "torch.distributed.run", *words[1:begin]]
    script = both(*([*put(starter, node_rank=rank), *two] for rank in ("0", "1")))
    require_done([script if word == "{}" else word for word in apart], timeout=500)
    for name in (WEIGHTS, METRICS):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
