"""Debian: .deb and source packages, read by apt. The answers to the protocol, and why:

* name, mounts: ``debian``; no mounts, every address begins with a family (``debian``, ``ubuntu``, ``any``).
* route: packagecloud's layout. PUT FAMILY/CODENAME/FILE; GET FAMILY/dists/CODENAME/… and
  FAMILY/pool/CODENAME/main/P/NAME/…; our indexes add 32 hex digits of the sha256 before the file name, so that a name
  that returns with other bytes never meets a stale cache.
* pair: Release and Release.gpg. InRelease needs none: it carries its signature.
* needs: .deb 16 MiB of head (control lies before data), 64 KiB of tail (a debsigs signature, or what should not be
  there), no other digest: the index says SHA256 only. .dsc whole, with md5 and sha1: it stands in its own lists.
  Members: first bytes.
* inspect: nothing is extracted; one stanza, read more strictly than any reader of the index; relationship fields
  checked, because one malformed Depends stops every client's update. .changes makes claims and is not kept, .buildinfo
  is not kept.
* conflict_key, path: the canonical file name (no epoch), as Debian's archive: 1:1.0-1 and 2:1.0-1 are one name.
  replaces: never.
* order_key: name, version as dpkg compares (a memcmp encoding), architecture, sha256.
* part: ``main:ARCH``, ``main:all``, ``main:source``; None for members of source packages, which the .dsc lists.
* fragments: ``Packages`` or ``Sources``: every field kept, in the order of apt-ftparchive, then fields that apt does
  not know; closing blank line.
* requires: a .dsc's members by name, size and digests. Their Directory carries the .dsc's digest and finds them by
  name, because versions share one orig tarball and a name has one content in a distribution.
* scope: ``""``, one for each distribution: one signature covers a codename. document_scopes, documents, files: none.
* indexes: binary-ARCH for amd64, arm64, armhf, i386 and every architecture seen, each with ``all``; source; all exist
  when empty.
* head, foot: empty. manifest: Release (SHA256, plain and gz), signed as InRelease and Release.gpg; the key is served
  elsewhere (key_name None).
* sample, locate: one amd64 package in debian/bookworm; InRelease, Packages.gz by its digest, the entry.
* nameless_suffix: none, the content tells a .deb from a .dsc. type_filters: deb(s), dsc(s). in_group: no groups.
* version_lines: a package in one architecture; sources by name. Members go with the .dsc that requires them.
* content_type: Debian's registered one for .deb; .dsc and .asc are text that a browser may show.
* setup: key, token, deb822 and one-line sources, curl, dput.
"""

from entrepot.formats.debian.format import DebianFormat
from entrepot.formats.protocol import Format

FORMAT: Format = DebianFormat()

__all__ = ["FORMAT"]
