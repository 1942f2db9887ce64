"""All package builders under one name; each format's builder lies in a module of its own."""

from tests.support.deb import Compression, control_text, deb_bytes, deb_file_name, make_deb, write_deb
from tests.support.dsc import SourcePackage, make_changes, make_dsc
from tests.support.java import make_jar, make_pom
from tests.support.rpm import Recipe, cache_folder, make_rpm, sign_rpm
from tests.support.rpmfast import FastRpm, Tag, fast_rpm_bytes
from tests.support.tar import TarMember, tar_bytes

__all__ = [
    "Compression",
    "FastRpm",
    "Recipe",
    "SourcePackage",
    "Tag",
    "TarMember",
    "cache_folder",
    "control_text",
    "deb_bytes",
    "deb_file_name",
    "fast_rpm_bytes",
    "make_changes",
    "make_deb",
    "make_dsc",
    "make_jar",
    "make_pom",
    "make_rpm",
    "sign_rpm",
    "tar_bytes",
    "write_deb",
]
