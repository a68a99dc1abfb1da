"""Holds MEGABYTES of random data and writes RATE of them anew each second; prints a tick ten times a second."""

import os
import sys
import time

MIB = 1 << 20
BLOCK = os.urandom(4 * MIB)


def rate():
    """MB/s that the bench asks for: the last line of a file that it replaces."""
    try:
        with open("rate") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def main():
    megabytes = int(sys.argv[1])
    data = bytearray(megabytes * 1_000_000)
    for at in range(0, len(data), len(BLOCK)):
        size = min(len(BLOCK), len(data) - at)
        # Every page is its own: each block begins at another offset.
        shift = (at // MIB * 64 + 1) % 4096
        data[at : at + size] = (BLOCK[shift:] + BLOCK[:shift])[:size]
    at, tick, wanted, written, since = 0, 0, 0, 0, time.monotonic()
    while True:
        tick += 1
        if tick % 10 == 0:
            now = time.monotonic()
            reached, written, since = written / 1e6 / (now - since), 0, now
            wanted = rate()
            print(f"tick {tick} wanted {wanted} reached {reached:.0f}", flush=True)
        else:
            print(f"tick {tick}", flush=True)
        deadline = time.monotonic() + 0.1
        left = wanted * 100_000
        while left > 0 and time.monotonic() < deadline:
            size = min(MIB, left, len(data) - at)
            # Other bytes each time: QEMU samples contents when it is asked for the rate.
            shift = tick % 4096
            data[at : at + size] = BLOCK[shift : shift + size]
            at = (at + size) % len(data)
            left -= size
            written += size
        time.sleep(max(0, deadline - time.monotonic()))


main()
