"""Counts once a second, and keeps state in all the places in which a job can have it: what it prints shows whether any of it was lost, repeated or torn."""
import fcntl, hashlib, os, subprocess, sys, time

seconds = int(sys.argv[1])
megabytes = int(sys.argv[2]) if len(sys.argv) > 2 else 200

# Live data that must come along bit for bit.
data = bytearray(megabytes << 20)
for at in range(0, len(data), 1 << 20):
    data[at:at + (1 << 20)] = hashlib.sha256(b'seed').digest() * 32768
# A lock on the shared file system, held all the time.
lock = open('lock', 'w')
fcntl.lockf(lock, fcntl.LOCK_EX)
# A file there that is written at explicit offsets.
table = os.open('table', os.O_RDWR | os.O_CREAT, 0o644)
# A file on the scratch disk.
scratch = open(os.path.join(os.environ.get('TMPDIR', '/tmp'), f'counter-{os.getpid()}'), 'w+')
# A child with a child of its own, pipes to them and from them, and one between the two.
REVERSE = 'import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)'
child = subprocess.Popen(
    f"set -o pipefail; python3 -u -c '{REVERSE}' | sed -u 's/^/</'", shell=True, executable='/bin/bash',
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

running = hashlib.sha256()
for i in range(1, seconds + 1):
    for at in range(i, len(data), 1 << 20):
        data[at] = (data[at] + i) & 255
    running.update(b'%d' % i)
    line = '%d %s' % (i, running.hexdigest()[:16])
    child.stdin.write(line + '\n')
    child.stdin.flush()
    answer = child.stdout.readline().strip()
    scratch.write(line + '\n')
    scratch.flush()
    os.pwrite(table, (line + '\n').encode().rjust(32), (i - 1) * 32)
    os.fsync(table)
    # A lock that was lost makes this an I/O error.
    lock.write(line + '\n')
    lock.flush()
    os.fsync(lock.fileno())
    print('tick', line, answer, flush=True)
    if i % 5 == 0:
        print('five', i, file=sys.stderr, flush=True)
    time.sleep(1)

scratch.seek(0)
print('scratch', hashlib.sha256(scratch.read().encode()).hexdigest()[:16])
print('data', hashlib.sha256(data).hexdigest()[:16])
child.stdin.close()
print('child', child.wait())
ATTEMPT = "import fcntl; fcntl.lockf(open('lock', 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
attempt = subprocess.run(['python3', '-c', ATTEMPT], stderr=subprocess.PIPE, text=True)
print('another has the lock' if attempt.returncode == 0 else 'lock held: ' + attempt.stderr.split(':')[-1].strip())
print('lock', hashlib.sha256(open('lock').read().encode()).hexdigest()[:16])
