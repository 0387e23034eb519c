"""Backups: a lost machine comes back, single things come back, and what can go wrong on the way."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.machine.lib.family import CA, PASSWORD, STATE, add_member, logged_in, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

BACKUP = "jupyterhub4family backup"
USB = "/media/usb/backup"
KEY = re.compile(r"^ +((?:[A-Z2-7]{5}-){4}[A-Z2-7]{5})$", re.MULTILINE)
STATE_FILE = "/var/lib/jupyterhub4family/backup/note.json"
TREE = "/var/lib/jupyterhub4family/backup/tree"


def install_restic(machine: Machine) -> None:
    machine.run("apt-get -qq update && apt-get -qq -y install --no-install-recommends restic", timeout=300)


def set_up(machine: Machine, target: str) -> str:
    """Begin a backup; returns its recovery key."""
    found = KEY.search(machine.run(f"mkdir -p {Path(target).parent} && {BACKUP} setup {target}"))
    assert found
    # It asks every hour; no test shall depend on when that is.
    machine.run("systemctl is-active jupyterhub4family-backup.timer && systemctl stop jupyterhub4family-backup.timer")
    return found[1]


def refused(machine: Machine, args: str, status: int) -> str:
    """What `backup` says when it ends with this status, without a traceback."""
    done = machine.execute(f"{BACKUP} {args}")
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr
    return done.stderr


def backups(machine: Machine) -> int:
    return len(json.loads(machine.run(f"{BACKUP} list --json"))["backups"])


def ours_left(machine: Machine) -> str:
    """Fresh folders of restores that nobody took away, and mounts that are seen outside."""
    return machine.run(
        "ls -d /home/.jupyterhub4family-* /var/lib/jupyterhub4family/backup/.j* 2>/dev/null; true"
    ).strip()


# -- a machine is lost -------------------------------------------------------------------------------


#: What makes a hub the same hub to the devices in the house.
IDENTITY = f"cd {STATE} && sha256sum cookie_secret tls/ca.key tls/ca.crt; sha256sum < {CA}"


def test_a_lost_machine_comes_back(new_machine: NewMachine, tmp_path: Path) -> None:
    old = ready(new_machine("bookworm", layer="installed"))
    install_restic(old)
    key = set_up(old, USB)
    _live_in(old)
    old.run(f"{BACKUP} now && {BACKUP} verify && {BACKUP} list")
    before = old.run(IDENTITY)
    # Nobody can copy what is written into a pipe.
    left_out = shutil.ignore_patterns("pipe")
    shutil.copytree(old.path("/home/anna/school"), tmp_path / "school", symlinks=True, ignore=left_out)
    shutil.copytree(old.path(USB), tmp_path / "usb")
    old.destroy()

    new = ready(new_machine("trixie", layer="installed"))
    install_restic(new)
    # The number is another's here.
    new.run("useradd -m -u 1777 somebody")
    new.put(tmp_path / "usb", USB)
    assert new.run(IDENTITY) != before
    _connect(new, key)
    assert "anna, ben" in new.run(f"{BACKUP} restore --dry-run") and not new.exists("/home/anna")

    response = new.run(f"{BACKUP} restore --yes")
    assert "The account anna was made" in response and "note:" not in response, response
    ready(new)
    assert new.run(IDENTITY) == before, "devices still trust it"
    new.put(tmp_path / "school", "/root/school")
    assert new.run("diff -r --no-dereference /root/school /home/anna/school") == ""
    _same_people(new)
    with logged_in(new, "anna") as anna:  # with the password she had
        anna.start_server()
        assert anna.terminal().run("cat ~/school/homework.ipynb").output == "kept"
        assert "iniconfig" in anna.terminal().run("pip list 2>/dev/null | grep iniconfig").output
    assert ours_left(new) == ""
    assert new.execute("jupyterhub4family doctor").returncode == 0
    # The backups of the new machine go on in the same place.
    new.run(f"{BACKUP} now")
    assert backups(new) == 3 and "Backup: the last one is 0 minutes old" in new.run("jupyterhub4family status")


def _live_in(machine: Machine) -> None:
    """People, settings, and notebooks of every kind; one backup is made while they work."""
    machine.run("useradd -m -s /bin/bash -u 1777 -c 'Ben Müller,attic' ben")
    machine.run("chpasswd", input=f"ben:{PASSWORD}\n")
    machine.add_account("anna", PASSWORD)
    machine.add_account("mum", PASSWORD, groups=("jupyterhub_adm",))
    machine.run(
        "jupyterhub4family members add anna ben && jupyterhub4family config set --no-restart family_name 'The Millers'"
    )
    with logged_in(machine, "anna") as anna:
        anna.start_server()
        terminal = anna.terminal()
        terminal.run(
            "mkdir -p ~/school/deep ~/.cache && echo kept > ~/school/homework.ipynb && chmod 600 ~/school/*.ipynb"
        )
        terminal.run("ln -s homework.ipynb ~/school/link; ln -s /etc/shadow ~/school/shadow; mkfifo ~/school/pipe")
        terminal.run("head -c 3M /dev/urandom > ~/school/deep/data; ln ~/school/deep/data ~/school/deep/same")
        terminal.run("echo 'x = 1' > '/home/anna/school/a [b]*?.py'; echo dust > ~/.cache/dust")
        terminal.run("pip install iniconfig", timeout=120)
        # While her server runs.
        machine.run(f"{BACKUP} now")
    machine.run("echo more > /home/ben/letter; chown ben: /home/ben/letter")


def _connect(machine: Machine, key: str) -> None:
    """Go on with a backup that is there: not with a wrong key, and nothing of the empty machine gets into it."""
    machine.write("/root/key", "AAAAA-AAAAA-AAAAA-AAAAA-AAAAA\n", 0o600)
    assert "does not open" in refused(machine, f"setup {USB} --key-file /root/key", 3)
    assert "--key-file" in refused(machine, f"setup {USB}", 2)
    machine.write("/root/key", key.lower().replace("-", " "), 0o600)
    response = machine.run(f"{BACKUP} setup {USB} --key-file /root/key")
    assert "2 backups" in response and not KEY.search(response), "a key that is known is not shown"
    machine.run("/usr/lib/jupyterhub4family/backup nightly")
    assert backups(machine) == 2


def _same_people(machine: Machine) -> None:
    """Accounts, groups, settings, and who owns what, as on the old machine."""
    assert machine.run("jupyterhub4family config get family_name").strip() == "The Millers"
    listed = json.loads(machine.run("jupyterhub4family members list --json"))["members"]
    assert [one["name"] for one in listed] == ["anna", "ben"]
    assert "mum" in machine.run("getent group jupyterhub_adm"), "a delegate is one again"
    assert "Ben Müller,attic:/home/ben" in machine.run("getent passwd ben")
    assert machine.run("id -u ben").strip() != "1777", "somebody else has the number"
    assert machine.run("stat -c %a /home/anna /home/anna/school/homework.ipynb").split() == ["700", "600"]
    assert machine.read("/home/ben/letter") == "more\n" and not machine.exists("/home/anna/.cache/dust")
    owners = "find /home/anna /home/ben -not -path '*/jupyterhub4family/env/*' -printf '%u\\n' | sort -u"
    assert machine.run(owners).split() == ["anna", "ben"]


# -- single things, and what goes wrong --------------------------------------------------------------


@pytest.mark.any_debian
def test_single_things_come_back_and_nobody_misleads_root(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "anna", "ben")
    assert "apt-get install restic" in refused(machine, "setup /srv/backup", 1)
    assert "No backup is set up" in machine.run("jupyterhub4family doctor backup", check=False)
    install_restic(machine)
    _check_targets(machine)
    set_up(machine, "/srv/backup")
    assert machine.run("stat -c '%U %a' /etc/jupyterhub4family/backup/key /srv/backup").split("\n")[:2] == [
        "root 600",
        "root 700",
    ]
    machine.run("mkdir -p school d && echo first > school/homework && echo mine | tee d/shadow d/passwd", user="anna")
    machine.run("head -c 30M /dev/urandom > big && ln -s /etc etc && ln -s /etc/shadow shadow", user="anna")
    machine.run(f"{BACKUP} now")
    _check_one_path(machine)
    _check_a_home_full_of_traps(machine)
    _check_other_directories(machine)
    _check_races(machine)
    _check_interrupted(machine)
    _check_night(machine)
    _check_key_and_target(machine)
    assert ours_left(machine) == "" and TREE not in machine.run("cat /proc/1/mounts")


def _check_targets(machine: Machine) -> None:
    machine.run("mkdir -m 777 /srv/open; mkdir /home/anna/mine; ln -s /home/anna/mine /srv/link")
    for target in ("/home/anna/backup", "/srv/open/backup", "/srv/link/backup", "/tmp"):
        assert "mislead root" in refused(machine, f"setup {target}", 3), target
    assert "no folder" in refused(machine, "setup /media/nothing/backup", 1)
    for target in ("s3:somewhere", "sftp:-oProxyCommand=id:/x", "rest:http://nas/x", "sftp:user@host"):
        refused(machine, f"setup {target}", 2)
    assert "cannot be reached" in refused(machine, "setup sftp:backup@127.0.0.1:/backup", 7)
    assert not machine.exists("/etc/jupyterhub4family/backup"), "nothing is set up by a failure"
    assert refused(machine, "now", 1) and machine.execute(f"{BACKUP} now", user="anna").returncode == 4


def _check_one_path(machine: Machine) -> None:
    machine.run("echo second > school/homework; echo new > school/later", user="anna")
    response = machine.run(f"{BACKUP} restore --path /home/anna/school/homework")
    assert machine.read("/home/anna/school/homework") == "first\n" and "before-restore-" in response
    assert machine.run("cat /home/anna/before-restore-*/school/homework") == "second\n"
    assert machine.read("/home/anna/school/later") == "new\n", "what came later stays"
    assert "not in the backup" in refused(machine, "restore --member anna --path school/nothing", 1)
    assert "not in the backup" in refused(machine, "restore --member anna --path school/nothing --dry-run", 1)
    for path in ("../ben", "/etc/passwd", "school/../../ben"):
        refused(machine, f"restore --member anna --path {path}", 2)
    assert "not in the backup" in refused(machine, "restore --member carla", 1)
    refused(machine, "restore --from ffffffff", 2)
    # With her own rights, and hers.
    assert machine.run("stat -c %U /home/anna/school/homework /home/anna/before-restore-*").split() == ["anna"] * 2


def _check_a_home_full_of_traps(machine: Machine) -> None:
    """Links where the backup has folders: neither root nor anybody writes through them."""
    traps = "rm -rf school d .local before-restore-*; ln -s /etc/cron.d school; ln -s /root d; ln -s /etc/cron.d .local"
    machine.run(f"{traps}; ln -s /etc/ssh before-restore-x", user="anna")
    before = machine.run("ls -la /etc/cron.d /root")
    machine.run(f"{BACKUP} restore --member anna")
    assert machine.run("ls -la /etc/cron.d /root") == before
    assert machine.read("/home/anna/school/homework") == "first\n" and machine.read("/home/anna/d/passwd") == "mine\n"
    kept = machine.run("cd /home/anna/before-restore-2* && find . -type l | sort").split()
    assert kept == ["./.local", "./d", "./school"], kept
    # What is root's in a backup is not root's in a home.
    machine.run("install -m 4755 /bin/true /home/anna/school/suid")
    machine.run(f"{BACKUP} now && rm /home/anna/school/suid && {BACKUP} restore --member anna --path school/suid")
    assert machine.run("stat -c '%U %a' /home/anna/school/suid").split() == ["anna", "755"]


def _check_other_directories(machine: Machine) -> None:
    machine.run(f"{BACKUP} restore --member anna --path school --to /root/out")
    assert machine.read("/root/out/school/homework") == "first\n"
    assert machine.run("stat -c '%U %a' /root/out").split() == ["root", "700"]
    machine.run(f"{BACKUP} restore --to /root/all")
    found = machine.run("cd /root/all && ls && ls homes").split()
    assert found == ["about.json", "accounts.json", "homes", "hub.json", "packages.json", "settings", "anna", "ben"]
    assert not machine.exists("/root/all/settings/backup"), "the key is not in what it opens"
    assert "there already" in refused(machine, "restore --to /root/out", 3)
    machine.run("mkdir -p /home/anna/out")
    assert "mislead root" in refused(machine, "restore --to /home/anna/out/x", 3)
    # Too small: nothing is left of it.
    machine.run("mkdir /mnt/small && mount -t tmpfs -o size=8m,mode=755 none /mnt/small")
    assert "full" in refused(machine, "restore --to /mnt/small/out", 10)
    assert machine.run("ls -A /mnt/small") == ""


RACE = "while :; do mv d x; ln -s /etc d; rm d; mv x d; done"


def _check_races(machine: Machine) -> None:
    """A folder becomes a link to /etc, and a folder again, as fast as possible while root reads."""
    machine.run("for n in $(seq 300); do echo mine > d/passwd.$n; done; touch -d tomorrow d/*", user="anna")
    racing = subprocess.Popen(
        ["nsenter", "-t", str(machine.pid), "-a", "runuser", "-u", "anna", "--", "sh", "-c", f"cd ~anna && {RACE}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _round in range(2):
            machine.run("touch -d '1 hour ago' /home/anna/big")
            machine.run(f"{BACKUP} now")
            machine.run(f"rm -rf /root/out && {BACKUP} restore --member anna --to /root/out")
            # grep follows no link that is in there.
            assert machine.run("grep -rl '^root:' /root/out; true") == ""
    finally:
        racing.terminate()
        racing.wait()
    machine.run("cd /home/anna; [ -d x ] && { rm -f d; mv x d; }; true")


def _check_interrupted(machine: Machine) -> None:
    """Killed in the middle: a lock is left, or a half-read restore; the next call tidies up."""
    count = backups(machine)
    machine.run("head -c 80M /dev/urandom > /home/ben/bigger; chown ben: /home/ben/bigger")
    _kill_restic(machine, f"{BACKUP} now", 'test -n "$(ls /srv/backup/locks)"')
    assert machine.run("ls /srv/backup/locks") != "" and backups(machine) == count
    assert "failed" in machine.run("jupyterhub4family doctor backup", check=False)
    # Removing what is no longer needed takes the only lock there may be.
    machine.run(f'sed -i \'s/"pruned": [0-9]*/"pruned": 0/\' {STATE_FILE} && {BACKUP} now')
    assert backups(machine) == count + 1 and machine.run("ls /srv/backup/locks") == ""
    machine.run("rm /home/ben/bigger")
    _kill_restic(
        machine, f"{BACKUP} restore --member ben", "ls -d /home/.jupyterhub4family-restore-*/reading/var", whole=True
    )
    assert not machine.exists("/home/ben/bigger"), "nothing half-restored"
    machine.run(f"{BACKUP} restore --member ben")
    assert machine.run("stat -c '%U %s' /home/ben/bigger").split() == ["ben", str(80 << 20)]
    assert ours_left(machine) == ""


def _kill_restic(machine: Machine, command: str, ready: str, whole: bool = False) -> None:
    """Run `command`, and kill restic (`whole`: and all that called it) without a warning once `ready` holds."""
    running = subprocess.Popen(
        ["nsenter", "-t", str(machine.pid), "-a", "sh", "-c", f"exec {command}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    machine.wait(ready, timeout=60, every=0.02)
    machine.run(
        "pkill -9 -f '[l]ib/jupyterhub4family/backup'; pkill -9 -x restic; true" if whole else "pkill -9 -x restic"
    )
    response, _nothing = running.communicate(timeout=60)
    assert running.returncode != 0 and "Traceback" not in response, response


def _check_night(machine: Machine) -> None:
    """The timer's service makes a backup when one is due, and only then."""
    count = backups(machine)
    machine.run("systemctl start jupyterhub4family-backup.service")
    assert backups(machine) == count
    machine.run(f'sed -i \'s/"last_good": [0-9]*/"last_good": {int(time.time()) - 4 * 86400}/\' {STATE_FILE}')
    assert "4 days old" in machine.run("jupyterhub4family status")
    assert "4 days old" in machine.run("jupyterhub4family doctor backup")
    machine.run("systemctl start jupyterhub4family-backup.service")
    assert backups(machine) == count + 1
    # The line of cron: not where systemd supervises; where cron does, and one is due.
    line = "sh -c \"$(sed -n 's/^17 . . . . root //p' /etc/cron.d/jupyterhub4family)\""
    machine.run(f'sed -i \'s/"last_good": [0-9]*/"last_good": 1/\' {STATE_FILE}; {line}; true')
    assert backups(machine) == count + 1
    machine.run(f"echo 'supervisor: cron' > /etc/jupyterhub4family/config.yaml; {line}")
    assert backups(machine) == count + 2
    machine.run("rm /etc/jupyterhub4family/config.yaml")


def _check_key_and_target(machine: Machine) -> None:
    """A full target, a target that is not there, another key."""
    small = set_up(machine, "/mnt/small/backup")
    assert "full" in refused(machine, "now", 10)
    assert "full" in machine.run("jupyterhub4family doctor backup", check=False)
    machine.run("umount /mnt/small")
    assert "not there" in refused(machine, "now", 1)
    machine.run("mkdir /mnt/small/backup")
    assert "no backup in" in refused(machine, "list", 1) and "no backup in" in refused(machine, "now", 1)
    assert machine.run("ls -A /mnt/small/backup") == "", "nothing is begun beside a disk that is not plugged in"
    machine.write("/root/key", f"{small}\n", 0o600)
    assert "does not open" in refused(machine, "setup /srv/backup --key-file /root/key", 3)
    machine.run("echo /srv/backup > /etc/jupyterhub4family/backup/target")
    for args in ("list", "now", "verify", "restore --member anna"):
        assert "does not open" in refused(machine, args, 3), args
    machine.run(f"{BACKUP} off --yes")
    assert not machine.exists("/etc/jupyterhub4family/backup")
    assert machine.execute("systemctl is-enabled jupyterhub4family-backup.timer").returncode != 0
