#!/usr/bin/env python3
"""A serial line: pty.py NAME-FILE LOG [--deaf]

Writes the terminal's name to NAME-FILE and appends to LOG what is written to it; --deaf: reads
nothing. Ends with its standard input.
"""
import os
import select
import sys
import tty

master, slave = os.openpty()
tty.setraw(slave)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(os.ttyname(slave))
os.rename(sys.argv[1] + ".new", sys.argv[1])
watched = [0] if "--deaf" in sys.argv else [0, master]
with open(sys.argv[2], "ab", buffering=0) as log:
    while True:
        ready = select.select(watched, [], [])[0]
        if 0 in ready and not os.read(0, 1):
            break
        if master in ready:
            log.write(os.read(master, 65536))
