import net from 'node:net';
import tls from 'node:tls';

import { CallTimeout, ConnectionLost, ProtocolError } from './errors.ts';

/** Where a libvirt daemon listens. Everything above sees one byte stream, whichever it is. */
export type Endpoint =
  /** Default path: /run/libvirt/libvirt-sock; /run/libvirt/virtqemud-sock where the daemons are split (EL9). */
  | { readonly kind: 'unix'; readonly path?: string }
  /** Neither encrypted nor authenticated: for a lab alone. Default port 16509. */
  | { readonly kind: 'tcp'; readonly host: string; readonly port?: number }
  /** Mutual TLS, PEM texts. Default port 16514. `serverName` defaults to `host`. */
  | {
      readonly kind: 'tls';
      readonly host: string;
      readonly port?: number;
      readonly ca: string | Buffer;
      readonly cert: string | Buffer;
      readonly key: string | Buffer;
      readonly serverName?: string;
    };

export const defaultSocketPath = '/run/libvirt/libvirt-sock';
const defaultTcpPort = 16509;
const defaultTlsPort = 16514;

/** What the daemon sends first over TLS when it accepted the client's certificate (libvirt's virNetTLS: a single byte). */
const clientAccepted = 1;

/**
 * Connects. Rejects with ConnectionLost (cause: the system's error) when nobody listens or the TLS peer refuses us, with CallTimeout after
 * `timeoutMs`, with the signal's reason when aborted.
 */
export async function openTransport(
  endpoint: Endpoint,
  options: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
): Promise<net.Socket> {
  options.signal?.throwIfAborted();
  const socket = dial(endpoint);
  try {
    await settled(socket, endpoint, options);
  } catch (error) {
    socket.on('error', () => {}); // a late error of a socket that we gave up must not end the process
    socket.destroy();
    throw error;
  }
  socket.setNoDelay(true);
  return socket;
}

export function describeEndpoint(endpoint: Endpoint): string {
  if (endpoint.kind === 'unix') return endpoint.path ?? defaultSocketPath;
  return `${endpoint.kind}://${endpoint.host}:${endpoint.port ?? (endpoint.kind === 'tcp' ? defaultTcpPort : defaultTlsPort)}`;
}

function dial(endpoint: Endpoint): net.Socket {
  switch (endpoint.kind) {
    case 'unix':
      return net.connect({ path: endpoint.path ?? defaultSocketPath });
    case 'tcp':
      return net.connect({ host: endpoint.host, port: endpoint.port ?? defaultTcpPort });
    case 'tls':
      return tls.connect({
        host: endpoint.host,
        port: endpoint.port ?? defaultTlsPort,
        ca: endpoint.ca,
        cert: endpoint.cert,
        key: endpoint.key,
        // SNI must be a name: with an address Node only warns, and checks the certificate against the address all the same.
        ...(net.isIP(endpoint.serverName ?? endpoint.host) === 0
          ? { servername: endpoint.serverName ?? endpoint.host }
          : {}),
        rejectUnauthorized: true,
      });
  }
}

function settled(
  socket: net.Socket,
  endpoint: Endpoint,
  options: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const name = describeEndpoint(endpoint);
  return new Promise((resolve, reject) => {
    const finish = (error?: unknown): void => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', onAbort);
      socket.off('error', onError);
      socket.off('close', onClose);
      socket.off('readable', onReadable);
      if (error === undefined) resolve();
      else reject(error);
    };
    const onAbort = (): void => finish(options.signal?.reason);
    const onError = (cause: Error): void =>
      finish(
        new ConnectionLost(`cannot connect to libvirt at ${name}: ${cause.message}`, { cause, sent: false }),
      );
    const onClose = (): void =>
      finish(
        new ConnectionLost(`libvirt at ${name} hung up: does it accept this host's certificate?`, {
          sent: false,
        }),
      );
    const onReadable = (): void => {
      const first = socket.read() as Buffer | null;
      if (first === null || first.length === 0) return;
      if (first[0] !== clientAccepted)
        finish(new ProtocolError(`expected libvirt's TLS go-ahead from ${name}, got byte ${first[0]}`));
      else {
        if (first.length > 1) socket.unshift(first.subarray(1));
        finish();
      }
    };
    const timer = setTimeout(
      () =>
        finish(new CallTimeout(`no connection to libvirt at ${name} within ${options.timeoutMs} ms`, false)),
      options.timeoutMs,
    );
    options.signal?.addEventListener('abort', onAbort, { once: true });
    socket.once('error', onError);
    socket.once('close', onClose);
    if (endpoint.kind === 'tls') socket.on('readable', onReadable);
    else socket.once('connect', () => finish());
  });
}
