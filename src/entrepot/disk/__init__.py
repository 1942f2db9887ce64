"""Disk: the only floor that measures volumes, reserves room, refuses for lack of it, and makes file calls."""
