"""Back-ups: one made beside the running server, looked at byte for byte, and read when a server is restored.

    DEST/backup.json        the manifest, written and synced last: without it, or where it does not fit, the back-up is
                            torn
    DEST/state-N/           the catalog and the small files that belong to it; N grows with each back-up
    DEST/blobs/aa/KEY       the copies, each under the key that the catalog calls it by
    DEST/incoming/          copies that are being written
    DEST/unfinished         there while something may lie in DEST that no manifest speaks of
    DEST/lock               held by whoever writes or reads

A copy gets its name in ``blobs`` only once its bytes are durable, so a name there is a whole copy, whatever ended the
back-up that made it. A new back-up leaves everything of the last one in place until its own manifest is durable.
"""
