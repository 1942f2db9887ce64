"""Whether the packages that the catalog lists can be where they belong; looked at once, before a node serves."""

from pathlib import Path

from entrepot.catalog import blobs
from entrepot.catalog.engine import Catalog
from entrepot.node.folder import FolderError, holds_copies


def check_mounted(catalog: Catalog, folder: Path) -> None:
    """Look for any package below ``folder`` (`DIR/blobs`), if the catalog knows one.

    Raises FolderError when there is none: a volume of its own that was not mounted at boot leaves its empty mount point
    behind. A node there would answer 404 for everything, and put new packages below the mount point, where the next
    mount hides them. OSError.
    """
    if holds_copies(folder):
        return
    with catalog.read() as conn:
        known = sum(each.copies for each in blobs.sums(conn))
    if known:
        raise FolderError(
            f"{folder} holds no package, and the catalog lists {known}: is the volume that belongs there mounted?"
            " If they are lost, restore a back-up (`entrepot restore --help`)."
        )
