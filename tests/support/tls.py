"""HTTPS in front of the server: a private certificate authority made by openssl, and nginx as the proxy."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port, wait_for_port
from tests.support.process import kill_group, run

TRUST_STORE_PASSWORD = "changeit"  # Java's own default; the store holds a public certificate only
NGINX_CONFIG = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/tmp-body;
  proxy_temp_path {folder}/tmp-proxy;
  fastcgi_temp_path {folder}/tmp-fastcgi;
  uwsgi_temp_path {folder}/tmp-uwsgi;
  scgi_temp_path {folder}/tmp-scgi;
  client_max_body_size 0;
  upstream server {{ server {upstream}; keepalive 16; }}
  server {{
    listen {address}:{port} ssl;
    ssl_certificate {folder}/server.pem;
    ssl_certificate_key {folder}/server.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://server;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto https;
      proxy_request_buffering off;
      proxy_buffering off;
      proxy_read_timeout 120s;
    }}
  }}
}}
"""


class CertificateAuthority:
    """A private CA in a folder; `ca_file` is what clients are to trust."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca_file = folder / "ca.pem"
        self.ca_key = folder / "ca.key"
        self.openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=Test CA"),
            *(
                "-addext",
                "keyUsage=critical,keyCertSign,cRLSign",
                "-keyout",
                str(self.ca_key),
                "-out",
                str(self.ca_file),
            ),
        )

    def openssl(self, *args: str) -> None:
        """Run openssl."""
        run(["openssl", *args])

    def issue(
        self,
        folder: Path,
        names: Sequence[str],
        *,
        days: int = 30,
        key: Sequence[str] = ("rsa:2048",),
        usage: str = "serverAuth",
    ) -> tuple[Path, Path]:
        """Write server.pem and server.key for host names and IP addresses into `folder`, each at one moment.

        `days` may be negative; `key` is what openssl's `-newkey` takes.
        """
        folder.mkdir(parents=True, exist_ok=True)
        alternatives = ",".join(f"{'IP' if name[-1].isdigit() else 'DNS'}:{name}" for name in names)
        made, request = folder / "new.key", str(folder / "server.csr")
        subject = f"/CN={names[0]}"
        self.openssl("req", "-newkey", *key, "-nodes", "-subj", subject, "-keyout", str(made), "-out", request)
        extensions = folder / "server.ext"
        extensions.write_text(f"subjectAltName={alternatives}\nbasicConstraints=CA:FALSE\nextendedKeyUsage={usage}\n")
        self.openssl(
            *("x509", "-req", "-in", request, "-CA", str(self.ca_file), "-CAkey", str(self.ca_key), "-days", str(days)),
            *("-set_serial", str(time.time_ns()), "-extfile", str(extensions), "-out", str(folder / "new.pem")),
        )
        made.rename(folder / "server.key")
        (folder / "new.pem").rename(folder / "server.pem")
        return folder / "server.pem", folder / "server.key"

    def trust_store(self) -> Path:
        """A PKCS12 store with the CA, for Java programs."""
        path = self.folder / "trust.p12"
        if not path.exists():
            store = ["-keystore", str(path), "-storetype", "PKCS12", "-storepass", TRUST_STORE_PASSWORD]
            run(["keytool", "-importcert", "-noprompt", "-alias", "test", "-file", str(self.ca_file), *store])
        return path


class TlsProxy:
    """nginx with TLS on `address`, in front of `upstream` (`HOST:PORT`); streams bodies in both directions.

    `prefix` runs it in another network namespace.
    """

    def __init__(
        self,
        folder: Path,
        authority: CertificateAuthority,
        upstream: str,
        *,
        address: str = "127.0.0.1",
        port: int | None = None,
        names: Sequence[str] = (),
        prefix: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.address = address
        self.port = port or free_port(address)
        self.url = f"https://{address}:{self.port}"
        self.prefix = prefix
        self.process: subprocess.Popen[bytes] | None = None
        authority.issue(folder, [*names, address])
        text = NGINX_CONFIG.format(folder=folder, upstream=upstream, address=address, port=self.port)
        (folder / "nginx.conf").write_text(text)

    def start(self) -> Self:
        """Start nginx and wait until it listens."""
        command = [*self.prefix, "nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        with (self.folder / "start.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_for_port(self.address, self.port)
        except TimeoutError as error:
            self.stop()
            raise AssertionError((self.folder / "start.log").read_text()) from error
        return self

    def stop(self) -> None:
        """End nginx and everything in its group."""
        if self.process is not None:
            kill_group(self.process.pid)
            self.process.wait()
            self.process = None

    def access_log(self) -> list[str]:
        """Lines of the access log."""
        path = self.folder / "access.log"
        return path.read_text().splitlines() if path.exists() else []

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
