"""Package files: the one door to commit, lookup, hold and yank."""

from entrepot.catalog.commit import commit_file, parts
from entrepot.catalog.lookup import (
    Filters,
    Page,
    by_ids,
    count_files,
    distributions_of,
    find_by_path,
    find_by_sha256,
    indexed,
    list_files,
    listed_files,
    match,
)
from entrepot.catalog.rows import CommitOutcome, FileFacts, FileRow, ListedRow, Needed, NewFile, ScopeUse
from entrepot.catalog.yank import check_unyank, expired_held, sets_to_return, unyank, whole_sets, yank

__all__ = [
    "CommitOutcome",
    "FileFacts",
    "FileRow",
    "Filters",
    "ListedRow",
    "Needed",
    "NewFile",
    "Page",
    "ScopeUse",
    "by_ids",
    "check_unyank",
    "commit_file",
    "count_files",
    "distributions_of",
    "expired_held",
    "find_by_path",
    "find_by_sha256",
    "indexed",
    "list_files",
    "listed_files",
    "match",
    "parts",
    "sets_to_return",
    "unyank",
    "whole_sets",
    "yank",
]
