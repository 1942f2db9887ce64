"""One struct of settings per concern. Every setting has a unit in its name and a description for `entrepot config`."""

import ipaddress
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from entrepot.model.limits import GIB, MIB, PUBLICATION_WAIT_S, RATE_BYTES_PER_S_MIN, RATE_WINDOW_S, UPLOAD_BYTES_MAX

PORT_MAX = 65535
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})


def split_address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``[IPV6]:PORT`` as (host, port); port 0 lets the system choose. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        ipaddress.IPv6Address(host)
    elif ":" in host:
        raise ValueError("write an IPv6 address in brackets: [::1]:8420")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise ValueError("write it as HOST:PORT, for example 127.0.0.1:8420")
    return host, int(port)


def _address(text: str) -> str:
    split_address(text)
    return text


def _public_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write it as https://HOST or https://HOST/PREFIX")
    if parts.query or parts.fragment or parts.username is not None or any(c.isspace() for c in text):
        raise ValueError("it must not have a user, a query, a fragment or blanks")
    _ = parts.port  # raises ValueError for a port that is none
    return text.rstrip("/")


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text, strict=False))


Address = Annotated[str, AfterValidator(_address)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
Network = Annotated[str, AfterValidator(_network)]


class Concern(BaseModel):
    """What all structs share: frozen, no unknown names (a typing error in a setting must not pass unseen)."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def for_testing(cls, **changes: Any) -> Self:
        """The defaults, changed where a test needs it."""
        return cls.model_validate(cls._testing_defaults() | changes)

    @classmethod
    def _testing_defaults(cls) -> dict[str, Any]:
        return {}


class ServerSettings(Concern):
    """Where the server listens and what it calls itself."""

    data_folder: Path = Field(
        default=Path("/var/lib/entrepot"),
        description="Folder of everything that the server keeps: catalog, packages, secret. One node, one folder.",
    )
    listen: Address = Field(default="127.0.0.1:8420", description="HOST:PORT that clients connect to.")
    public_url: PublicUrl | None = Field(
        default=None,
        description="URL by which clients reach the server; all printed URLs begin with it. Default: http://LISTEN"
        " (https with `tls_cert`).",
    )
    admin_listen: Address | None = Field(
        default=None,
        description="HOST:PORT of probes and metrics, answered by a thread of its own. Default: loopback, one port"
        " above `listen`.",
    )
    agent_listen: Address | None = Field(
        default=None,
        description="HOST:PORT that tells HAProxy's `agent-check` how much traffic the node wants. Default: none.",
    )
    tls_cert: Path | None = Field(
        default=None,
        description="PEM file with the server's certificate and its intermediates: HTTPS on `listen`, TLS 1.2 and 1.3."
        " A renewed file is taken within seconds. Default: plain HTTP.",
    )
    tls_key: Path | None = Field(
        default=None, description="PEM file with the certificate's private key, without a passphrase."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        default=(),
        max_length=64,
        description="Addresses or networks whose X-Forwarded-For header is believed; that of anybody else is ignored."
        " No such header ever changes a URL.",
    )
    worker_threads: int = Field(
        default=16,
        ge=2,
        le=256,
        description="Threads of each kind for blocking work: uploads, catalog, downloads. More help slow disks only.",
    )
    drain_wait_s: float = Field(
        default=5.0,
        ge=0,
        le=600,
        description="Seconds between `not ready` at SIGTERM and closing the port: a probe's interval.",
    )
    stop_wait_s: float = Field(
        default=60.0,
        ge=0,
        le=3600,
        description="Seconds that requests in flight get to finish after the port was closed.",
    )
    unread_s_max: float = Field(
        default=60.0,
        ge=1,
        le=3600,
        description="Seconds that a client may take nothing of its answer before its connection is cut.",
    )

    @classmethod
    def _testing_defaults(cls) -> dict[str, Any]:
        return {
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "worker_threads": 4,
            "drain_wait_s": 0,
            "stop_wait_s": 10,
        }

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together: name both files, or none")
        return self

    @model_validator(mode="after")
    def _check_addresses(self) -> Self:
        named = {"listen": self.listen_address, "admin_listen": self.admin_address, "agent_listen": self.agent_address}
        for (one, first), (other, second) in combinations(named.items(), 2):
            if first is None or second is None or first[1] != second[1] or not first[1]:
                continue
            if first[0] == second[0] or _EVERY_ADDRESS & {first[0], second[0]}:
                raise ValueError(f"{one} and {other} have the same address and port {first[1]}; choose another for one")
        return self

    @property
    def scheme(self) -> str:
        """What is spoken on ``listen``: ``https`` with a certificate, else ``http``."""
        return "http" if self.tls_cert is None else "https"

    @property
    def listen_address(self) -> tuple[str, int]:
        """``listen`` as (host, port)."""
        return split_address(self.listen)

    @property
    def admin_address(self) -> tuple[str, int]:
        """Where probes listen, as (host, port): on loopback one port up unless set, whatever ``listen`` is."""
        if self.admin_listen is not None:
            return split_address(self.admin_listen)
        port = self.listen_address[1]
        return "127.0.0.1", port + 1 if 0 < port < PORT_MAX else 0

    @property
    def agent_address(self) -> tuple[str, int] | None:
        """Where HAProxy's agent-check is answered, as (host, port), or None."""
        return None if self.agent_listen is None else split_address(self.agent_listen)

    @property
    def url(self) -> str:
        """The public URL without a closing slash."""
        return self.public_url or f"{self.scheme}://{self.listen}"


class UploadSettings(Concern):
    """What one upload, and all of them together, may take."""

    upload_bytes_max: int = Field(
        default=UPLOAD_BYTES_MAX, ge=1, le=1024 * GIB, description="Bytes of the largest file that is accepted."
    )
    uploads_at_once_max: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Uploads received at the same time; more are told to come back (503, Retry-After).",
    )
    rate_bytes_per_s_min: int = Field(
        default=RATE_BYTES_PER_S_MIN,
        ge=0,
        description=f"Bytes per second, over {RATE_WINDOW_S:g} s, below which an upload is ended (408)."
        " 0: only silence ends it.",
    )
    publication_wait_s: float = Field(
        default=PUBLICATION_WAIT_S,
        ge=0,
        le=300,
        description="Seconds that an upload waits for the signed index that lists it.",
    )
    inspection_processes: int = Field(
        default=2, ge=1, le=64, description="Child processes that look into packages. One per core is plenty."
    )

    @classmethod
    def _testing_defaults(cls) -> dict[str, Any]:
        return {"inspection_processes": 1}


class DiskSettings(Concern):
    """When a volume counts as filling up, as full, and as failing.

    A state is entered when less is available than its threshold: ``min(max(percent, bytes_min), bytes_max)``, where
    ``bytes_min`` never counts for more than a quarter, an eighth and a sixteenth of a small volume.
    """

    pressure_percent: float = Field(
        default=25.0,
        ge=0,
        le=90,
        description="PRESSURE below this percent of the volume: half as many uploads at once, a reclaim pass."
        " 0 switches the state off.",
    )
    pressure_bytes_min: int = Field(default=1 * GIB, ge=0, description="PRESSURE at the latest below so many bytes.")
    pressure_bytes_max: int = Field(
        default=100 * 10**9,
        ge=0,
        description="Bytes that are enough to leave PRESSURE alone, however large the volume.",
    )
    pressure_inodes_percent: float = Field(default=15.0, ge=0, le=90, description="PRESSURE below this, of inodes.")
    shed_percent: float = Field(
        default=12.0,
        ge=0,
        le=90,
        description="SHED below this percent of the volume: uploads should go to another node. 0 switches it off.",
    )
    shed_bytes_min: int = Field(default=256 * MIB, ge=0, description="SHED at the latest below so many bytes.")
    shed_bytes_max: int = Field(default=40 * 10**9, ge=0, description="As pressure_bytes_max, for SHED.")
    shed_inodes_percent: float = Field(default=7.0, ge=0, le=90, description="SHED below this, of inodes.")
    readonly_percent: float = Field(
        default=5.0,
        ge=0,
        le=90,
        description="READONLY below this percent of the volume: no uploads. Uploads never take what is below it."
        " 0 switches it off.",
    )
    readonly_bytes_min: int = Field(default=64 * MIB, ge=0, description="READONLY at the latest below so many bytes.")
    readonly_bytes_max: int = Field(default=20 * 10**9, ge=0, description="As pressure_bytes_max, for READONLY.")
    readonly_inodes_percent: float = Field(default=5.0, ge=0, le=90, description="READONLY below this, of inodes.")
    leave_percent: float = Field(
        default=5.0,
        ge=0,
        le=50,
        description="A state ends when so many percent of the volume more than its threshold are available, though"
        " never more than twice the threshold.",
    )
    leave_s: float = Field(default=60.0, ge=0, le=3600, description="Seconds for which that must hold without a break.")
    ballast_bytes: int | None = Field(
        default=None,
        ge=0,
        description="Bytes kept back for the way out of a full volume. Default: 1 percent of the volume, at most 1 GiB."
        " 0: none.",
    )
    scratch_folder: Path | None = Field(
        default=None,
        description="Folder for temporary files of libraries (TMPDIR), emptied at each start. Default: `scratch` in the"
        " data folder.",
    )
    refusal_delay_s: float = Field(
        default=0.5,
        ge=0,
        le=5,
        description="Most seconds that a refusal for lack of room waits, so that a node that refuses quickly does not"
        " attract uploads. 0: none.",
    )
    stall_s: float = Field(
        default=20.0,
        gt=0,
        le=600,
        description="Seconds without an end after which an fsync, a write or an allocation counts as failed.",
    )
    probe_s: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="Seconds between two trials of a volume that failed: 1 MiB written and synced puts it back to use.",
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if not self.readonly_percent <= self.shed_percent <= self.pressure_percent:
            raise ValueError(
                "readonly_percent, shed_percent and pressure_percent must not become smaller in this order"
            )
        return self

    @classmethod
    def _testing_defaults(cls) -> dict[str, Any]:
        return {"leave_s": 0.0, "probe_s": 0.0, "refusal_delay_s": 0.0}


class SigningSettings(Concern):
    """Keys and what protects them."""

    default_algorithm: Literal["rsa3072", "rsa4096", "ed25519"] = Field(
        default="rsa3072",
        description="Key of a new repository. All clients read RSA-3072; Ed25519 is 40 times faster, but not for EL7.",
    )
    secret: SecretStr | None = Field(
        default=None,
        description="64 hexadecimal digits that seal the signing keys in the catalog. Default: the file `secret` in the"
        " data folder.",
    )
    spare_keys: int = Field(
        default=2, ge=0, le=64, description="Keys made ahead, because making an RSA key takes seconds."
    )

    @model_validator(mode="after")
    def _check_secret(self) -> Self:
        if self.secret is not None:
            text = self.secret.get_secret_value()
            if len(text) != 64 or not set(text) <= set("0123456789abcdefABCDEF"):
                raise ValueError("secret is 64 hexadecimal digits (openssl rand -hex 32 makes one)")
        return self

    @classmethod
    def _testing_defaults(cls) -> dict[str, Any]:
        return {"default_algorithm": "ed25519", "spare_keys": 0}


class PublicationSettings(Concern):
    """How long old indexes stay readable by their digest, for clients that began before a change."""

    keep_s: int = Field(default=3600, ge=60, description="Seconds that every old index stays readable.")
    keep_hourly_s: int = Field(
        default=86_400, ge=60, description="Seconds that the last index of each hour stays readable."
    )
    keep_volume_percent_max: float = Field(
        default=2.0,
        gt=0,
        le=50,
        description="Percent of the volume that old indexes may fill; the oldest go first when they would exceed it.",
    )
    keep_replaced_s: int = Field(
        default=86_400,
        ge=0,
        description="Seconds that a file stays after another one took its name (a Maven SNAPSHOT that was deployed"
        " again); it counts against quotas until then.",
    )
    keep_s_min: int = Field(
        default=900, ge=0, description="Seconds that an old index stays readable even when the cap is exceeded."
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if not self.keep_s_min <= self.keep_s <= self.keep_hourly_s:
            raise ValueError("keep_s_min, keep_s and keep_hourly_s must not become smaller in this order")
        return self


class ScrubSettings(Concern):
    """Reading every package and index again, to find what the disk has lost before a client does."""

    bytes_per_s: int = Field(
        default=4 * MIB, ge=0, description="Bytes per second that are read at most, day and night. 0: no scrub at all."
    )
    round_s: int = Field(
        default=7 * 86_400,
        ge=60,
        description="Seconds at least from the begin of one round to that of the next; a large store takes longer.",
    )

    @classmethod
    def _testing_defaults(cls) -> dict[str, Any]:
        return {"bytes_per_s": 0}


class NodeSettings(Concern):
    """When the node ends itself (exit code 75), so that whoever started it starts it anew."""

    supervised: bool | None = Field(
        default=None,
        description="Whether something starts the node again when it ends; without that it never ends itself. Default:"
        " what systemd, Kubernetes or ECS say.",
    )
    memory_bytes_max: int | None = Field(
        default=None,
        ge=64 * MIB,
        description="Bytes of resident memory above which the node ends itself. Default: never for that.",
    )
    age_s_max: int | None = Field(
        default=None,
        ge=3600,
        description="Seconds after which a node of several ends itself, give or take a tenth. Default: never for that.",
    )
    retire_wait_s: float = Field(
        default=600.0,
        ge=0,
        le=86_400,
        description="Seconds that uploads in flight get to finish when the node ends itself.",
    )


class CanarySettings(Concern):
    """The node's own trial: a small package of each format through the front door, and out again."""

    interval_s: float = Field(
        default=60.0, ge=0, le=86_400, description="Seconds from one canary run to the next; 0: none at all."
    )
    url: PublicUrl | None = Field(
        default=None,
        description="URL that the canary goes to, for example the load balancer's. Default: the node's own `listen`.",
    )
    payload_bytes: int = Field(
        default=1 * MIB,
        ge=0,
        le=64 * MIB,
        description="Bytes that do not compress in each sample package. Below 1 MiB a write says little: it may find"
        " room where no package does.",
    )

    @classmethod
    def _testing_defaults(cls) -> dict[str, Any]:
        return {"interval_s": 0}

    def url_for(self, server: ServerSettings) -> str:
        """Where the canary goes: ``url``, or the address that the node listens on."""
        if self.url is not None:
            return self.url
        host, port = server.listen_address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"{server.scheme}://[{host}]:{port}" if ":" in host else f"{server.scheme}://{host}:{port}"


class LogSettings(Concern):
    """Logs; they go to standard output only."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least level that is written."
    )
    format: Literal["json", "console"] = Field(default="json", description="json for machines, console for people.")
