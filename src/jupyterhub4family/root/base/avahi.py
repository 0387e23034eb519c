"""Runs as root, from setup and `start`: tells avahi, where it is installed, that the portal is here.

HOST.local itself is announced by avahi in any case; this adds the portal to the list that some devices show.
No conffile: the port in it follows the settings.
"""

from __future__ import annotations

from pathlib import Path

from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.system import files

AVAHI_SERVICES = Path("/etc/avahi/services")
NAME = "jupyterhub4family.service"
TEXT = """\
<?xml version="1.0" standalone="no"?>
<!DOCTYPE service-group SYSTEM "avahi-service.dtd">
<!-- Written by jupyterhub4family at each start; changes get lost. -->
<service-group>
  <name replace-wildcards="yes">JupyterHub on %h</name>
  <service>
    <type>{kind}</type>
    <port>{port}</port>
  </service>
</service-group>
"""


def ensure_service_file(settings: Settings) -> None:
    """Write avahi's file, or take it away where the portal is for this computer only. avahi notices by itself."""
    if settings.listen != "lan":
        remove_service_file()
        return
    file = AVAHI_SERVICES / NAME
    text = TEXT.format(kind="_https._tcp" if settings.https else "_http._tcp", port=settings.port)
    if AVAHI_SERVICES.is_dir() and (not file.is_file() or file.read_text("utf-8") != text):
        files.write_atomically(file, text)


def remove_service_file() -> None:
    """Take avahi's file away."""
    (AVAHI_SERVICES / NAME).unlink(missing_ok=True)
