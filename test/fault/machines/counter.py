"""Counts until the file `stop` is there. Every line carries the hash of all lines before it, so that one that is lost, repeated or changed shows; and the run's own
name, so that two copies that count at the same time do."""
import hashlib, os, sys, time

run = os.urandom(4).hex()
ballast = bytearray(os.urandom(int(sys.argv[1]) << 20))
whole = hashlib.sha256(ballast).hexdigest()
seen = hashlib.sha256()
beats = os.open('beats', os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_SYNC, 0o644)
scratch = open(os.path.join(os.environ.get('TMPDIR', '/tmp'), 'beats-' + run), 'wb+')
i = 0
while not os.path.exists('stop'):
    i += 1
    line = b'%s %d %s\n' % (run.encode(), i, seen.hexdigest()[:16].encode())
    seen.update(line)
    scratch.write(line)
    scratch.flush()
    os.write(beats, line)
    os.write(1, line)
    time.sleep(0.5)
scratch.seek(0)
kept = hashlib.sha256(scratch.read()).hexdigest() == seen.hexdigest()
same = hashlib.sha256(ballast).hexdigest() == whole
print('end %s %d scratch=%s memory=%s' % (run, i, kept, same), flush=True)
sys.exit(3)
