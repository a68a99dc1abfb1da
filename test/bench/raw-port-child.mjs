// The host's end of the raw virtio-serial port, run on the node itself (raw-port.ts): SOCKET receive|send BYTES. Prints "connected", then the seconds.
import { once } from 'node:events';
import { createConnection } from 'node:net';

const [path, direction, text] = process.argv.slice(2);
const bytes = Number(text);
const socket = createConnection(path);
await once(socket, 'connect');
console.log('connected');
const began = await (direction === 'receive' ? receive() : send());
console.log(String((performance.now() - began) / 1000));
socket.destroy();

async function receive() {
  let taken = 0;
  let first = 0;
  for await (const chunk of socket) {
    first ||= performance.now();
    taken += chunk.length;
    if (taken >= bytes) return first;
  }
  throw new Error(`the port was closed after ${taken} of ${bytes} bytes`);
}

/** The guest says one byte when it is ready to read, and one when it has read all. */
async function send() {
  await once(socket, 'data');
  const first = performance.now();
  const finished = once(socket, 'data');
  const block = Buffer.alloc(65_536);
  for (let left = bytes; left > 0; left -= block.length)
    if (!socket.write(left < block.length ? block.subarray(0, left) : block)) await once(socket, 'drain');
  await finished;
  return first;
}
