"""
Works in what others leave idle: a tick with a running hash each half a second of work, over live data that must come along bit for bit. It dirties its memory
as fast as it can meanwhile. Ends when the file `enough` is there.
"""
import hashlib, itertools, os, sys, time

megabytes = int(sys.argv[1])
# In place: twice as much for a moment would be beyond what the job asked for.
data = bytearray(megabytes << 20)
part = hashlib.sha256(b'seed').digest() * 32768
for at in range(0, len(data), 1 << 20):
    data[at:at + (1 << 20)] = part
running = hashlib.sha256()
for i in itertools.count(1):
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        for at in range(0, len(data), 4096):
            data[at] ^= 1
            data[at] ^= 1
    for at in range(i, len(data), 1 << 20):
        data[at] = (data[at] + i) & 255
    running.update(b'%d' % i)
    print('tick', i, running.hexdigest()[:16], flush=True)
    if os.path.exists('enough'):
        break
print('data', hashlib.sha256(data).hexdigest()[:16], flush=True)
