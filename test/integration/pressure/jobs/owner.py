"""
The owner of a node: sleeps, and at each file `wake.TURN.MEGABYTES.SECONDS` allocates so much, spins on all its CPUs for so long, and lets go of both. Says what it got.
"""
import hashlib, multiprocessing, os, sys, time

processes = int(sys.argv[1])
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
    # All in the name: a file server may go on for a while with the size that a file had when it was made.
    told = [name.split('.') for name in os.listdir('.') if name.startswith(f'wake.{turn}.')]
    if not told:
        time.sleep(0.2)
        continue
    megabytes, seconds = int(told[0][2]), int(told[0][3])
    say('wakes', turn, '%.3f' % time.time())
    units = multiprocessing.Queue()
    until = time.monotonic() + seconds
    workers = [multiprocessing.Process(target=spin, args=(until, units)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    begun = time.monotonic()
    held = []
    for _ in range(megabytes):
        held.append(bytearray(page))
    say('allocated', turn, '%.3f' % (time.monotonic() - begun))
    total = sum(units.get() for _ in workers)
    for worker in workers:
        worker.join()
    say('units', turn, '%.1f' % (total / seconds))
    del held
    turn += 1
