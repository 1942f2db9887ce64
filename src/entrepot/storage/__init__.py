"""Where the bytes of blobs lie. ``protocol`` says what a store does; ``folder`` keeps copies in a folder of a
volume."""
