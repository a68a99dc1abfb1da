/** Shows what a build is doing. Everything goes to stderr: stdout carries the result alone. */
export interface Progress {
  /** Runs one phase and shows its name, then its time. `work` may return a short remark, such as a size. */
  phase<T>(name: string, work: () => Promise<T>, remark?: (result: T) => string): Promise<T>;
  warn(text: string): void;
}

export const silent: Progress = { phase: (_name, work) => work(), warn: () => {} };

/** One line per phase; on a terminal the line shows up at once and is completed in place. */
export function showProgress(stream: NodeJS.WriteStream): Progress {
  return {
    async phase(name, work, remark) {
      const started = performance.now();
      if (stream.isTTY) stream.write(`  ${name} ...`);
      try {
        const result = await work();
        const seconds = ((performance.now() - started) / 1000).toFixed(1);
        const text = [`  ${name.padEnd(20)} ${seconds.padStart(6)} s`, remark?.(result)]
          .filter(Boolean)
          .join('  ');
        stream.write(stream.isTTY ? `\r\x1b[K${text}\n` : `${text}\n`);
        return result;
      } catch (error) {
        stream.write(stream.isTTY ? `\r\x1b[K  ${name}: failed\n` : `  ${name}: failed\n`);
        throw error;
      }
    },
    warn(text) {
      stream.write(`  warning: ${text}\n`);
    },
  };
}

/** `52.1 MB`, decimal as in `ls --si`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(1)} MB`;
  return `${(bytes / 1e9).toFixed(2)} GB`;
}
