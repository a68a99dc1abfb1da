"""
The owner of a node: sleeps, and at each file `wake.TURN.MEGABYTES.SECONDS` allocates so much, spins on all its CPUs for so long, and lets go of both. Says what it got.
`.slowly` behind it: it takes all that time for the allocation, and spins on none.
Which work there is, its arguments say: a file server may go on for a while with the list of files, or the size of one, that it had.
"""
import hashlib, multiprocessing, os, sys, time

processes = int(sys.argv[1])
works = sys.argv[2:]
page = bytes(range(256)) * 4096


def say(*words):
    print(*words, flush=True)


def spin(until, units):
    done = 0
    while time.monotonic() < until:
        hashlib.sha256(page[:65536]).digest()
        done += 1
    units.put(done)


say('ready')
turn = 1
while not os.path.exists('stop'):
    told = [work for work in works if os.path.exists(f'wake.{turn}.{work}')]
    if not told:
        time.sleep(0.2)
        continue
    megabytes, seconds, *how = told[0].split('.')
    megabytes, seconds, slowly = int(megabytes), int(seconds), 'slowly' in how
    units = multiprocessing.Queue()
    until = time.monotonic() + seconds
    workers = [multiprocessing.Process(target=spin, args=(until, units)) for _ in range(0 if slowly else processes)]
    for worker in workers:
        worker.start()
    # From here on it wants all its CPUs; starting so many interpreters takes an emulated machine a second.
    say('wakes', turn, '%.3f' % time.time())
    begun = time.monotonic()
    held = []
    for i in range(megabytes):
        held.append(bytearray(page))
        if slowly:
            time.sleep(max(begun + seconds * (i + 1) / megabytes - time.monotonic(), 0))
    say('allocated', turn, '%.3f' % (time.monotonic() - begun))
    total = sum(units.get() for _ in workers)
    for worker in workers:
        worker.join()
    say('units', turn, '%.1f' % (total / seconds))
    del held
    turn += 1
