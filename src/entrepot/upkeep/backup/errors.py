"""What can be wrong with a back-up: one table, code → what it means → what to do about it."""

from collections.abc import Mapping

CODES: Mapping[str, tuple[str, str]] = {
    "backup_source": (
        "The data folder cannot be read, or much of what its catalog lists is not there.",
        (
            "Name the folder with `--data`; run the command as the server's user; mount the volume of `blobs/`."
            " A server that has just been upgraded must have been started once."
        ),
    ),
    "backup_place_taken": (
        "The folder for the back-up holds other files, or lies in the data folder.",
        "Name an empty folder, or one that a back-up was made into, on another disk.",
    ),
    "backup_of_another": (
        "The folder holds back-ups of another server: this one would remove them.",
        "Name another folder, one for each server.",
    ),
    "backup_busy": ("Another back-up or restore works on the folder.", "Wait for its end."),
    "backup_no_room": (
        "The back-up does not fit; what was written of it was removed again, an earlier one is as it was.",
        "Make room there, or name another folder.",
    ),
    "backup_unwritable": (
        "The folder for the back-up cannot be written, or its disk failed.",
        "Look at its mode and owner, then at the kernel's log.",
    ),
    "backup_unsettled": (
        "The server removed packages faster than they could be copied, eight times in a row.",
        "Make the back-up again when no `entrepot gc` runs.",
    ),
    "backup_torn": (
        "There is no complete back-up in the folder: none was made, or the first one did not get to its end.",
        "Name another folder. Making a back-up into this one again completes it.",
    ),
    "backup_damaged": (
        "Something in the back-up is missing, or not what its digest says.",
        (
            "`entrepot verify FOLDER` names all of it. Restore from another back-up, or with `--partial`: what is lost"
            " is named, and comes back when the same package is pushed again."
        ),
    ),
    "backup_too_new": ("A later version of Entrepot made it.", "Restore it with that version."),
    "restore_not_empty": ("The folder to restore into holds something.", "Name a new or an empty one."),
    "restore_no_room": ("The volume is too small for what is in the back-up.", "Name a folder on a larger one."),
    "restore_unwritable": (
        "The folder to restore into cannot be written, or its disk failed.",
        "Look at its mode and owner, then at the kernel's log.",
    ),
}
"""Every code, for docs/troubleshoot.md."""


class BackupError(Exception):
    """A back-up cannot be made, read or restored.

    ``code`` is a key of :data:`CODES` (KeyError for another one), ``detail`` a sentence that says what, ``remedy`` what
    to do about it (by default the table's).
    """

    def __init__(self, code: str, detail: str, remedy: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        usual = CODES[code][1]
        self.remedy = remedy or usual
